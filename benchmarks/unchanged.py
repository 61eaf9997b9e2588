"""Does the working tree still give what an earlier commit gives? Both run here and are compared.

    python benchmarks/unchanged.py REV
    python benchmarks/unchanged.py REV --media ../shared/media --keep ../unchanged
    python benchmarks/unchanged.py REV --keep ../unchanged --only convert,evaluate

Each commit goes the whole road by the command line alone, in one sitting, on this machine and in
this environment, from the same clips: rendered actors, and real ones with --media. One line says
of each thing whether it is the same, or else what differs first. Exit code 1: something differs
that may not; 2: REV itself fails. About 6 minutes on two cores, 4 more with --media.
With --keep, REV is not run again; with --only, what comes before the named stages is taken as an
earlier sitting with the same --keep left it.
"""

import argparse
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import load_file

from faceswap_lite.renames import RENAMED

ROOT = Path(__file__).resolve().parent.parent

# What may differ, and why: patterns of "thing" or "thing:label", as they are printed.
ALLOWED: dict[str, str] = {
    # Of commits up to 18a7302; drop it for later ones.
    "media/shots*": "extract has convert's cut detector: tracks end at the cuts that it missed",
    # Of commits without renames.py.
    "*config:training/plateau_*": "constants now",
    "convert/sheet.png": "its rows are titled by the options",
    # Of commits up to 9f8a824, whose messages were worded otherwise; figures are compared by JSON.
    **dict.fromkeys(
        (
            "* said",
            "* csv",
            "*:*sentence",
            "*:*advice",
            "*:*evidence/*",
            "*:*words",
            "*:*/title",
            "*:*/note",
            "*:*reason",
            "*:*reasons/*",
            "*:*notes/*",
            "latent/w*.png",
        ),
        "worded otherwise",
    ),
}

# Names at an earlier commit without the package's own table, and what they are called now: of
# options, with and without their section (as --try and a conversion's settings have them), and of
# keys of JSON and YAML.
RENAMED_OPTIONS = RENAMED | {
    old.removeprefix("convert."): new.removeprefix("convert.") for old, new in RENAMED.items()
}
RENAMED_KEYS = {old.replace(".", "/"): new.replace(".", "/") for old, new in RENAMED.items()}

# What names versions, jobs and times, not results. Hashes of whole files: what is in them is
# compared instead, since a clip's mark names its job.
IGNORED_KEYS = {
    "job", "tool", "version", "seconds", "sha256", "output_sha256", "tracks_sha256", "own_sha256",
}  # fmt: skip

Facts = dict[str, str]
"""What is compared of one thing: values by labels, in the order in which they are told."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "COLUMNS": "100",
}
PIP_ONLY = {"extract.detector": "mtcnn", "extract.landmarks": "five", "extract.embedder": "none"}
PACKAGES = ("torch", "numpy", "scipy", "av", "opencv-python-headless", "pillow", "scikit-image")


# --- The commands: what each commit is asked to do ------------------------------------------------


@dataclass(frozen=True)
class Given:
    """What both commits find. Commands run in a commit's own folder, beside `inputs`."""

    inputs: Path
    weights: bool
    """Whether the small networks of $FACESWAP_LITE_WEIGHTS are there."""
    media: Path | None

    @property
    def pack(self) -> dict[str, Any]:
        """Options of `extract`: its best pack, or the one that pip alone brings."""
        return {} if self.weights else PIP_ONLY


Command = tuple[str, list[str]]
"""A name, under which what the command says is kept, and its arguments."""


def options(values: dict[str, Any]) -> list[str]:
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def render(out: str, actor: str, twin: str, frames: int, seed: int) -> list[str]:
    people = ["--actor", actor, "--twin", twin, "--frames", str(frames), "--seed", str(seed)]
    return ["render", out, *people, *options({"render.size": 128})]


def extract(clips: list[str], out: str, changes: dict[str, Any], *more: str) -> list[str]:
    return ["extract", *clips, "--out", out, *options(changes), *more]


def train(source: str, target: str, run: str, changes: dict[str, Any], *more: str) -> list[str]:
    sets = ["--source", source, "--target", target, "--run", run]
    return ["train", *sets, *options({**TRAINING, **changes}), *more]


def convert(run: str, clip: str, out: str, changes: dict[str, Any], *more: str) -> list[str]:
    return ["convert", "--run", run, "--clip", clip, "--out", out, *options(changes), *more]


TRAINING = {
    "training.seed": 3, "training.threads": 1, "training.device": "cpu", "training.batch": 4,
    "training.log_every": 1, "training.heldout.every": 5, "training.preview_every": 30,
    "training.save_every": 30, "training.schedule.warmup_steps": 5,
    "training.optimizer.ema_decay": 0.95,
    # By hand, as all augmentation once was.
    "training.augment.rotation_deg": 4,
}  # fmt: skip
TINY = {
    "model.size": 32, "model.encoder_dims": 8, "model.inter_dims": 16, "model.decoder_dims": 6,
    "model.mask_dims": 4,
}  # fmt: skip
PLATEAU = {
    "training.schedule.kind": "plateau", "training.schedule.plateau_patience": 1,
    "training.schedule.plateau_cooldown": 0, "training.schedule.plateau_threshold": 0.03,
    "training.precision": "32-true", "training.augment.flip": 0.3,
    "training.augment.color_transfer": 0.3, "training.pose_balance": 0.5, "training.loss.l1": 1,
}  # fmt: skip
LIAE = {
    "model.architecture": "liae", "model.flags": "ud", "training.optimizer.kind": "adabelief",
    "training.loss.gradient": 1, "training.loss.frequency": 1, "training.augment.hue": 0.05,
    "training.augment.saturation": 0.2, "training.augment.value": 0.2, "training.accumulate": 2,
    "training.source_share": 0.25, "training.heldout.by": "clip", "training.augment.warp_until": 40,
}  # fmt: skip
# Its dims are fixed: its optimiser takes minutes, whatever the batch. A stage of its own, for that.
ORIGINAL = {
    "model.architecture": "original", "model.flags": '""', "model.size": 64, "training.batch": 1,
    "training.precision": "32-true", "training.optimizer.kind": "adamw",
    "training.heldout.every": 20, "training.schedule.kind": "cosine", "training.save_every": 60,
}  # fmt: skip
LOSSLESS = {"convert.output.codec": "ffv1", "convert.device": "cpu"}


def render_commands(given: Given) -> list[Command]:
    return [("clip", render("render/clip.mp4", "ada", "bruno", 12, 7))]


def extract_commands(given: Given) -> list[Command]:
    pack = {**given.pack, "extract.size": 96}
    five = {**PIP_ONLY, "extract.every": 3, "extract.crop_coverage": "whole", "extract.size": 80}
    clips = {
        "source": ["source.mp4", "spoiled.mkv"],
        "target": ["target_1.mp4", "target_2.mp4"],
        "others": ["others.mp4"],
        "two": ["two.mkv", "cut.mkv"],
    }
    inputs = {name: [f"../inputs/{clip}" for clip in names] for name, names in clips.items()}
    made = [(name, extract(paths, f"extract/{name}", pack)) for name, paths in inputs.items()]
    return [*made, ("five", extract(inputs["two"], "extract/five", five))]


def curate_commands(given: Given) -> list[Command]:
    return [
        ("target", ["curate", "curate/target"]),
        ("source", ["curate", "curate/source", "--against", "curate/target", "--apply"]),
        ("two", ["curate", "curate/two", "--keep", "12", *options({"curate.rare_weight": 2})]),
    ]


def train_commands(given: Given) -> list[Command]:
    sets = partial(train, "curate/source", "curate/target")
    steps = ["--steps", "60"]
    return [
        ("df", sets("train/df", {**TINY, **PLATEAU}, *steps)),
        ("liae", sets("train/liae", {**TINY, **LIAE}, *steps)),
        ("rate", sets("train/rate", {**TINY, "training.find_lr_steps": 30}, "--find-lr")),
    ]


def original_commands(given: Given) -> list[Command]:
    run, unseen = "original/original", "../inputs/unseen.mp4"
    masks = ["--masks", "../inputs/masks", "--frames", ":8"]
    return [
        ("train", train("curate/source", "curate/target", run, ORIGINAL, "--steps", "60")),
        ("convert", convert(run, unseen, "original/pictures", {}, *masks)),
    ]


def fit_commands(given: Given) -> list[Command]:
    changes = {"training.threads": 1, "training.heldout.every": 5, "training.lr": 1e-4}
    clip = ["--target", "../inputs/unseen.mp4", "--run", "fit/fit", "--steps", "20"]
    return [("fit", ["fit", "--base", "fit/df", *clip, *options(changes)])]


def convert_commands(given: Given) -> list[Command]:
    tracks = [f"--{name.replace('_', '-')}" for name in ("mask_out", "layer_out", "compare")]
    outs = ["convert/mask.mkv", "convert/layer.mkv", "convert/compare.mkv"]
    rich = {
        "convert.test_time_augmentation": 2, "convert.blend": "multiband",
        "convert.mask.kind": "hull",
        "convert.color.kind": "mkl", "convert.sharpen": 0.5, "convert.grain": 0.5,
        "convert.color.relight": 0.5, "convert.scale": 1.1, "convert.weights": "last",
    }  # fmt: skip
    many = {"convert.mask.kind": "learned", "convert.color.kind": "none", "convert.device": "cpu"}
    colors = ("none", "mkl", "mkl blend=multiband", "none color.relight=0.5")
    rows = [part for color in colors for part in ("--try", f"color.kind={color}")]
    unseen, cut, two = ("../inputs/unseen.mp4", "../inputs/cut.mkv", "../inputs/two.mkv")
    named = [part for pair in zip(tracks, outs, strict=True) for part in pair]
    sheet = ["--preview-settings", "convert/sheet.png", "--preview-frames", "3", *rows]
    return [
        ("df", convert("convert/df", cut, "convert/df.mkv", LOSSLESS, *named)),
        ("liae", convert("convert/liae", unseen, "convert/liae.mkv", {**LOSSLESS, **rich},
                         "--label", "--swap", "target-to-source", "--face", "0")),
        # The person in the clip painted as himself: one face under one light.
        ("own", convert("convert/liae", unseen, "convert/own.mkv", LOSSLESS, "--swap",
                        "target-to-source", "--face", "0")),
        ("many", convert("convert/df", two, "convert/many.mp4", many, "--all-faces")),
        ("sheet", ["convert", "--run", "convert/df", "--clip", unseen, *sheet]),
    ]  # fmt: skip


def check_commands(given: Given) -> list[Command]:
    return [
        ("df", ["check", "--run", "check/df", "--clip", "../inputs/unseen.mp4"]),
        ("liae", ["check", "--run", "check/liae", "--clip", "../inputs/cut.mkv"]),
    ]


def evaluate_commands(given: Given) -> list[Command]:
    runs = ["--run", "evaluate/df", "--run", "evaluate/liae"]
    clip = ["--clip", "../inputs/unseen.mp4", "--known", "extract/others"]
    made = ["--clip", "../inputs/cut.mkv", "--converted", "evaluate/converted.mkv"]
    report = ["--out", "evaluate/converted.json"]
    return [
        ("report", ["evaluate", *runs, *clip, "--out", "evaluate/report.json"]),
        ("converted", ["evaluate", "--run", "evaluate/df", *made, *report]),
    ]


def latent_commands(given: Given) -> list[Command]:
    run = ["--run", "latent/df"]
    a, b = ("curate/source/source_000001_0.png", "curate/source/source_000020_0.png")
    # Of five points no yaw is read.
    asked = "yaw_deg" if given.weights else "brightness"
    stored = ["latent/direction.safetensors", a]
    return [
        ("interpolate", ["latent", "interpolate", a, b, *run, "--out", "latent/mix.png", "--arc"]),
        ("direction", ["latent", "direction", asked, *run, "--out", "latent/direction.png"]),
        ("sweep", ["latent", "sweep", *stored, *run, "--out", "latent/sweep.png"]),
        ("what_if", ["latent", "counterfactual", a, "brightness", *run,
                     "--out", "latent/what_if.png", "--side", "source"]),
        ("who", ["latent", "counterfactual", a, "identity", *run, "--out", "latent/who.png"]),
    ]  # fmt: skip


def info_commands(given: Given) -> list[Command]:
    paths = {
        "run": "train/df",
        "set": "curate/source",
        "swap": "convert/df.mkv",
        "clip": "../inputs/cut.mkv",
        "picture": "curate/source/source_000001_0.png",
    }
    return [(name, ["info", path]) for name, path in paths.items()]


def media_commands(given: Given) -> list[Command]:
    video = (given.media or Path()).resolve() / "video"
    robust = video / "robust"
    pack = {**given.pack, "extract.size": 160}
    # A stranger's frames among the source's: curate has somebody to find.
    source = [f"{video}/franck_train_1.mp4", f"{video}/lpd9_eval_1.mp4"]
    target = [f"{video}/grid_s1_train_1.mp4"]
    shots, three = f"{robust}/multishot_multiface_dark.mp4", f"{robust}/threefaces_walking.mp4"
    vfr, unseen = f"{robust}/vfr.mp4", f"{video}/grid_s1_eval_1.mp4"
    several = {**LOSSLESS, "convert.color.kind": "mkl"}
    return [
        ("source", extract(source, "media/source", {**pack, "extract.every": 7})),
        ("target", extract(target, "media/target", {**pack, "extract.every": 7})),
        ("shots", extract([shots, three], "media/shots", {**pack, "extract.every": 2})),
        ("curate", ["curate", "media/source", "--against", "media/target", "--apply"]),
        ("shots_curated", ["curate", "media/shots"]),
        ("train", train("media/source", "media/target", "media/run", {**TINY, **PLATEAU},
                        "--steps", "60")),
        ("vfr", convert("media/run", vfr, "media/vfr.mkv", LOSSLESS, "--frames", "10:50",
                        "--mask-out", "media/vfr_mask.mkv")),
        ("many", convert("media/run", shots, "media/many.mkv", several, "--all-faces",
                         "--frames", "60:160")),
        ("check", ["check", "--run", "media/run", "--clip", unseen]),
        ("evaluate", ["evaluate", "--run", "media/run", "--clip", unseen, "--known",
                      "media/shots", *options({"evaluate.every": 10})]),
    ]  # fmt: skip


# --- The facts: what is read from what the commands left ------------------------------------------


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def array_fact(array: np.ndarray) -> str:
    """An array's mean, shape and hash: the mean tells whether a difference is a hair or a house."""
    numbers = array.dtype.kind in "biuf" and array.size > 0
    mean = f"mean {array.astype(np.float64).mean():.9g}, " if numbers else ""
    shape = "x".join(map(str, array.shape))
    return f"{mean}{shape} {array.dtype}, {sha(np.ascontiguousarray(array).tobytes())}"


def picture_facts(path: Path) -> Facts:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return {"pixels": "no picture" if picture is None else array_fact(picture)}


def clip_facts(path: Path) -> Facts:
    """Each frame as it is stored, with its time; sound by its packets."""
    facts: Facts = {}
    with av.open(str(path)) as container:
        for stream in container.streams:
            facts[f"stream {stream.index}"] = f"{stream.type} {stream.codec_context.name}"
        for packet in container.demux(audio=0) if container.streams.audio else ():
            if packet.size:
                facts[f"sound at {packet.pts}"] = sha(bytes(packet))
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            planes = [np.frombuffer(bytes(plane), np.uint8) for plane in frame.planes]
            told = f"{frame.format.name} at {frame.pts} x {frame.time_base}"
            facts[f"frame {number}"] = f"{array_fact(np.concatenate(planes))}, {told}"
    return facts


def folder_facts(folder: Path) -> Facts:
    pictures = sorted(folder.glob("*.png"))
    facts = {picture.name: picture_facts(picture)["pixels"] for picture in pictures}
    rest = [path.name for path in folder.iterdir() if path.suffix != ".png"]
    return {**facts, "other files": " ".join(sorted(rest))}


def value_facts(value: Any, label: str = "") -> Facts:
    """Every number and word of parsed JSON, by where it stands."""
    if isinstance(value, dict):
        pairs = [(name, inner) for name, inner in value.items() if name not in IGNORED_KEYS]
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return {label: json.dumps(value, ensure_ascii=False)}
    facts: Facts = {f"{label}/": f"{len(pairs)} entries"} if isinstance(value, list) else {}
    for name, inner in pairs:
        facts |= value_facts(inner, f"{label}/{name}" if label else str(name))
    return facts


def json_facts(path: Path) -> Facts:
    return value_facts(json.loads(path.read_text(encoding="utf-8")))


def jsonl_facts(path: Path) -> Facts:
    """Lines of JSON, the job's name and wall-clock seconds left out."""
    facts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        values = {k: v for k, v in json.loads(line).items() if k not in IGNORED_KEYS}
        facts[f"line {number}"] = json.dumps(values)
    return facts


def text_facts(path: Path) -> Facts:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {f"line {number}": line for number, line in enumerate(lines, start=1)}


def said_facts(path: Path, *, in_order: bool = True) -> Facts:
    """What a command said, times left out; `in_order` off: whichever line came first."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    timed = (" minutes (", " s  held out ", "steps in ")
    lines = [line for line in lines if not any(mark in line for mark in timed)]
    if in_order:
        return {f"line {number}": line for number, line in enumerate(lines, start=1)}
    return dict.fromkeys(sorted(lines), "said")


def arrays_facts(path: Path) -> Facts:
    """Arrays of an .npz or a .safetensors file, in order of their names."""
    if path.suffix == ".safetensors":
        arrays = load_file(path)
    else:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    return {name: array_fact(arrays[name]) for name in sorted(arrays)}


def truth_facts(path: Path) -> Facts:
    """A rendered clip's truth, but for words, which name its job."""
    return {name: fact for name, fact in arrays_facts(path).items() if "<U" not in fact}


def set_facts(folder: Path) -> Facts:
    """The crops of a face set: pixels, and what each says of itself."""
    facts: Facts = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".png", ".jpg") and not name.startswith("."):
            with Image.open(path) as picture:
                facts[name] = array_fact(np.asarray(picture))
                text = picture.info.get("faceswap_lite") or picture.info.get("comment", b"{}")
            facts |= value_facts(json.loads(text), name)
    return facts


def weights_facts(run: Path) -> Facts:
    """Every tensor of the last checkpoint, optimiser and best weights included."""
    last = sorted((run / "checkpoints").glob("step_*"))[-1]
    facts: Facts = {"checkpoint": last.name}
    files = sorted(last.glob("*.safetensors"))
    for path in files:
        facts |= {f"{path.stem} {name}": fact for name, fact in arrays_facts(path).items()}
    return facts | {f"file {path.name}": sha(path.read_bytes()) for path in files}


def run_things(run: Path) -> dict[str, Callable[[], Facts]]:
    """What a training left."""
    return {
        "weights": lambda: weights_facts(run),
        "log": lambda: jsonl_facts(run / "log.jsonl"),
        "state": lambda: json_facts(sorted(run.glob("checkpoints/step_*"))[-1] / "state.json"),
        "run.json": lambda: json_facts(run / "run.json"),
        "config": lambda: value_facts(yaml.safe_load((run / "config.yaml").read_text())),
        "preview": lambda: picture_facts(run / "preview.png"),
    }


def tracks_facts(run: Path) -> Facts:
    """Faces as conversions found them: the journals that a run keeps, whatever they are called."""
    # A journal is named by its job; its first sighting names its clip as well.
    found = [list(jsonl_facts(path).values()) for path in (run / "faces").glob("*.jsonl")]
    return {
        f"journal {number} line {place}": line
        for number, lines in enumerate(sorted(lines[1:] for lines in found), start=1)
        for place, line in enumerate(lines, start=1)
    }


READERS: dict[str, Callable[[Path], Facts]] = {
    ".mp4": clip_facts, ".mkv": clip_facts, ".png": picture_facts, ".json": json_facts,
    ".npz": arrays_facts, ".safetensors": arrays_facts, ".csv": text_facts,
}  # fmt: skip

Things = dict[str, Callable[[], Facts]]


def files(folder: Path, *names: str) -> Things:
    """Files by their names, each read as its suffix says."""
    return {name: partial(READERS[Path(name).suffix], folder / name) for name in names}


def curated(folder: Path, *names: str) -> Things:
    things: Things = {}
    for name in names:
        things[f"{name} decisions"] = partial(
            json_facts, folder / f"{name}_curation/decisions.json"
        )
        things[f"{name} csv"] = partial(text_facts, folder / f"{name}_curation/decisions.csv")
        things[f"{name} crops left"] = partial(set_facts, folder / name)
    return things


def trained(folder: Path, *names: str) -> Things:
    return {
        f"{name} {what}": read for name in names for what, read in run_things(folder / name).items()
    }


def render_things(folder: Path) -> Things:
    clips = files(folder, "clip.mp4", "clip.twin_raw.mp4", "clip.twin_matched.mp4")
    return {**clips, "truth": partial(truth_facts, folder / "clip.truth.npz")}


def extract_things(folder: Path) -> Things:
    names = ("source", "target", "others", "two", "five")
    return {name: partial(set_facts, folder / name) for name in names}


def curate_things(folder: Path) -> Things:
    coverage = files(folder, "source_curation/coverage.json")
    return {**curated(folder, "source", "target", "two"), **coverage}


def train_things(folder: Path) -> Things:
    return {**trained(folder, "df", "liae"), **files(folder, "rate/find_lr.json")}


def original_things(folder: Path) -> Things:
    pictures = {"pictures": partial(folder_facts, folder / "pictures")}
    return {**trained(folder, "original"), **pictures, **files(folder, "pictures.json")}


def fit_things(folder: Path) -> Things:
    faces = {"faces": partial(set_facts, folder / "fit_target")}
    return {**trained(folder, "fit"), **files(folder, "fit/fit_report.json"), **faces}


def convert_things(folder: Path) -> Things:
    clips = ("df.mkv", "mask.mkv", "layer.mkv", "compare.mkv", "liae.mkv", "many.mp4")
    sidecars = ("df.mkv.json", "liae.mkv.json", "many.mp4.json")
    return {
        **files(folder, *clips, "sheet.png", *sidecars),
        **{f"{run} tracks": partial(tracks_facts, folder / run) for run in ("df", "liae")},
    }


def check_things(folder: Path) -> Things:
    return files(folder, "df/check_unseen.json", "liae/check_cut.json")


def evaluate_things(folder: Path) -> Things:
    return files(folder, "report.json", "converted.json")


def latent_things(folder: Path) -> Things:
    sheets = ("mix", "direction", "sweep", "what_if", "who")
    names = [f"{name}.{suffix}" for name in sheets for suffix in ("json", "png")]
    return files(folder, *names, "direction.safetensors")


def info_things(folder: Path) -> Things:
    return {}


def media_things(folder: Path) -> Things:
    clips = files(folder, "vfr.mkv", "vfr_mask.mkv", "many.mkv")
    reports = files(folder, "run/check_grid_s1_eval_1.json", "run/report.json")
    sets = {name: partial(set_facts, folder / name) for name in ("target", "shots")}
    tracks = {"tracks": partial(tracks_facts, folder / "run")}
    return {
        **sets,
        **curated(folder, "source", "shots"),
        **trained(folder, "run"),
        **clips,
        **tracks,
        **reports,
    }


@dataclass(frozen=True)
class Stage:
    """Some commands that write into a folder of the stage's name, and what is compared of it."""

    commands: Callable[[Given], list[Command]]
    things: Callable[[Path], Things]
    takes: dict[str, str] = field(default_factory=dict)
    """What of other stages is copied first: a run keeps what was found of clips, and must not pass
    it on from a stage to the next."""
    needs: tuple[str, ...] = ()
    said_in_order: bool = True


SETS = {name: f"extract/{name}" for name in ("source", "target", "two")}
RUNS = {"df": "train/df", "liae": "train/liae"}
TRAINED = ("extract", "curate", "train")
STAGES = {
    "render": Stage(render_commands, render_things),
    "extract": Stage(extract_commands, extract_things),
    "curate": Stage(curate_commands, curate_things, SETS, ("extract",)),
    "train": Stage(train_commands, train_things, {}, ("extract", "curate"), said_in_order=False),
    "fit": Stage(fit_commands, fit_things, {"df": "train/df"}, TRAINED, said_in_order=False),
    "convert": Stage(convert_commands, convert_things, RUNS, TRAINED),
    "check": Stage(check_commands, check_things, RUNS, TRAINED),
    "evaluate": Stage(
        evaluate_commands,
        evaluate_things,
        {**RUNS, "converted.mkv": "convert/df.mkv"},
        (*TRAINED, "convert"),
    ),
    "latent": Stage(latent_commands, latent_things, {"df": "train/df"}, TRAINED),
    "info": Stage(info_commands, info_things, {}, (*TRAINED, "convert")),
    "original": Stage(original_commands, original_things, {}, TRAINED[:2], said_in_order=False),
    "media": Stage(media_commands, media_things, said_in_order=False),
}


# --- The clips that both commits are given --------------------------------------------------------


def read_clip(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    """Lossless, 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def make_inputs(given: Given, side: "Side") -> None:
    """Rendered clips, and what is made of them: a cut, two faces in a frame, spoiled faces."""
    given.inputs.mkdir(parents=True)
    clips = {
        "source": ("bruno", "null", 40, 1),
        "target_1": ("ada", "null", 24, 2),
        "target_2": ("ada", "null", 24, 4),
        "unseen": ("ada", "bruno", 20, 3),
        "others": ("dara", "null", 16, 5),
    }
    for name, (actor, twin, frames, seed) in clips.items():
        made = side.run(f"input {name}", render(f"../inputs/{name}.mp4", actor, twin, frames, seed))
        if made:
            raise SystemExit(f"the earlier commit cannot render {name}.mp4: {made}")
    shown = {name: read_clip(given.inputs / f"{name}.mp4") for name in clips}
    write_clip(given.inputs / "cut.mkv", [*shown["unseen"][:14], *shown["target_2"][6:20]])
    pairs = zip(shown["unseen"][:16], shown["others"], strict=True)
    write_clip(given.inputs / "two.mkv", [np.concatenate(pair, axis=1) for pair in pairs])
    write_clip(given.inputs / "spoiled.mkv", spoiled(shown["source"], shown["others"]))
    (given.inputs / "masks").mkdir()
    mask = np.full((128, 128), 255, np.uint8)
    mask[:, :60] = 0
    for number in range(0, 20, 2):
        cv2.imwrite(str(given.inputs / "masks" / f"mask_{number:06d}.png"), mask)


def spoiled(good: list[np.ndarray], strange: list[np.ndarray]) -> list[np.ndarray]:
    """Faces for curate to find fault with: repeated, blurred, dark, covered, somebody else's."""
    covered = [frame.copy() for frame in good[20:23]]
    for frame in covered:
        frame[70:100, 40:90] = (40, 160, 60)
    dark = [(frame * 0.08).astype(np.uint8) for frame in good[12:15]]
    blurred = [cv2.GaussianBlur(frame, (0, 0), 4) for frame in good[5:8]]
    return [good[0]] * 3 + blurred + dark + covered + strange[:3]


# --- Running and comparing ------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of the two commits, and the folder in which it works."""

    name: str
    tree: Path
    folder: Path

    @property
    def has_old_names(self) -> bool:
        """Whether its commit is from before the package's table of renamed options."""
        return not (self.tree / "faceswap_lite" / "renames.py").is_file()

    def run(self, name: str, arguments: list[str]) -> str:
        """Run a command and keep what it says; why it failed, or nothing."""
        said = self.folder / "said" / name
        said.parent.mkdir(parents=True, exist_ok=True)
        if self.has_old_names:
            arguments = [with_old_names(argument) for argument in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "faceswap_lite", *arguments],
            cwd=self.folder,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(self.tree)},
            text=True,
            capture_output=True,
        )
        said.with_suffix(".txt").write_text(done.stdout, encoding="utf-8")
        said.with_suffix(".err").write_text(done.stderr, encoding="utf-8")
        if done.returncode == 0:
            return ""
        last = done.stderr.strip().splitlines()[-1:] or ["nothing said"]
        return f"exit code {done.returncode}: {last[0]}"

    def stage(self, name: str, given: Given) -> dict[str, str]:
        """Run a stage's commands anew; why those failed that did, by their names."""
        stage = STAGES[name]
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir(parents=True)
        for copy, original in stage.takes.items():
            path = self.folder / original
            if path.is_dir():
                shutil.copytree(path, self.folder / name / copy)
            elif path.is_file():
                shutil.copyfile(path, self.folder / name / copy)
        return {
            command: problem
            for command, arguments in stage.commands(given)
            if (problem := self.run(f"{name} {command}", arguments))
        }

    def has_done(self, name: str) -> bool:
        """Whether this sitting or an earlier one has run a stage to its end."""
        return (self.folder / "done" / name).is_file()

    def facts(self, name: str, given: Given) -> dict[str, Facts]:
        """What is to be compared of a stage; a thing that is not there has one fact, saying so."""
        stage, found = STAGES[name], {}
        things = dict(stage.things(self.folder / name))
        for command, _ in stage.commands(given):
            path = self.folder / "said" / f"{name} {command}.txt"
            things[f"{command} said"] = partial(said_facts, path, in_order=stage.said_in_order)
        for thing, read in things.items():
            try:
                facts = read()
            except (OSError, IndexError, KeyError, ValueError) as error:
                facts = {"read": f"cannot be read ({error})"}
            here = str(self.folder)
            facts = {k.replace(here, "HERE"): v.replace(here, "HERE") for k, v in facts.items()}
            if self.has_old_names:
                facts = {renamed_key(label): fact for label, fact in facts.items()}
            found[f"{name}/{thing}"] = facts
        return found


def with_old_names(argument: str) -> str:
    """An argument of a command as a commit before RENAMED has it; --try has several options."""
    old = {new: old for old, new in RENAMED_OPTIONS.items()}
    parts = (part.partition("=") for part in argument.split(" "))
    return " ".join(old.get(name, name) + equals + value for name, equals, value in parts)


def renamed_key(label: str) -> str:
    """Where a value stands, under today's names."""
    place, slash, name = label.rpartition("/")
    if place.startswith("settings"):
        return place + slash + RENAMED_OPTIONS.get(name, name)
    return RENAMED_KEYS.get(label, label)


@dataclass(frozen=True)
class Difference:
    """How one thing differs; `reason`: why all of it may."""

    text: str
    reason: str | None


def compare(thing: str, before: Facts, after: Facts, allowed: dict[str, str]) -> Difference | None:
    """The first of what differs, not allowed ones before others; None: the same."""
    labels = list(dict.fromkeys([*before, *after]))
    differing = [label for label in labels if before.get(label) != after.get(label)]
    if not differing:
        return None
    reasons = {label: reason_for(thing, label, allowed) for label in differing}
    wrong = [label for label in differing if reasons[label] is None]
    first = (wrong or differing)[0]
    old, new = before.get(first, "nothing"), after.get(first, "nothing")
    text = f"{len(differing)} of {len(labels)} values, first {first}: {aside(old, new)}"
    return Difference(text, None if wrong else reasons[first])


def aside(old: str, new: str) -> str:
    """Two values beside each other, from where they part on."""
    maximum = 150
    if max(len(old), len(new)) > maximum:
        parts = (
            place for place, pair in enumerate(zip(old, new, strict=False)) if len({*pair}) > 1
        )
        start = max(0, next(parts, min(len(old), len(new))) - 30)
        lead = "..." if start else ""
        old, new = (lead + text[start : start + maximum] for text in (old, new))
    return f"{old} -> {new}"


def reason_for(thing: str, label: str, allowed: dict[str, str]) -> str | None:
    names = (thing, f"{thing}:{label}")
    for pattern, reason in allowed.items():
        if any(fnmatch(name, pattern) for name in names):
            return reason
    return None


@contextmanager
def tree_of(rev: str, inside: Path) -> Iterator[Path]:
    """A worktree of a commit, removed afterwards."""
    tree = inside / f"tree_{rev[:12]}"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--force", "--detach", str(tree), rev], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def what_results_depend_on(commit: str, given: Given) -> str:
    """Another text when the earlier commit's results may be others, so that it has to run again.

    The real clips are taken to stay the same.
    """
    packages = {name: version(name) for name in PACKAGES}
    asked = [stage.commands(given) for name, stage in STAGES.items() if name != "media"]
    clips = [inspect.getsource(part) for part in (make_inputs, spoiled, render, write_clip)]
    return sha(json.dumps([commit, sys.version, packages, given.weights, asked, clips]).encode())


def chosen_stages(options: argparse.Namespace) -> list[str]:
    names = [name for name in STAGES if name != "media" or options.media]
    if options.only is None:
        return names
    only = options.only.split(",")
    if unknown := sorted(set(only) - set(names)):
        known = ", ".join(names)
        raise SystemExit(f"--only: no such stage: {', '.join(unknown)} (there are {known})")
    return [name for name in names if name in only]


def with_needed(stages: list[str], sides: tuple[Side, Side]) -> list[str]:
    """The stages, and before them those that they need and an earlier sitting has not left."""
    wanted = {needed for name in stages for needed in STAGES[name].needs}
    missing = {name for name in wanted if not all(side.has_done(name) for side in sides)}
    return [name for name in STAGES if name in missing | set(stages)]


def run_stage(side: Side, name: str, given: Given) -> float:
    """Run a stage and note that it is there; seconds."""
    began = time.monotonic()
    done = side.folder / "done" / name
    done.unlink(missing_ok=True)
    problems = side.stage(name, given)
    for command, problem in problems.items():
        print(f"{side.name}: {name} {command}: {problem}", flush=True)
    if problems and side.name == "earlier":
        raise SystemExit(2)
    done.parent.mkdir(exist_ok=True)
    if not problems:
        done.touch()
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rev", help="the earlier commit")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the later one's working tree")
    parser.add_argument("--media", type=Path, help="the folder of real clips")
    parser.add_argument("--only", help=f"stages, commas between: {','.join(STAGES)}")
    parser.add_argument("--keep", type=Path, help="keep all outputs here, and REV's for next time")
    parser.add_argument("--allow", action="append", default=[], metavar="NAME=REASON")
    given_options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unchanged_") as temporary:
        work = (given_options.keep or Path(temporary)).resolve()
        sys.exit(compare_commits(given_options, work, chosen_stages(given_options)))


def compare_commits(options: argparse.Namespace, work: Path, stages: list[str]) -> int:
    """Run both commits, stage by stage, side by side; the exit code."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--verify", f"{options.rev}^{{commit}}"]
    commit = subprocess.run(asked, check=True, text=True, capture_output=True).stdout.strip()
    weights = Path(os.environ.get("FACESWAP_LITE_WEIGHTS") or "/nowhere")
    given = Given(work / "inputs", any(weights.glob("yunet*")), options.media)
    allowed = {**ALLOWED, **dict(text.split("=", 1) for text in options.allow)}
    work.mkdir(parents=True, exist_ok=True)
    state = what_results_depend_on(commit, given)
    noted = work / "state.txt"
    if not noted.is_file() or noted.read_text() != state:
        for name in ("earlier", "later", "inputs"):
            shutil.rmtree(work / name, ignore_errors=True)
    pack = "small networks" if given.weights else "pip-only pack"
    print(f"{commit[:12]} and {options.tree.resolve()}; {pack}")
    counts = {"same": 0, "allowed": 0, "DIFFERS": 0}
    with tree_of(commit, work) as tree, ThreadPoolExecutor(2) as pool:
        earlier = Side("earlier", tree, work / "earlier")
        later = Side("later", options.tree.resolve(), work / "later")
        if not given.inputs.is_dir():
            make_inputs(given, earlier)
            noted.write_text(state)
        for name in with_needed(stages, (earlier, later)):
            jobs = {"later": pool.submit(run_stage, later, name, given)}
            if not earlier.has_done(name):
                jobs["earlier"] = pool.submit(run_stage, earlier, name, given)
            spent = ", ".join(f"{side} {job.result():.0f} s" for side, job in jobs.items())
            print(f"--- {name} ({spent})", flush=True)
            if name in stages:
                before, after = (side.facts(name, given) for side in (earlier, later))
                for thing in before:
                    tell(thing, before[thing], after[thing], allowed, counts)
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return int(counts["DIFFERS"] > 0)


def tell(
    thing: str, before: Facts, after: Facts, allowed: dict[str, str], counts: dict[str, int]
) -> None:
    """One line on one thing."""
    found = compare(thing, before, after, allowed)
    word = "same" if found is None else "DIFFERS" if found.reason is None else "allowed"
    counts[word] += 1
    if found is None:
        rest = f" ({len(before)} values)"
    else:
        rest = f": {found.text}" + (f" | {found.reason}" if found.reason else "")
    print(f"{word:8}{thing}{rest}", flush=True)


if __name__ == "__main__":
    main()
