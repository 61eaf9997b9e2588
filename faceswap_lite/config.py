"""Every option of every stage, validated. How they are given: `config_files.py`.

Defaults live here and nowhere else; units are in the names or the descriptions. What stands below
an option is its line in docs/options.md. Choices are `Literal`s, and a contract test holds them
equal to the keys of the registries they name.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DetectorName = Literal["auto", "yunet", "mtcnn"]
LandmarksName = Literal["auto", "mesh", "five"]
EmbedderName = Literal["auto", "none", "mobilefacenet", "facenet", "dlib"]
CropCoverage = Literal[
    "face", "full", "whole", "head", "dfl_half", "dfl_mid", "dfl_full", "dfl_whole", "dfl_head",
    "fs_legacy", "fs_face", "fs_head",
]  # fmt: skip
ArchitectureName = Literal["original", "df", "liae"]
ScheduleName = Literal["constant", "cosine", "step", "one_cycle", "plateau"]
OptimizerName = Literal["adam", "adamw", "adabelief", "schedulefree"]
WeightsName = Literal["best", "last"]
ColorName = Literal["none", "skin_gain", "mkl"]
GONE_COLORS = {
    **dict.fromkeys(("mean", "reinhard", "histogram", "sliced_ot"), "mkl"),
    **dict.fromkeys(("robust_mkl", "poisson"), "skin_gain"),
}
"""Values of `convert.color.kind` that went, and which to take."""
MaskName = Literal["hull", "learned", "product", "visible"]
WhoseName = Literal["source", "target", "auto"]
BlendName = Literal["alpha", "multiband"]
AugmentName = Literal["auto", "hand"]
AdversaryName = Literal["least_squares", "bce", "hinge"]
AUGMENTED = ("rotation_deg", "zoom", "shift", "warp", "brightness", "contrast")
"""Options of `training.augment` that its kind auto chooses."""
Side = Literal["source", "target"]
SpaceName = Literal["code", "pixel", "both"]
SwapName = Literal["source-to-target", "target-to-source"]
CodecName = Literal["h264", "hevc", "prores", "ffv1"]
ExportName = Literal["dfm", "onnx", "safetensors"]
PrecisionName = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


_SectionT = TypeVar("_SectionT", bound="Section")


class Section(BaseModel):
    """Unknown keys are errors; values do not change once made."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def model_copy(
        self: _SectionT, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> _SectionT:
        """As pydantic's, which takes any key. Raises: KeyError for one that is no option."""
        if unknown := set(update or {}) - set(type(self).model_fields):
            raise KeyError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        return super().model_copy(update=update, deep=deep)


class ExtractConfig(Section):
    """From clips to a face set."""

    detector: DetectorName = "auto"
    """what finds faces; auto: yunet where its weights can be had, else mtcnn"""
    landmarks: LandmarksName = "auto"
    """a face's points; mesh: 468; five: the detector's own; auto: the better available"""
    embedder: EmbedderName = "auto"
    """what tells people apart; none: nothing does; auto: the best available"""
    crop_coverage: CropCoverage | str = "full"
    """how much of the head a crop shows, from face (least) to head (most); dfl_ and fs_: as
    DeepFaceLab and FaceSwap cut it; fs_face@87.5: percent of it"""
    size: int = Field(256, ge=32, le=2048)
    """side of a stored crop, margin included, px"""
    margin: float = Field(0.15, ge=0, le=0.5)
    """extra border on each side, in sides of the crop"""
    high_confidence: float = Field(0.9, ge=0, le=1)
    """confidence from which a detection is accepted by itself"""
    low_confidence: float = Field(0.6, ge=0, le=1)
    """confidence from which a detection is kept if its track reaches high_confidence somewhere"""
    min_face_px: int = Field(20, ge=8)
    """faces whose box is smaller are left out, px"""
    max_edge_px: int = Field(1280, ge=64)
    """longer side that frames are shrunk to for detection, px"""
    every: int = Field(1, ge=1)
    """look at every n-th frame"""

    @field_validator("crop_coverage")
    @classmethod
    def _is_known_coverage(cls, name: str) -> str:
        known = get_args(CropCoverage)
        if name not in known and not re.fullmatch(r"fs_[a-z]+@([1-9]\d(\.\d{1,2})?|100)", name):
            raise ValueError(f"must be one of {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _scores_in_order(self) -> "ExtractConfig":
        if self.low_confidence > self.high_confidence:
            raise ValueError("low_confidence must not be above high_confidence")
        return self


class CurateConfig(Section):
    """Which faces of a set do not belong. A limit says where a face is rejected."""

    person: int | None = Field(None, ge=1)
    """keep the n-th person, most faces first; null: by majority"""
    identity_limit: float | None = Field(None, gt=0)
    """maximum distance to the person's centre; null: the embedder's own"""
    alignment_error_limit: float = Field(0.12, gt=0)
    """maximum distance of points from their places, in eye distances"""
    occlusion_limit: float = Field(0.6, gt=0)
    """maximum local difference from the set, in the face's own contrast"""
    hidden_limit: float = Field(0.1, gt=0, le=1)
    """maximum share of a face that something is before, beyond the set's median"""
    blur_limit: float = Field(0.5, ge=0, le=1)
    """minimum sharpness, as a multiple of the set's median"""
    small_limit: float = Field(0.4, ge=0, le=1)
    """minimum size in the frame, as a multiple of the set's median"""
    duplicates: bool = True
    """reject all but the sharpest of equal pictures"""
    rare_weight: float = Field(3.0, ge=1)
    """maximum number of times that a rare face is drawn for each draw of a common one"""


class ModelConfig(Section):
    """The network. The field's names in brackets."""

    architecture: ArchitectureName = "df"
    """df: one decoder per identity; liae: one for both; original: the A/B net of 2017"""
    flags: str = Field("d", pattern="^[udtc]*$")
    """any of u (code normalised), d (size doubled in the last layer), t and c, as in the field; not
    for original"""
    size: int = Field(128, ge=32, le=1024)
    """side of the model's faces, px"""
    encoder_dims: int = Field(32, ge=4, le=1024)
    """width of the encoder [e_dims]; not for original"""
    inter_dims: int = Field(128, ge=16, le=4096)
    """width of the inter [ae_dims]; not for original"""
    decoder_dims: int = Field(16, ge=4, le=1024)
    """width of the decoders [d_dims]; not for original"""
    mask_dims: int = Field(8, ge=2, le=512)
    """width of the mask's decoders [d_mask_dims]; not for original"""
    encoder_widths: tuple[int, ...] = Field((128, 256, 512, 1024), min_length=1, max_length=5)
    """only for original: channels of its encoder's convolutions"""
    code_widths: tuple[int, int] = (1024, 1024)
    """only for original: numbers of its code, channels that these widen to"""
    decoder_widths: tuple[int, int, int, int] = (512, 256, 128, 64)
    """only for original: channels of its encoder's upscale and of its decoders'"""
    mask_head: bool = True
    """each decoder also paints its face's mask"""

    @field_validator("encoder_widths", "code_widths", "decoder_widths")
    @classmethod
    def _widths_fit(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= width <= 4096 for width in widths):
            raise ValueError("widths are from 1 to 4096")
        return widths

    @model_validator(mode="after")
    def _size_fits(self) -> "ModelConfig":
        if self.architecture == "original" and self.size != 64:
            raise ValueError("architecture original is made for size 64")
        step = 32 if "d" in self.flags or "t" in self.flags else 16
        if self.size % step:
            raise ValueError(f"size {self.size} is not a multiple of {step}")
        return self


class InitConfig(Section):
    """Weights to begin with. Parts: df: encoder, inter, decoder_source, decoder_target; liae:
    encoder, inter_AB, inter_B, decoder."""

    run: str = "base"
    """base: the package's own, where it fits network and crops; none: fresh weights; else a run's
    folder or a base's file"""
    parts: list[str] | None = None
    """take only these parts, all of them; null: what fits"""
    code_rate: float = Field(0.1, gt=0, le=1)
    """share of the learning rate for what makes codes (df: encoder and inter; liae: encoder), in a
    run that begins with a base"""
    settle_steps: int = Field(100, ge=0)
    """first steps of a run that begins with a base, in which the rate of what makes codes falls
    from the whole one to code_rate, and the weight of eyes and mouth rises to
    training.loss.features"""
    freeze: list[str] = []
    """parts that do not learn in the first freeze_steps"""
    freeze_steps: int = Field(100, ge=0)
    """steps in which the parts of freeze do not learn"""

    @model_validator(mode="before")
    @classmethod
    def _stored_runs_keep_their_rate(cls, values: Any) -> Any:
        # A run stores all options; one without these was made when all parts learned alike, or
        # from the first step on as they do later.
        if isinstance(values, dict) and values.keys() >= {"run", "parts", "freeze", "freeze_steps"}:
            return {"code_rate": 1.0, "settle_steps": 0, **values}
        return values

    @field_validator("run", mode="before")
    @classmethod
    def _null_is_none(cls, value: Any) -> Any:
        # As runs from before there were bases have stored it.
        return "none" if value is None else value


class OptimizerConfig(Section):
    """What a gradient does to the weights."""

    kind: OptimizerName = "adam"
    """what turns gradients into steps"""
    beta1: float = Field(0.9, ge=0, lt=1)
    """share of the past in the running mean of the gradient"""
    beta2: float = Field(0.999, ge=0, lt=1)
    """share of the past in the running mean of its square"""
    weight_decay: float = Field(0.01, ge=0)
    """weight decay, for adamw and schedulefree"""
    clip_norm: float = Field(1.0, ge=0)
    """maximum norm of a step's gradient; 0: off"""
    ema_decay: float = Field(0.998, ge=0, lt=1)
    """share of the past in the averaged weights, which are what is used; 0: no averaging;
    schedulefree keeps its own average"""


class ScheduleConfig(Section):
    """How the learning rate goes, as a factor of `training.lr`."""

    kind: ScheduleName = "constant"
    """constant: held; cosine: falls to 0 at training.steps; step: drops every step_every steps;
    one_cycle: rises and falls; plateau: drops when the held-out loss no longer falls"""
    warmup_steps: int = Field(20, ge=0)
    """warm-up steps, in which the rate rises; one_cycle has its own"""
    step_every: int = Field(1000, ge=1)
    """steps between drops, for kind step"""
    step_factor: float = Field(0.5, gt=0, le=1)
    """factor of the rate at a drop, for kind step"""
    plateau_threshold: float = Field(0.005, ge=0, lt=1)
    """a smaller relative gain of the held-out loss does not count, for kind plateau"""
    plateau_patience: int = Field(5, ge=0)
    """held-out losses without a gain before a drop, for kind plateau"""
    plateau_cooldown: int = Field(2, ge=0)
    """held-out losses ignored after a drop, for kind plateau"""
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    """factor of the rate at a drop, for kind plateau"""


class LossConfig(Section):
    """What counts how much; 0: not at all."""

    dssim: float = Field(10.0, ge=0)
    """weight of structural dissimilarity"""
    mse: float = Field(30.0, ge=0)
    """weight of the mean squared difference"""
    l1: float = Field(0.0, ge=0)
    """weight of the mean absolute difference"""
    gradient: float = Field(0.0, ge=0)
    """weight of the difference of gradients (slopes) at four scales"""
    frequency: float = Field(0.0, ge=0)
    """weight of the focal frequency loss"""
    mask: float = Field(3.0, ge=0)
    """weight of the mask head's loss"""
    features: float = Field(10.0, ge=0)
    """extra weight of eyes and mouth in the picture's loss"""
    background: float = Field(0.1, ge=0, le=1)
    """weight of the crop outside the face's mask"""


class AugmentConfig(Section):
    """How faces are varied before they are learned from."""

    kind: AugmentName = "auto"
    """auto: rotation_deg, zoom, shift, warp, brightness and contrast are chosen by the number of
    faces; hand: these six are as given (giving any of them selects hand)"""
    rotation_deg: float = Field(4.0, ge=0, le=45)
    """rotation drawn from -x to x, degrees"""
    zoom: float = Field(0.03, ge=0, lt=0.5)
    """zoom drawn from 1-x to 1+x"""
    shift: float = Field(0.02, ge=0, lt=0.5)
    """shift drawn from -x to x, in crop sides"""
    flip: float = Field(0.0, ge=0, le=1)
    """probability of a mirrored face"""
    warp: float = Field(0.02, ge=0, le=0.2)
    """spread of the input's elastic warp, in crop sides; 0: off"""
    warp_until: int | None = Field(None, ge=0)
    """no warp after this many steps, to finish; null: warp always"""
    brightness: float = Field(0.05, ge=0, le=0.5)
    """brightness added to input and truth, from -x to x of full scale"""
    contrast: float = Field(0.05, ge=0, le=0.5)
    """contrast of input and truth, drawn from 1-x to 1+x"""
    hue: float = Field(0.0, ge=0, le=0.5)
    """hue shift of input and truth, from -x to x turns; 0: off"""
    saturation: float = Field(0.0, ge=0, le=1)
    """saturation factor of input and truth, from 1-x to 1+x; 0: off"""
    value: float = Field(0.0, ge=0, le=1)
    """the same for HSV's value; 0: off"""
    color_transfer: float = Field(0.0, ge=0, le=1)
    """probability that a source face is given a target face's colours"""
    occlude: float = Field(0.0, ge=0, le=1)
    """probability that something is put before the face of an input; the truth stays without it"""

    @model_validator(mode="before")
    @classmethod
    def _values_are_by_hand(cls, values: Any) -> Any:
        # Whoever gives one of them wants it; so did runs from before there was a choice.
        if isinstance(values, dict) and not values.keys().isdisjoint(AUGMENTED):
            return {"kind": "hand", **values}
        return values


class HeldoutConfig(Section):
    """Which faces training never sees, and how often it is judged by them."""

    by: Literal["block", "clip"] = "block"
    """block: the end of every clip; clip: the last whole clip"""
    share: float = Field(0.1, gt=0, lt=0.5)
    """share of each clip that is held out, for block"""
    gap: int = Field(5, ge=0)
    """frames next to a held-out block that belong to neither part"""
    every: int = Field(100, ge=1)
    """steps between held-out losses"""


class FinishConfig(Section):
    """The phase after training that brings fine detail back (`faceswap-lite finish`)."""

    after_training: bool = False
    """finish a run as soon as its training has reached its end"""
    steps: int | None = Field(None, ge=1)
    """steps of the phase in total"""
    minutes: float | None = Field(None, gt=0)
    """time of the phase in total, minutes; without it and without steps: 0.4 of the training's
    own"""
    sides: Literal["source", "target", "both"] = "source"
    """whose painted face is finished; liae: always both"""
    kind: AdversaryName = "least_squares"
    """the adversary's loss"""
    adversary: float = Field(1.0, ge=0)
    """weight of the adversary's loss; 0: no adversary"""
    label: float = Field(0.9, gt=0, le=1)
    """how true painted faces are meant to look, below 1: smoothed"""
    rebuild: float = Field(10.0, ge=0)
    """weight of the rebuilt face's mean difference"""
    detail: float = Field(10.0, ge=0)
    """weight of the mean difference of the rebuilt face's fine detail"""
    excess: float = Field(30.0, ge=0)
    """weight of a swap's detail beyond what true faces have at the same place"""
    hold: float = Field(10.0, ge=0)
    """weight of how far the low-passed swap strays from that of before the phase"""
    lr: float = Field(4e-4, gt=0)
    """learning rate of the decoder"""
    adversary_lr: float = Field(8e-4, gt=0)
    """learning rate of the discriminator"""
    every: int = Field(100, ge=1)
    """steps between the guard's looks"""

    @model_validator(mode="before")
    @classmethod
    def _stored_runs_take_the_new_weight(cls, values: Any) -> Any:
        # A run stores all options; 6 was the default while the discriminator saw whole pictures.
        stored = {"kind", "label", "hold", "every"}
        if isinstance(values, dict) and values.keys() >= stored and "excess" not in values:
            return {k: v for k, v in values.items() if (k, v) != ("adversary", 6.0)}
        return values


class TrainingConfig(Section):
    """How long, with which faces, at which rate; losses, augmentation, checkpoints."""

    steps: int | None = Field(None, ge=1)
    """stop after this many steps in total"""
    minutes: float | None = Field(None, gt=0)
    """stop after this much training time, minutes"""
    patience: int | None = Field(None, ge=1)
    """stop after this many held-out losses without a new best; null: never"""
    batch: int = Field(8, ge=1)
    """faces of each identity in a step"""
    source_share: float = Field(0.5, gt=0, lt=1)
    """the source's share of a step's 2 * batch faces; the rest are the target's"""
    accumulate: int = Field(1, ge=1)
    """parts that a batch is split into: less memory, same gradient"""
    seed: int = Field(0, ge=0)
    """seed of initial weights, order of faces and augmentation"""

    lr: float | Literal["auto"] = 1e-3
    """learning rate; auto: chosen by a range test when the run begins"""
    find_lr_steps: int = Field(150, ge=10)
    """maximum number of steps of a range test"""
    find_lr_low: float = Field(1e-6, gt=0)
    """first learning rate of a range test"""
    find_lr_high: float = Field(0.1, gt=0)
    """last learning rate of a range test"""
    schedule: ScheduleConfig = ScheduleConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    heldout: HeldoutConfig = HeldoutConfig()
    finish: FinishConfig = FinishConfig()

    mask_steps: int = Field(0, ge=0)
    """steps in which the network that tells what is before a face learns this run's faces, before
    training; 0: it stays as it came"""
    visible_only: bool = False
    """what is before a face, by that network, does not count as the face"""

    pose_balance: float = Field(0.0, ge=0, le=1)
    """0: faces are drawn as they come; 1: all yaws equally often"""
    late_ramp: int = Field(1000, ge=0)
    """steps over which faces added to a run later reach their full share; 0: at once"""

    log_every: int = Field(10, ge=1)
    """steps between lines of the log"""
    preview_every: int = Field(200, ge=1)
    """steps between preview sheets"""
    save_every: int = Field(200, ge=1)
    """steps between checkpoints"""
    keep: int = Field(2, ge=1)
    """how many of the newest checkpoints are kept"""

    device: DeviceName = "auto"
    """device that computes; auto: a GPU if there is one, else the CPU"""
    precision: PrecisionName = "auto"
    """precision of the network's arithmetic; auto: bf16 where the hardware supports it"""
    compile: bool = False
    """torch.compile: slow to start, then faster on GPUs"""
    threads: int = Field(0, ge=0)
    """CPU threads; 0: all cores"""

    @field_validator("lr", mode="before")
    @classmethod
    def _rate_or_auto(cls, value: Any) -> Any:
        # One message; pydantic would give one for each of the two kinds.
        if value == "auto":
            return value
        try:
            rate = float(value)
        except (TypeError, ValueError):
            rate = math.nan
        if not 0 < rate < math.inf:
            raise ValueError("must be a number above 0, or auto")
        return rate

    @property
    def base_rate(self) -> float:
        """`lr` as a number. Raises: ValueError while it is auto."""
        if self.lr == "auto":
            raise ValueError("training.lr is auto: a range test has to choose it first")
        return self.lr

    @model_validator(mode="after")
    def _rates_go_together(self) -> "TrainingConfig":
        if self.find_lr_low >= self.find_lr_high:
            raise ValueError("find_lr_low must be below find_lr_high")
        if self.schedule.kind in ("cosine", "one_cycle") and self.steps is None:
            raise ValueError(f"schedule {self.schedule.kind} needs training.steps: it ends there")
        if self.optimizer.kind == "schedulefree" and self.schedule.kind != "constant":
            raise ValueError("optimizer schedulefree needs schedule constant")
        return self


class BaseConfig(Section):
    """A base of rendered people: how many, and how long it learns from them."""

    steps: int = Field(6_000, ge=1)
    """training steps in total; the rate falls to 0 at the end"""
    crops: int = Field(40_960, ge=64)
    """rendered crops in the pool; each takes 5 bytes per pixel"""
    renew_every: int = Field(6, ge=0)
    """steps after which the oldest 32 crops give way to new ones; 0: never"""


class ColorConfig(Section):
    """How the painted face gets the clip's colours and light."""

    kind: ColorName = "skin_gain"
    """skin_gain: the target's skin tone and light; mkl: its mean and covariance; none: as
    painted"""
    steady: float = Field(3.0, ge=0, le=50)
    """frames that colours are averaged over (sigma); 0: off"""
    relight: float = Field(0.0, ge=0, le=1)
    """how far the target's broad light replaces the face's; 0: off"""

    @field_validator("kind", mode="before")
    @classmethod
    def _kind_is_there(cls, value: Any) -> Any:
        if isinstance(value, str) and value in GONE_COLORS:
            raise ValueError(f"{value} no longer exists; use {GONE_COLORS[value]}")
        return value


class MaskConfig(Section):
    """Which pixels of the painted face are shown. Sides are the model's crop's."""

    kind: MaskName = "visible"
    """hull: the landmarks' outline; learned: the model's own; product: only what both show;
    visible: the same less hands, hair and whatever else is before the face"""
    erode: float = Field(-0.03, ge=-0.3, le=0.3)
    """how far the edge moves inwards, in face sides; below 0: outwards"""
    feather: float = Field(0.05, ge=0, le=0.5)
    """width of the soft edge, in face sides"""
    top: float = Field(-0.1, ge=-0.5, le=0.5)
    """how far the upper edge moves outwards, in face sides; 0 shows all of the forehead, with what
    hair the painted face has on it"""
    bottom: float = Field(0.0, ge=-0.5, le=0.5)
    """how far the lower edge moves outwards, in face sides"""
    left: float = Field(0.0, ge=-0.5, le=0.5)
    """how far the left edge moves outwards, in face sides"""
    right: float = Field(0.0, ge=-0.5, le=0.5)
    """how far the right edge moves outwards, in face sides"""
    steady: float = Field(1.0, ge=0, le=50)
    """frames that the mask is averaged over (sigma); 0: off"""
    folder: str | None = None
    """folder of PNG masks of the frames: white may be swapped, black never"""


class OutputConfig(Section):
    """What is written, and how it is marked."""

    codec: CodecName = "h264"
    """codec of videos: h264 has 8 bits, the others keep 10"""
    quality: int = Field(16, ge=0, le=51)
    """crf of h264 and hevc: 0 is lossless, 51 the worst"""
    label: str = ""
    """text of a visible label, burnt into every frame; empty: none"""
    c2pa: bool = False
    """sign the file with a C2PA manifest (extra c2pa)"""
    c2pa_certificate: str | None = None
    """file of the PEM certificate chain; null: a local one is made, which nobody else trusts"""
    c2pa_key: str | None = None
    """file of the certificate's private key, PEM"""

    @model_validator(mode="after")
    def _key_fits(self) -> "OutputConfig":
        if (self.c2pa_certificate is None) != (self.c2pa_key is None):
            raise ValueError("c2pa_certificate and c2pa_key go together")
        return self


class ConvertConfig(Section):
    """From a clip and a run to the swapped clip. Sides and sizes are the model's crop's."""

    weights: WeightsName = "best"
    """best: lowest held-out loss of the run; last: the newest"""
    swap: SwapName = "source-to-target"
    """whose face is painted, and onto whom"""

    face: int | None = Field(None, ge=0)
    """swap the n-th face from the left (0: leftmost); null: the target's"""
    all_faces: bool = False
    """swap every face, whoever it is"""
    start: int = Field(0, ge=0)
    """the first frame that is written"""
    end: int | None = Field(None, ge=1)
    """the frame before which writing ends; null: the clip's end"""
    start_number: int | None = Field(None, ge=0)
    """number of the first frame in the names of pictures and masks; null: a sequence's own, else
    1"""
    temporal_smoothing: float = Field(2.5, ge=0, le=20)
    """smoothing of landmarks over time: sigma in frames; 0: off"""
    bridge: int = Field(5, ge=0, le=50)
    """longest gap in a face's track that is filled, frames"""

    test_time_augmentation: int = Field(1, ge=1, le=64)
    """number of shifted inputs that are painted and averaged; time grows in proportion"""
    scale: float = Field(1.0, ge=0.5, le=2)
    """size of the painted face; 1: as it is"""
    mouth: WhoseName = "auto"
    """whose mouth opening is shown, with teeth and tongue; source: as painted; target: the clip's;
    auto: the clip's where painted mouths do not follow it"""
    eyes: WhoseName = "auto"
    """whose eye opening is shown; as for mouth"""

    color: ColorConfig = ColorConfig()
    mask: MaskConfig = MaskConfig()
    blend: BlendName = "alpha"
    """alpha: as soft as the mask; multiband: broad colour fades over a fifth of the face, detail at
    the mask's edge"""
    sharpen: float = Field(0.0, ge=0, le=1)
    """how far a face softer than the clip's own is sharpened to it; 0: off"""
    soften: float = Field(1.0, ge=0, le=1)
    """how far a face sharper than the clip's own is blurred to it; 0: off"""
    grain: float = Field(1.0, ge=0, le=1)
    """how far the face gets the clip's grain, as far as it lacks it; 0: off"""
    output: OutputConfig = OutputConfig()

    batch: int = Field(16, ge=1)
    """maximum number of frames whose faces are painted at a time"""
    device: DeviceName = "auto"
    """device that computes; auto: a GPU if there is one, else the CPU"""

    @model_validator(mode="before")
    @classmethod
    def _stored_runs_stay_as_sharp(cls, values: Any) -> Any:
        # A run stores all options; in one without `soften`, `sharpen` went up and down.
        if isinstance(values, dict) and values.keys() >= {"sharpen", "grain", "bridge", "device"}:
            return {"soften": values["sharpen"], **values}
        return values

    @model_validator(mode="after")
    def _choices_agree(self) -> "ConvertConfig":
        if self.face is not None and self.all_faces:
            raise ValueError("face means one, all_faces means all: choose one of the two")
        if self.end is not None and self.end <= self.start:
            raise ValueError("end must lie after start")
        return self

    @property
    def painted_side(self) -> Side:
        """Whose face is painted."""
        return "source" if self.swap == "source-to-target" else "target"

    @property
    def shown_side(self) -> Side:
        """Who is in the clip."""
        return "target" if self.swap == "source-to-target" else "source"

    def wants(self, frame: int) -> bool:
        """Whether a frame lies from `start` to `end`."""
        return self.start <= frame and (self.end is None or frame < self.end)


class EvaluateConfig(Section):
    """Measures on a clip that training never saw."""

    judge: EmbedderName = "auto"
    """what judges identity; it must have had no part in building the sets"""
    every: int = Field(1, ge=1)
    """measure every n-th frame"""
    gallery: int = Field(60, ge=5)
    """how many faces of each set stand for an identity"""
    known: list[str] = []
    """face sets of others that the swap may be taken for"""
    lpips: str | None = None
    """file or folder of AlexNet's and LPIPS' weights; null: not measured"""
    memory: bool = True
    """look for training faces that outputs repeat"""
    seed: int = Field(0, ge=0)
    """seed of the resampling behind confidence intervals"""


class RenderConfig(Section):
    """A clip of a synthetic actor, with its truth."""

    actor: str = "ada"
    """the actor's name, or random:SEED"""
    twin: str | None = "bruno"
    """whose face the twin clips wear; null: no twins"""
    frames: int = Field(240, ge=1)
    """length of the clip, frames"""
    size: int = Field(256, ge=64, le=2048)
    """side of the square frame, px"""
    rate: int = Field(25, ge=1, le=240)
    """frames per second"""
    seed: int = Field(0, ge=0)
    """seed of motion, light and background"""
    max_yaw_deg: float = Field(40.0, ge=0, le=80)
    """how far the head turns to either side, degrees"""


class Config(Section):
    """One file for the whole road; each stage reads its own section."""

    consent: str = ""
    """who agreed to this swap, when and to what; goes into runs and clips"""
    extract: ExtractConfig = ExtractConfig()
    curate: CurateConfig = CurateConfig()
    model: ModelConfig = ModelConfig()
    init: InitConfig = InitConfig()
    training: TrainingConfig = TrainingConfig()
    base: BaseConfig = BaseConfig()
    convert: ConvertConfig = ConvertConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    render: RenderConfig = RenderConfig()


def options_of(section: Section) -> dict[str, Any]:
    """Every option of a section by its dotted name, as `--set` has it without the section."""
    options: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            options |= {f"{name}.{key}": inner for key, inner in options_of(value).items()}
        else:
            options[name] = value
    return options


def dump_config(config: Config) -> str:
    """The config as YAML, every option written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
