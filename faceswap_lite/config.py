"""Every option of every stage: validated, filled from YAML, changed by `--set section.key=value`.

Defaults live here and nowhere else; units are in the names or the descriptions. Choices are
`Literal`s, and a contract test holds them equal to the keys of the registries they name.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import UsageError
from .renames import CONSTANTS, is_old, new_name, old_names_in, under_new_names

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


# What lies beside the config of a run (`runs.manifest.MANIFEST_FILE`).
_RUN_FILE = "run.json"


SectionT = TypeVar("SectionT", bound="Section")


class Section(BaseModel):
    """Unknown keys are errors; values do not change once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def model_copy(
        self: SectionT, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> SectionT:
        """As pydantic's, which takes any key. Raises: KeyError for one that is no option."""
        if unknown := set(update or {}) - set(type(self).model_fields):
            raise KeyError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        return super().model_copy(update=update, deep=deep)


class ExtractConfig(Section):
    """From clips to a face set."""

    detector: DetectorName = Field(
        "auto", description="what finds faces; auto: yunet where its weights can be had, else mtcnn"
    )
    landmarks: LandmarksName = Field(
        "auto",
        description="a face's points; mesh: 468; five: the detector's own; auto: the "
        "better available",
    )
    embedder: EmbedderName = Field(
        "auto", description="what tells people apart; none: nothing does; auto: the best available"
    )
    crop_coverage: CropCoverage | str = Field(
        "full",
        description="how much of the head a crop shows, from face (least) to head (most); dfl_ "
        "and fs_: as DeepFaceLab and FaceSwap cut it; fs_face@87.5: percent of it",
    )
    size: int = Field(256, ge=32, le=2048, description="side of a stored crop, margin included, px")
    margin: float = Field(
        0.15, ge=0, le=0.5, description="extra border on each side, in sides of the crop"
    )
    high_confidence: float = Field(
        0.9, ge=0, le=1, description="confidence from which a detection is accepted by itself"
    )
    low_confidence: float = Field(
        0.6,
        ge=0,
        le=1,
        description="confidence from which a detection is kept if its track reaches "
        "high_confidence somewhere",
    )
    min_face_px: int = Field(20, ge=8, description="faces whose box is smaller are left out, px")
    max_edge_px: int = Field(
        1280, ge=64, description="longer side that frames are shrunk to for detection, px"
    )
    every: int = Field(1, ge=1, description="look at every n-th frame")

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

    person: int | None = Field(
        None, ge=1, description="keep the n-th person, most faces first; null: by majority"
    )
    identity_limit: float | None = Field(
        None, gt=0, description="maximum distance to the person's centre; null: the embedder's own"
    )
    alignment_error_limit: float = Field(
        0.12, gt=0, description="maximum distance of points from their places, in eye distances"
    )
    occlusion_limit: float = Field(
        0.6, gt=0, description="maximum local difference from the set, in the face's own contrast"
    )
    hidden_limit: float = Field(
        0.1,
        gt=0,
        le=1,
        description="maximum share of a face that something is before, beyond the set's median",
    )
    blur_limit: float = Field(
        0.5, ge=0, le=1, description="minimum sharpness, as a multiple of the set's median"
    )
    small_limit: float = Field(
        0.4, ge=0, le=1, description="minimum size in the frame, as a multiple of the set's median"
    )
    duplicates: bool = Field(True, description="reject all but the sharpest of equal pictures")
    rare_weight: float = Field(
        3.0,
        ge=1,
        description="maximum number of times that a rare face is drawn for each draw of "
        "a common one",
    )


class ModelConfig(Section):
    """The network. The field's names in brackets."""

    architecture: ArchitectureName = Field(
        "df",
        description="df: one decoder per identity; liae: one for both; original: the "
        "A/B net of 2017",
    )
    flags: str = Field(
        "d",
        pattern="^[udtc]*$",
        description="any of u (code normalised), d (size doubled in the last layer), t and c, "
        "as in the field; not for original",
    )
    size: int = Field(128, ge=32, le=1024, description="side of the model's faces, px")
    encoder_dims: int = Field(
        32, ge=4, le=1024, description="width of the encoder [e_dims]; not for original"
    )
    inter_dims: int = Field(
        128, ge=16, le=4096, description="width of the inter [ae_dims]; not for original"
    )
    decoder_dims: int = Field(
        16, ge=4, le=1024, description="width of the decoders [d_dims]; not for original"
    )
    mask_dims: int = Field(
        8, ge=2, le=512, description="width of the mask's decoders [d_mask_dims]; not for original"
    )
    encoder_widths: tuple[int, ...] = Field(
        (128, 256, 512, 1024),
        min_length=1,
        max_length=5,
        description="only for original: channels of its encoder's convolutions",
    )
    code_widths: tuple[int, int] = Field(
        (1024, 1024),
        description="only for original: numbers of its code, channels that these widen to",
    )
    decoder_widths: tuple[int, int, int, int] = Field(
        (512, 256, 128, 64),
        description="only for original: channels of its encoder's upscale and of its decoders'",
    )
    mask_head: bool = Field(True, description="each decoder also paints its face's mask")

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

    run: str = Field(
        "base",
        description="base: the package's own, where it fits network and crops; none: fresh "
        "weights; else a run's folder or a base's file",
    )
    parts: list[str] | None = Field(
        None, description="take only these parts, all of them; null: what fits"
    )
    code_rate: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of the learning rate for what makes codes (df: encoder and inter; liae: "
        "encoder), in a run that begins with a base",
    )
    settle_steps: int = Field(
        100,
        ge=0,
        description="first steps of a run that begins with a base, in which the rate of what makes "
        "codes falls from the whole one to code_rate, and the weight of eyes and mouth rises to "
        "training.loss.features",
    )
    freeze: list[str] = Field([], description="parts that do not learn in the first freeze_steps")
    freeze_steps: int = Field(
        100, ge=0, description="steps in which the parts of freeze do not learn"
    )

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

    kind: OptimizerName = Field("adam", description="what turns gradients into steps")
    beta1: float = Field(
        0.9, ge=0, lt=1, description="share of the past in the running mean of the gradient"
    )
    beta2: float = Field(
        0.999, ge=0, lt=1, description="share of the past in the running mean of its square"
    )
    weight_decay: float = Field(0.01, ge=0, description="weight decay, for adamw and schedulefree")
    clip_norm: float = Field(1.0, ge=0, description="maximum norm of a step's gradient; 0: off")
    ema_decay: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="share of the past in the averaged weights, which are what is used; 0: no "
        "averaging; schedulefree keeps its own average",
    )


class ScheduleConfig(Section):
    """How the learning rate goes, as a factor of `training.lr`."""

    kind: ScheduleName = Field(
        "constant",
        description="constant: held; cosine: falls to 0 at training.steps; step: drops every "
        "step_every steps; one_cycle: rises and falls; plateau: drops when the "
        "held-out loss no longer falls",
    )
    warmup_steps: int = Field(
        20, ge=0, description="warm-up steps, in which the rate rises; one_cycle has its own"
    )
    step_every: int = Field(1000, ge=1, description="steps between drops, for kind step")
    step_factor: float = Field(
        0.5, gt=0, le=1, description="factor of the rate at a drop, for kind step"
    )
    plateau_threshold: float = Field(
        0.005,
        ge=0,
        lt=1,
        description="a smaller relative gain of the held-out loss does not count, for kind plateau",
    )
    plateau_patience: int = Field(
        5, ge=0, description="held-out losses without a gain before a drop, for kind plateau"
    )
    plateau_cooldown: int = Field(
        2, ge=0, description="held-out losses ignored after a drop, for kind plateau"
    )
    plateau_factor: float = Field(
        0.5, gt=0, lt=1, description="factor of the rate at a drop, for kind plateau"
    )


class LossConfig(Section):
    """What counts how much; 0: not at all."""

    dssim: float = Field(10.0, ge=0, description="weight of structural dissimilarity")
    mse: float = Field(30.0, ge=0, description="weight of the mean squared difference")
    l1: float = Field(0.0, ge=0, description="weight of the mean absolute difference")
    gradient: float = Field(
        0.0, ge=0, description="weight of the difference of gradients (slopes) at four scales"
    )
    frequency: float = Field(0.0, ge=0, description="weight of the focal frequency loss")
    mask: float = Field(3.0, ge=0, description="weight of the mask head's loss")
    features: float = Field(
        10.0, ge=0, description="extra weight of eyes and mouth in the picture's loss"
    )
    background: float = Field(
        0.1, ge=0, le=1, description="weight of the crop outside the face's mask"
    )


class AugmentConfig(Section):
    """How faces are varied before they are learned from."""

    kind: AugmentName = Field(
        "auto",
        description="auto: rotation_deg, zoom, shift, warp, brightness and contrast are "
        "chosen by the number of faces; hand: these six are as given (giving any of them selects "
        "hand)",
    )
    rotation_deg: float = Field(
        4.0, ge=0, le=45, description="rotation drawn from -x to x, degrees"
    )
    zoom: float = Field(0.03, ge=0, lt=0.5, description="zoom drawn from 1-x to 1+x")
    shift: float = Field(0.02, ge=0, lt=0.5, description="shift drawn from -x to x, in crop sides")
    flip: float = Field(0.0, ge=0, le=1, description="probability of a mirrored face")
    warp: float = Field(
        0.02, ge=0, le=0.2, description="spread of the input's elastic warp, in crop sides; 0: off"
    )
    warp_until: int | None = Field(
        None, ge=0, description="no warp after this many steps, to finish; null: warp always"
    )
    brightness: float = Field(
        0.05,
        ge=0,
        le=0.5,
        description="brightness added to input and truth, from -x to x of full scale",
    )
    contrast: float = Field(
        0.05, ge=0, le=0.5, description="contrast of input and truth, drawn from 1-x to 1+x"
    )
    hue: float = Field(
        0.0, ge=0, le=0.5, description="hue shift of input and truth, from -x to x turns; 0: off"
    )
    saturation: float = Field(
        0.0, ge=0, le=1, description="saturation factor of input and truth, from 1-x to 1+x; 0: off"
    )
    value: float = Field(0.0, ge=0, le=1, description="the same for HSV's value; 0: off")
    color_transfer: float = Field(
        0.0,
        ge=0,
        le=1,
        description="probability that a source face is given a target face's colours",
    )
    occlude: float = Field(
        0.0,
        ge=0,
        le=1,
        description="probability that something is put before the face of an input; the truth "
        "stays without it",
    )

    @model_validator(mode="before")
    @classmethod
    def _values_are_by_hand(cls, values: Any) -> Any:
        # Whoever gives one of them wants it; so did runs from before there was a choice.
        if isinstance(values, dict) and not values.keys().isdisjoint(AUGMENTED):
            return {"kind": "hand", **values}
        return values


class HeldoutConfig(Section):
    """Which faces training never sees, and how often it is judged by them."""

    by: Literal["block", "clip"] = Field(
        "block", description="block: the end of every clip; clip: the last whole clip"
    )
    share: float = Field(
        0.1, gt=0, lt=0.5, description="share of each clip that is held out, for block"
    )
    gap: int = Field(
        5, ge=0, description="frames next to a held-out block that belong to neither part"
    )
    every: int = Field(100, ge=1, description="steps between held-out losses")


class FinishConfig(Section):
    """The phase after training that brings fine detail back (`faceswap-lite finish`)."""

    after_training: bool = Field(
        False, description="finish a run as soon as its training has reached its end"
    )
    steps: int | None = Field(None, ge=1, description="steps of the phase in total")
    minutes: float | None = Field(
        None,
        gt=0,
        description="time of the phase in total, minutes; without it and without steps: 0.4 of the "
        "training's own",
    )
    sides: Literal["source", "target", "both"] = Field(
        "source", description="whose painted face is finished; liae: always both"
    )
    kind: AdversaryName = Field("least_squares", description="the adversary's loss")
    adversary: float = Field(
        3.0, ge=0, description="weight of the adversary's loss; 0: no adversary"
    )
    label: float = Field(
        0.9, gt=0, le=1, description="how true painted faces are meant to look, below 1: smoothed"
    )
    rebuild: float = Field(10.0, ge=0, description="weight of the rebuilt face's mean difference")
    hold: float = Field(
        10.0,
        ge=0,
        description="weight of how far the low-passed swap strays from that of before the phase",
    )
    lr: float = Field(2e-4, gt=0, description="learning rate of the decoder")
    adversary_lr: float = Field(4e-4, gt=0, description="learning rate of the discriminator")
    every: int = Field(100, ge=1, description="steps between the guard's looks")


class TrainingConfig(Section):
    """How long, with which faces, at which rate; losses, augmentation, checkpoints."""

    steps: int | None = Field(None, ge=1, description="stop after this many steps in total")
    minutes: float | None = Field(
        None, gt=0, description="stop after this much training time, minutes"
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after this many held-out losses without a new best; null: never",
    )
    batch: int = Field(8, ge=1, description="faces of each identity in a step")
    source_share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="the source's share of a step's 2 * batch faces; the rest are the target's",
    )
    accumulate: int = Field(
        1, ge=1, description="parts that a batch is split into: less memory, same gradient"
    )
    seed: int = Field(
        0, ge=0, description="seed of initial weights, order of faces and augmentation"
    )

    lr: float | Literal["auto"] = Field(
        1e-3, description="learning rate; auto: chosen by a range test when the run begins"
    )
    find_lr_steps: int = Field(150, ge=10, description="maximum number of steps of a range test")
    find_lr_low: float = Field(1e-6, gt=0, description="first learning rate of a range test")
    find_lr_high: float = Field(0.1, gt=0, description="last learning rate of a range test")
    schedule: ScheduleConfig = ScheduleConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    heldout: HeldoutConfig = HeldoutConfig()
    finish: FinishConfig = FinishConfig()

    mask_steps: int = Field(
        0,
        ge=0,
        description="steps in which the network that tells what is before a face learns this run's "
        "faces, before training; 0: it stays as it came",
    )
    visible_only: bool = Field(
        False, description="what is before a face, by that network, does not count as the face"
    )

    pose_balance: float = Field(
        0.0, ge=0, le=1, description="0: faces are drawn as they come; 1: all yaws equally often"
    )
    late_ramp: int = Field(
        1000,
        ge=0,
        description="steps over which faces added to a run later reach their full "
        "share; 0: at once",
    )

    log_every: int = Field(10, ge=1, description="steps between lines of the log")
    preview_every: int = Field(200, ge=1, description="steps between preview sheets")
    save_every: int = Field(200, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, description="how many of the newest checkpoints are kept")

    device: DeviceName = Field(
        "auto", description="device that computes; auto: a GPU if there is one, else the CPU"
    )
    precision: PrecisionName = Field(
        "auto",
        description="precision of the network's arithmetic; auto: bf16 where the "
        "hardware supports it",
    )
    compile: bool = Field(False, description="torch.compile: slow to start, then faster on GPUs")
    threads: int = Field(0, ge=0, description="CPU threads; 0: all cores")

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

    steps: int = Field(
        6_000, ge=1, description="training steps in total; the rate falls to 0 at the end"
    )
    crops: int = Field(
        40_960, ge=64, description="rendered crops in the pool; each takes 5 bytes per pixel"
    )
    renew_every: int = Field(
        6, ge=0, description="steps after which the oldest 32 crops give way to new ones; 0: never"
    )


class ColorConfig(Section):
    """How the painted face gets the clip's colours and light."""

    kind: ColorName = Field(
        "skin_gain",
        description="skin_gain: the target's skin tone and light; mkl: its mean and covariance; "
        "none: as painted",
    )
    steady: float = Field(
        3.0, ge=0, le=50, description="frames that colours are averaged over (sigma); 0: off"
    )
    relight: float = Field(
        0.0, ge=0, le=1, description="how far the target's broad light replaces the face's; 0: off"
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _kind_is_there(cls, value: Any) -> Any:
        if isinstance(value, str) and value in GONE_COLORS:
            raise ValueError(f"{value} no longer exists; use {GONE_COLORS[value]}")
        return value


class MaskConfig(Section):
    """Which pixels of the painted face are shown. Sides are the model's crop's."""

    kind: MaskName = Field(
        "product",
        description="hull: the landmarks' outline; learned: the model's own; product: only "
        "what both show; visible: the same less what is before the face",
    )
    erode: float = Field(
        -0.03,
        ge=-0.3,
        le=0.3,
        description="how far the edge moves inwards, in face sides; below 0: outwards",
    )
    feather: float = Field(0.05, ge=0, le=0.5, description="width of the soft edge, in face sides")
    top: float = Field(
        -0.1,
        ge=-0.5,
        le=0.5,
        description="how far the upper edge moves outwards, in face sides; 0 shows all of the "
        "forehead, with what hair the painted face has on it",
    )
    bottom: float = Field(
        0.0, ge=-0.5, le=0.5, description="how far the lower edge moves outwards, in face sides"
    )
    left: float = Field(
        0.0, ge=-0.5, le=0.5, description="how far the left edge moves outwards, in face sides"
    )
    right: float = Field(
        0.0, ge=-0.5, le=0.5, description="how far the right edge moves outwards, in face sides"
    )
    steady: float = Field(
        1.0, ge=0, le=50, description="frames that the mask is averaged over (sigma); 0: off"
    )
    folder: str | None = Field(
        None, description="folder of PNG masks of the frames: white may be swapped, black never"
    )


class OutputConfig(Section):
    """What is written, and how it is marked."""

    codec: CodecName = Field(
        "h264", description="codec of videos: h264 has 8 bits, the others keep 10"
    )
    quality: int = Field(
        16, ge=0, le=51, description="crf of h264 and hevc: 0 is lossless, 51 the worst"
    )
    label: str = Field(
        "", description="text of a visible label, burnt into every frame; empty: none"
    )
    c2pa: bool = Field(False, description="sign the file with a C2PA manifest (extra c2pa)")
    c2pa_certificate: str | None = Field(
        None,
        description="file of the PEM certificate chain; null: a local one is made, which "
        "nobody else trusts",
    )
    c2pa_key: str | None = Field(None, description="file of the certificate's private key, PEM")

    @model_validator(mode="after")
    def _key_fits(self) -> "OutputConfig":
        if (self.c2pa_certificate is None) != (self.c2pa_key is None):
            raise ValueError("c2pa_certificate and c2pa_key go together")
        return self


class ConvertConfig(Section):
    """From a clip and a run to the swapped clip. Sides and sizes are the model's crop's."""

    weights: WeightsName = Field(
        "best", description="best: lowest held-out loss of the run; last: the newest"
    )
    swap: SwapName = Field("source-to-target", description="whose face is painted, and onto whom")

    face: int | None = Field(
        None, ge=0, description="swap the n-th face from the left (0: leftmost); null: the target's"
    )
    all_faces: bool = Field(False, description="swap every face, whoever it is")
    start: int = Field(0, ge=0, description="the first frame that is written")
    end: int | None = Field(
        None, ge=1, description="the frame before which writing ends; null: the clip's end"
    )
    start_number: int | None = Field(
        None,
        ge=0,
        description="number of the first frame in the names of pictures and masks; null: a "
        "sequence's own, else 1",
    )
    temporal_smoothing: float = Field(
        2.5, ge=0, le=20, description="smoothing of landmarks over time: sigma in frames; 0: off"
    )
    bridge: int = Field(
        5, ge=0, le=50, description="longest gap in a face's track that is filled, frames"
    )

    test_time_augmentation: int = Field(
        1,
        ge=1,
        le=64,
        description="number of shifted inputs that are painted and averaged; time grows in "
        "proportion",
    )
    scale: float = Field(1.0, ge=0.5, le=2, description="size of the painted face; 1: as it is")
    mouth: WhoseName = Field(
        "auto",
        description="whose mouth opening is shown, with teeth and tongue; source: as "
        "painted; target: the clip's; auto: the clip's where painted mouths do not follow it",
    )
    eyes: WhoseName = Field("auto", description="whose eye opening is shown; as for mouth")

    color: ColorConfig = ColorConfig()
    mask: MaskConfig = MaskConfig()
    blend: BlendName = Field(
        "alpha",
        description="alpha: as soft as the mask; multiband: broad colour fades over a fifth "
        "of the face, detail at the mask's edge",
    )
    sharpen: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how far sharpness is brought to the clip's, up or down; 0: off",
    )
    grain: float = Field(
        0.0, ge=0, le=1, description="how far the face gets the frame's grain; 0: off"
    )
    output: OutputConfig = OutputConfig()

    batch: int = Field(
        16, ge=1, description="maximum number of frames whose faces are painted at a time"
    )
    device: DeviceName = Field(
        "auto", description="device that computes; auto: a GPU if there is one, else the CPU"
    )

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

    judge: EmbedderName = Field(
        "auto", description="what judges identity; it must have had no part in building the sets"
    )
    every: int = Field(1, ge=1, description="measure every n-th frame")
    gallery: int = Field(60, ge=5, description="how many faces of each set stand for an identity")
    known: list[str] = Field([], description="face sets of others that the swap may be taken for")
    lpips: str | None = Field(
        None, description="file or folder of AlexNet's and LPIPS' weights; null: not measured"
    )
    memory: bool = Field(True, description="look for training faces that outputs repeat")
    seed: int = Field(0, ge=0, description="seed of the resampling behind confidence intervals")


class RenderConfig(Section):
    """A clip of a synthetic actor, with its truth."""

    actor: str = Field("ada", description="the actor's name, or random:SEED")
    twin: str | None = Field("bruno", description="whose face the twin clips wear; null: no twins")
    frames: int = Field(240, ge=1, description="length of the clip, frames")
    size: int = Field(256, ge=64, le=2048, description="side of the square frame, px")
    rate: int = Field(25, ge=1, le=240, description="frames per second")
    seed: int = Field(0, ge=0, description="seed of motion, light and background")
    max_yaw_deg: float = Field(
        40.0, ge=0, le=80, description="how far the head turns to either side, degrees"
    )


class Config(Section):
    """One file for the whole road; each stage reads its own section."""

    consent: str = Field(
        "", description="who agreed to this swap, when and to what; goes into runs and clips"
    )
    extract: ExtractConfig = ExtractConfig()
    curate: CurateConfig = CurateConfig()
    model: ModelConfig = ModelConfig()
    init: InitConfig = InitConfig()
    training: TrainingConfig = TrainingConfig()
    base: BaseConfig = BaseConfig()
    convert: ConvertConfig = ConvertConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    render: RenderConfig = RenderConfig()


class Change(str):
    """`section.key=value`, and the option of a command that asked for it, as it was typed."""

    typed: str

    def __new__(cls, text: str, typed: str) -> "Change":
        """As any string."""
        change = super().__new__(cls, text)
        change.typed = typed
        return change


def load_config(
    source: str | Path | None = None,
    changes: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Config:
    """The config of a YAML file, or of a preset's name, with `section.key=value` changes applied.

    A run's own file holds every option, chosen or not, under the names of its day: there, what went
    is what it is by default now, and `say` hears of it. Elsewhere old names are refused.
    Raises: UsageError naming the key, and the nearest right one when it is a typo; and the option
    or the file that it was given by.
    """
    values: dict[str, Any] = {}
    if source is not None:
        path = find_config(source)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{path}: is not a readable config ({reason})") from error
        if not isinstance(values, dict):
            raise UsageError(f"{path}: must consist of sections ({', '.join(Config.model_fields)})")
        if path.with_name(_RUN_FILE).is_file():
            for name, value in old_names_in(values):
                if say is not None and name in CONSTANTS and value != CONSTANTS[name]:
                    say(f"{path}: {new_name(name)}")
            values = under_new_names(values)
            if not any(_key(change) == "convert.color.kind" for change in changes):
                values = _without_gone(values, path, say)
        elif old := [new_name(name) for name, _ in old_names_in(values)]:
            raise UsageError(f"{path}: {'; '.join(old)}")
    unchanged = values
    named = set[str]()
    for change in changes:
        name, value = _parsed(change)
        if is_old(name, value):
            raise UsageError(f"{_typed(change)}: {new_name(name)}")
        values = _with_change(values, change)
        named |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    by_hand = {f"training.augment.{name}" for name in AUGMENTED} & named
    if by_hand and "training.augment.kind" not in named:
        # A run's own file holds all options: what is asked for now decides.
        values = _with_change(values, "training.augment.kind=hand")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        blamed = _blamed(error, changes, unchanged)
        where = blamed or (f"{path}: " if source is not None else "")
        raise UsageError(where + _explain(error)) from None


def change_section(section: SectionT, changes: Sequence[str]) -> SectionT:
    """The section with changes that read `key=value`.

    Raises: UsageError naming the key, and the nearest right one when it is a typo.
    """
    name = type(section).__name__.removesuffix("Config").lower()
    values: dict[str, Any] = {name: section.model_dump()}
    for change in (Change(f"{name}.{change}", change) for change in changes):
        if is_old(*_parsed(change)):
            told = new_name(_key(change)).replace(f"{name}.", "")
            raise UsageError(f"{change.typed}: {told}")
        values = _with_change(values, change)
    try:
        return type(section).model_validate(values[name])
    except ValidationError as error:
        raise UsageError(f"{' '.join(changes)}: {_explain(error, name)}") from None


def find_config(source: str | Path) -> Path:
    """The file of a config: a path, or the name of a preset in `configs/`."""
    path = Path(source)
    if path.is_file():
        return path
    package = Path(__file__).parent
    # A checkout keeps the presets beside the package, an installed wheel inside it.
    folders = [package.parent / "configs", package / "configs"]
    if path.suffix == "" and path.name == str(source):
        for folder in folders:
            if (folder / f"{source}.yaml").is_file():
                return folder / f"{source}.yaml"
    names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise UsageError(f"{source}: no such config file or preset (presets: {', '.join(names)})")


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


def _without_gone(
    values: dict[str, Any], path: Path, say: Callable[[str], None] | None
) -> dict[str, Any]:
    """A run's options without those that went."""
    try:
        kind = values["convert"]["color"]["kind"]
    except (KeyError, TypeError):
        return values
    # A list, as no key of a mapping can be: what is no name is told of later.
    if kind not in [*GONE_COLORS]:
        return values
    now = ColorConfig().kind
    if say is not None:
        say(f"{path}: convert.color.kind {kind} no longer exists; {now} is used instead")
    return _with_change(values, f"convert.color.kind={now}")


def dump_config(config: Config) -> str:
    """The config as YAML, every option written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _key(change: str) -> str:
    return change.partition("=")[0].strip()


def _typed(change: str) -> str:
    return change.typed if isinstance(change, Change) else f"--set {change}"


def _blamed(error: ValidationError, changes: Sequence[str], unchanged: dict[str, Any]) -> str:
    """Which changes brought the error, as they were typed; empty: it was there before them."""
    where = ".".join(str(part) for part in error.errors()[0]["loc"])
    same = [change for change in changes if f"{where}.".startswith(f"{_key(change)}.")]
    if same:
        return f"{_typed(same[-1])}: "
    try:
        Config.model_validate(unchanged)
    except ValidationError:
        return ""
    # Options that do not go together.
    near = [change for change in changes if _key(change).startswith(where)]
    return f"{' '.join(dict.fromkeys(map(_typed, near)))}: " if near else ""


def _parsed(change: str) -> tuple[str, Any]:
    """The option that a change names, and its value."""
    name, equals, text = change.partition("=")
    name = name.strip()
    if equals and name == "consent":
        return name, text
    section, *keys = name.split(".")
    if not (equals and keys and all([section, *keys])):
        raise UsageError(f"--set {change}: must read section.key=value")
    try:
        value = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        value = text
    if isinstance(value, dict) and not text.lstrip().startswith("{"):
        # A colon in a sentence makes no mapping of it.
        value = text
    return name, "" if text == "" else value


def _with_change(values: dict[str, Any], change: str) -> dict[str, Any]:
    name, value = _parsed(change)

    def put(options: dict[str, Any], key: str, *rest: str) -> dict[str, Any]:
        if not rest:
            both = isinstance(value, dict) and isinstance(options.get(key), dict)
            return {**options, key: {**options[key], **value} if both else value}
        inner = options.get(key) or {}
        if not isinstance(inner, dict):
            raise UsageError(
                f"{_typed(change)}: {key} must hold options, one per line, not {inner!r}"
            )
        return {**options, key: put(inner, *rest)}

    return put(values, *name.split("."))


def _explain(error: ValidationError, *inside: str) -> str:
    first = error.errors()[0]
    path = (*inside, *first["loc"])
    where = ".".join(str(part) for part in path)
    if first["type"] != "extra_forbidden":
        return f"{where or 'config'}: {first['msg'].removeprefix('Value error, ')}"
    section: type[BaseModel] = Config
    for part in path[:-1]:
        section = type(getattr(section(), str(part)))
    near = difflib.get_close_matches(str(path[-1]), section.model_fields, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(section.model_fields)}"
    return f"{where}: no such option; {hint}"
