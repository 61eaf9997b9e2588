"""Damaged files of every kind through the commands that read them: done, or refused in one line.

    python benchmarks/mutations.py --count 2000 --out docs/reliability/mutations.json

Media, crops, checkpoints, configs, manifests, journals, decisions and what lies beside outputs are
damaged by chance: bits, cuts, blocks, sizes of boxes, values in texts. Each file then goes to one
of the commands that read it, through the command line's own door, hundreds to a process. Ends with
exit code 1 and the finds: tracebacks, more lines than one, hangs (30 s of a core), crashes, more
than 3 GB, files changed that are none of the command's, and results that are quietly others where
a sum could have told. `--only` takes kinds by the beginnings of their names; `--seed`, with the
same `--count`, gives the same files again; FACESWAP_LITE_MEDIA, if it is set, adds small clips, and
FACESWAP_LITE_FIXTURES other tools' models and faces.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import shlex
import shutil
import struct
import sys
import tempfile
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from zipfile import BadZipFile

import av
import cv2
import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

from _door import enter, keep, parser_of
from _mutate import (
    BYTES,
    Mutator,
    box_size,
    box_words,
    element_size,
    jpeg_value,
    json_line,
    json_value,
    pickled_value,
    png_record,
    tensors_head,
    tensors_value,
    yaml_line,
    zip_member,
)
from _small import TINY, small_run, small_sets
from faceswap_lite import cli
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import RenderConfig
from faceswap_lite.conversion import detection_pass, writers
from faceswap_lite.conversion import job as conversion_job
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces import extraction, finding
from faceswap_lite.latent.direction_stage import DIRECTION_KEY
from faceswap_lite.media.reading import open_clip
from faceswap_lite.runs.known import known_faces
from faceswap_lite.runs.load import load_run

MAX_S = 30
WEIGHTS = {"info": 3.0, "evaluate": 0.1}
MAX_BYTES = 3 << 30
PEOPLE_FACES = 14

SETS = ("source", "target")
# A set's own index, which whoever opens it brings up to date.
INDICES = tuple(f"{name}/.faceswap_lite/index.npz" for name in (*SETS, "judged"))
RUN = (*SETS, "run", "clip.mp4")
# Of a tiny net; what it takes beyond the loading of networks is little.
LITTLE = "".join(f" --set {change}" for change in TINY)
TRAIN = f"train --source source --target target --run out/run --steps 2{LITTLE}"
GO_ON = "train --source source --target target --run run --steps 22"
CONVERT = "convert --run run --clip clip.mp4 --out out/swap.mp4"
CHECK = "check --run run --clip clip.mp4 --out out/check.json"
# A judge's gallery takes longer than all the rest.
JUDGED = "--set evaluate.judge=none"
EVALUATE = f"evaluate --run run --clip clip.mp4 --out out/report.json {JUDGED}"
FIT = "fit --base run --target target --run out/fit --steps 2"
AGAIN = "convert --run run --clip clip.mp4 --out swap.mp4"
FACES = "--out out/faces --set extract.embedder=none --set extract.detector=mtcnn"


@dataclass(frozen=True)
class Kind:
    """A kind of file: which, how it is damaged, and who reads it.

    `files`: patterns in the fixture. `needs`: what else of it the commands want. `writes`: what
    they may change, by beginnings of paths. `sure`: what is done must be what it is with the whole
    file, or the damage be told: a sum of the file is known.
    """

    name: str
    files: tuple[str, ...]
    ways: tuple[Mutator, ...]
    commands: tuple[str, ...]
    needs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    share: float = 1.0
    sure: bool = False


def media(suffix: str, *ways: Mutator, share: float = 1.0) -> Kind:
    """A clip or picture of that format, given to whoever takes clips."""
    file = f"media/clip{suffix}"
    return Kind(
        f"media {suffix}",
        (file,),
        (*BYTES, *ways),
        (
            f"extract {file} --out out/faces",
            f"convert --run run --clip {file} --out out/swap.mp4",
            f"convert --run run --clip {file} --out out/swap --all-faces",
            f"check --run run --clip {file} --out out/check.json",
            f"evaluate --run run --clip {file} --out out/report.json {JUDGED}",
            f"info {file}",
        ),
        (*RUN, "media"),
        ("run/faces",),
        share,
    )


MP4, MKV = (box_size, box_words, box_words), (element_size, element_size)
STATE, MODEL = "run/checkpoints/*/state.json", "run/checkpoints/*/{}.safetensors"
KINDS = (
    media(".mp4", *MP4, share=3),
    media(".mov", *MP4, share=2),
    media(".mkv", *MKV, share=2),
    media(".webm", *MKV, share=2),
    *(media(suffix) for suffix in (".ts", ".gif", ".png", ".jpg", ".tif", ".webp")),
    Kind(
        "media of others", ("odd/*",), BYTES,
        ("info {file}", "convert --run run --clip {file} --out out/swap.mkv --frames 0:3"),
        (*RUN, "odd"), ("run/faces",),
    ),
    Kind(
        "media: photos and masks", ("media/clip.png", "media/clip.jpg"), BYTES,
        ("extract clip.mp4 --out out/faces --like {file}", f"{CONVERT} --like {{file}}"),
        (*RUN, "media"), ("run/faces",),
    ),
    Kind("media: masks", ("masks/*.png",), BYTES, (f"{CONVERT} --masks masks",), (*RUN, "masks"),
         ("run/faces",)),
    Kind(
        "media: truth", ("rendered.truth.npz",), (*BYTES, zip_member),
        ("extract rendered.mp4 --out out/faces", "info rendered.mp4",
         "check --run run --clip rendered.mp4 --out out/check.json"),
        (*RUN, "rendered.mp4", "rendered.truth.npz"), ("run/faces",),
    ),
    Kind(
        "crops: files", ("source/*.png",), BYTES,
        (TRAIN, "info source", "curate source", "latent interpolate {file} {file} --run run "
         "--out out/mix.png"),
        RUN, ("source/.faceswap_lite", "source_curation"), 2, True,
    ),
    Kind(
        "crops: records", ("source/*.png",), (png_record,),
        (TRAIN, "info source", "curate source", "curate source --apply"),
        RUN, ("source", "source_curation"), 3,
    ),
    Kind(
        "crops: index and notes", ("source/.faceswap_lite/*", "source_curation/.*"),
        (*BYTES, json_value, zip_member),
        ("info source", "curate source", TRAIN, "extract source.mp4 --out source"),
        (*RUN, "source.mp4", "source.truth.npz", "source_curation"),
        ("source/.faceswap_lite", "source_curation"), 2,
    ),
    Kind(
        "checkpoints: weights", (MODEL.format("*"),), (*BYTES, tensors_head),
        (GO_ON, CONVERT, CHECK, EVALUATE, FIT, f"{TRAIN} --init run", "info run"),
        RUN, ("run",), 3, True,
    ),
    Kind(
        "checkpoints: states", (STATE,), (*BYTES, json_value, json_value, json_value),
        (GO_ON, CONVERT, CHECK, FIT, f"{TRAIN} --init run", "info run"),
        RUN, ("run",), 3, True,
    ),
    Kind(
        "checkpoints: bases", ("base.safetensors",), (*BYTES, tensors_head, tensors_head),
        (f"{TRAIN} --init base.safetensors", "info base.safetensors"),
        (*RUN, "base.safetensors"),
    ),
    Kind(
        "checkpoints: directions", ("yaw.safetensors",), (*BYTES, tensors_head),
        ("latent sweep yaw.safetensors {crop} --run run --out out/turned.png",),
        (*RUN, "yaw.safetensors"), share=0.5,
    ),
    Kind(
        "configs", ("config.yaml",), (*BYTES, *[yaml_line] * 8),
        (f"{TRAIN} --config config.yaml", f"{CONVERT} --config config.yaml",
         "extract clip.mp4 --out out/faces --config config.yaml",
         "curate source --config config.yaml"),
        (*RUN, "config.yaml"), ("run/faces", "source_curation"), 2,
    ),
    Kind(
        "configs of runs", ("run/config.yaml",), (*BYTES, *[yaml_line] * 8),
        (GO_ON, CONVERT, CHECK, FIT, "info run", EVALUATE), RUN, ("run",), 2,
    ),
    Kind(
        "manifests of runs", ("run/run.json",), (*BYTES, *[json_value] * 8),
        (GO_ON, CONVERT, CHECK, FIT, f"{TRAIN} --init run", "info run", EVALUATE),
        RUN, ("run",), 3,
    ),
    Kind(
        "logs of runs", ("run/log.jsonl",), (*BYTES, *[json_line] * 6),
        (GO_ON, EVALUATE, "info run"), RUN, ("run",), 1.5,
    ),
    Kind(
        "journals: faces of a clip", ("run/faces/*",), (*BYTES, *[json_line] * 8),
        (CONVERT, CHECK, EVALUATE), RUN, ("run/faces",), 3, True,
    ),
    Kind(
        "journals: a conversion's", ("half/.*work/*", "half/.*work/swap/*", "half/.*work/swap/.*"),
        (*BYTES, json_line), ("convert --run run --clip clip.mp4 --out half/swap.mp4",),
        (*RUN, "half"), ("half", "run/faces"), 4, True,
    ),
    Kind(
        "journals: a clip half seen", ("seen/.*work/*",), (*BYTES, *[json_line] * 8),
        ("convert --run seen/run --clip clip.mp4 --out seen/s.mp4",),
        (*SETS, "clip.mp4", "seen"), ("seen",), 1.5, True,
    ),
    Kind(
        "journals: an extraction's", ("begun/.faceswap_lite/*.json*",), (*BYTES, *[json_line] * 8),
        ("extract source.mp4 --out begun",),
        ("source.mp4", "source.truth.npz", "begun"), ("begun",), 2.5, True,
    ),
    Kind(
        "decisions", ("judged_curation/*.json", "judged/_rejected/.moves.json"),
        (*BYTES, *[json_value] * 8),
        ("curate judged", "curate judged --apply", "curate judged --undo", "info judged",
         "curate judged --keep 11", TRAIN.replace("--target target", "--target judged")),
        ("source", "judged", "judged_curation"), ("judged",), 3,
    ),
    Kind(
        "beside outputs: OUT.json", ("swap.mp4.json",), (*BYTES, *[json_value] * 8),
        (AGAIN, "info swap.mp4", f"{EVALUATE} --converted swap.mp4", f"{AGAIN} --overwrite"),
        (*RUN, "swap.mp4", "swap.mp4.json"), ("swap.mp4", "run/faces"), 2,
    ),
    Kind(
        "beside outputs: times of pictures", ("swap/*.json",), (*BYTES, *[json_value] * 8),
        ("extract swap --out out/faces", "info swap", f"{EVALUATE} --converted swap",
         "convert --run run --clip clip.mp4 --out swap --overwrite",
         "convert --run run --clip swap --out out/swap.mp4"),
        (*RUN, "swap", "swap.json"), ("swap", "run/faces"), 2,
    ),
    Kind(
        "beside outputs: reports", ("report.json", "check.json"),
        (*BYTES, *[json_value] * 4),
        (f"evaluate --run run --clip clip.mp4 --out report.json {JUDGED}",
         "check --run run --clip clip.mp4 --out check.json"),
        (*RUN, "report.json", "report.html", "check.json", "check.png"),
        ("run/faces", "report", "check"), 1,
    ),
    Kind(
        "interchange: DeepFaceLab's options", ("deepfacelab/df-ud/*_data.dat",),
        (*BYTES, *[pickled_value] * 8), ("import deepfacelab/df-ud --run out/run",),
        ("deepfacelab",),
    ),
    Kind(
        "interchange: DeepFaceLab's weights", ("deepfacelab/*/*.npy",),
        (*BYTES, *[pickled_value] * 4), ("import {folder} --run out/run",), ("deepfacelab",),
    ),
    Kind(
        "interchange: DeepFaceLab's JPEGs", ("faces/*.jpg",), (*BYTES, *[jpeg_value] * 8),
        (f"import faces {FACES}",), ("faces",),
    ),
    Kind("interchange: faceset.pak", ("*.pak",), BYTES, (f"import {{file}} {FACES}",)),
    Kind(
        "interchange: FaceSwap's .keras", ("*.keras",), (*BYTES, *[zip_member] * 4),
        ("import {file} --run out/run",),
    ),
    Kind("interchange: FaceSwap's .h5", ("*.h5",), BYTES, ("import {file} --run out/run",)),
    Kind(
        "interchange: runs in one file", ("bundle.safetensors",),
        (*BYTES, tensors_head, *[tensors_value] * 4),
        ("import bundle.safetensors --run out/run", "info bundle.safetensors"),
    ),
    Kind("interchange: .dfm", ("model.dfm",), BYTES, ("info model.dfm",)),
)  # fmt: skip


_Result = TypeVar("_Result")


class Case(NamedTuple):
    """One damaged file and the command that it is given to; `way` None: undamaged."""

    kind: str
    file: str
    way: str | None
    command: str
    seed: int


# --- The fixture ----------------------------------------------------------------------------------


def make_fixture(place: Path, given: Path | None, foreign: Path | None) -> None:
    """Everything that the commands read, small, in a folder that is moved aside and copied."""
    prepare_process()
    place.mkdir()
    os.chdir(place)
    small_sets(place, PEOPLE_FACES)
    small_run(place)
    short = RenderConfig(actor="ada", twin=None, frames=6, size=96, seed=3)
    render_clip(short, place / "rendered.mp4")
    with open_clip("rendered.mp4") as reader:
        pictures = [frame.image for frame in reader]
    make_media(place, pictures)
    shutil.copy(place / "media/clip.mp4", place / "clip.mp4")
    for number in range(1, 4):
        (place / "masks").mkdir(exist_ok=True)
        white = np.full((96, 96), 255, np.uint8)
        Image.fromarray(white).save(place / "masks" / f"mask_{number:06d}.png")
    shutil.copytree("target", "judged")
    crop = min((place / "source").glob("*.png")).relative_to(place)
    # A run whose folder does not hold the clip's faces yet.
    shutil.copytree("run", "seen/run")
    stop_after(
        detection_pass,
        "sighting_line",
        4,
        "convert --run seen/run --clip clip.mp4 --out seen/s.mp4",
    )
    for command in (
        AGAIN, "convert --run run --clip clip.mp4 --out swap",
        "curate source", f"curate judged --apply --reject {_second_crop(place)}",
        "check --run run --clip clip.mp4 --out check.json",
        f"evaluate --run run --clip clip.mp4 --out report.json {JUDGED}",
        f"latent interpolate {crop} {crop} --run run --out mix.png",
        f"base --out base.safetensors --work basework --steps 2{LITTLE} --set base.crops=64",
    ):  # fmt: skip
        code, said = call(command)
        if code != 0:
            raise FaceswapError(f"{command}: {said[-300:]}")
    write_direction(place / "run", place / "yaw.safetensors")
    stop_after(extraction.ExtractionTally, "add", 7, "extract source.mp4 --out begun")
    stop_after(
        conversion_job.FrameTally, "add", 5, "convert --run run --clip clip.mp4 --out half/swap.mp4"
    )
    shutil.copy("run/config.yaml", "config.yaml")
    (place / "odd").mkdir()
    for file in sorted(given.glob("odd/*")) if given and given.is_dir() else ():
        if file.stat().st_size < 200_000:
            shutil.copy(file, place / "odd" / file.name)

    for name in ("bundle.safetensors", "model.dfm"):
        call(f"export run --out {name} --anyway")
    if foreign is None:
        return
    for folder, out in (
        ("deepfacelab/df-ud", "deepfacelab/df-ud"), ("deepfacelab/liae-ud", "deepfacelab/liae-ud"),
        ("deepfacelab/faces/aligned/whole_face", "faces"), ("deepfacelab/faces", "."),
        ("faceswap", "."),
    ):  # fmt: skip
        (place / out).mkdir(parents=True, exist_ok=True)
        for file in (foreign / folder).iterdir():
            # Not their modes: some may not be written to.
            if file.is_file() and file.suffix != ".npz":
                shutil.copyfile(file, place / out / file.name)


def _second_crop(place: Path) -> str:
    return sorted(path.name for path in (place / "judged").glob("*.png"))[1]


def write_direction(run: Path, path: Path) -> None:
    """A direction as `latent direction` stores one, which wants more faces than are here."""
    trained = load_run(run, say=lambda line: None)
    length = known_faces(trained, "target").codes.shape[1]
    facts = {"run": trained.fingerprint, "attribute": "yaw_deg", "side": "target", "middle": 0.0}
    facts |= {"version": 1, "job": "by hand", "deviation": 10.0, "known_change": False}
    tensors = {name: np.linspace(0, 1, length, dtype=np.float32) for name in ("line", "bend")}
    save_file(tensors, path, {DIRECTION_KEY: json.dumps(facts)})


def make_media(place: Path, pictures: list[np.ndarray]) -> None:
    """The pictures as a clip with a tone, or as stills, in each format."""
    folder = place / "media"
    folder.mkdir()
    videos = {
        ".mp4": ("libx264", "yuv420p", "aac"), ".mov": ("prores_ks", "yuv422p10le", "pcm_s16le"),
        ".mkv": ("libx264", "yuv420p", "flac"), ".webm": ("libvpx-vp9", "yuv420p", "libopus"),
        ".ts": ("mpeg2video", "yuv420p", "mp2"), ".gif": ("gif", "rgb8", None),
    }  # fmt: skip
    for suffix, (codec, pixels, heard) in videos.items():
        with av.open(str(folder / f"clip{suffix}"), "w") as output:
            video: Any = output.add_stream(codec, rate=25)
            video.width = video.height = 96
            video.pix_fmt = pixels
            sound: Any = output.add_stream(heard, rate=48000, layout="stereo") if heard else None
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
                output.mux(video.encode(frame))
            output.mux(video.encode(None))
            if sound is not None:
                wave = np.sin(np.arange(48000 // 4) / 20).astype(np.float32)
                tone = av.AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
                tone.sample_rate, tone.pts = 48000, 0
                resampler = av.AudioResampler(sound.format, "stereo", 48000, sound.frame_size)
                for part in [*resampler.resample(tone), *resampler.resample(None)]:
                    output.mux(sound.encode(part))
                output.mux(sound.encode(None))
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        large = cv2.resize(pictures[0], (192, 192), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(large).save(folder / f"clip{suffix}")


def stop_after(owner: Any, name: str, times: int, command: str) -> None:
    """What a kill leaves of a command: it is stopped at a call of that name."""
    whole, count = getattr(owner, name), 0

    def once_more(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count > times:
            raise KeyboardInterrupt
        return whole(*given)

    setattr(owner, name, once_more)
    try:
        call(command)
    finally:
        setattr(owner, name, whole)


# --- One case -------------------------------------------------------------------------------------


def call(command: str) -> tuple[int, str]:
    """The command line as a person calls it, here: exit code, and what it printed.

    Raises: what no command may raise.
    """
    said = io.StringIO()
    before = sys.argv
    sys.argv = ["faceswap-lite", *shlex.split(command)]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            cli.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        return code, said.getvalue()
    except KeyboardInterrupt:
        return 130, said.getvalue()
    finally:
        sys.argv = before
    return 0, said.getvalue()


def work_through(case: Case, fixture: Path, place: Path) -> dict[str, Any]:
    """Damage the file, give it to the command, and look at what became of everything."""
    kind = next(kind for kind in KINDS if kind.name == case.kind)
    rng = random.Random(case.seed)
    os.chdir(fixture)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in dict.fromkeys([*kind.needs, Path(case.file).parts[0]]):
        copy = shutil.copytree if (fixture / name).is_dir() else shutil.copy2
        copy(fixture / name, place / name)
    if case.way is not None:
        file = place / case.file
        stamp = file.stat()
        try:
            damaged = next(w for w in kind.ways if w.__name__ == case.way)(file.read_bytes(), rng)
        except (ValueError, IndexError, KeyError, struct.error, zlib.error, BadZipFile):
            return {"verdict": "undamaged"}
        file.write_bytes(damaged)
        if len(damaged) == stamp.st_size:
            os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    os.chdir(place)
    before = contents(place)
    _reset_peak()
    began = time.monotonic()
    thread_errors: list[str] = []
    threading.excepthook = lambda args: thread_errors.append(repr(args.exc_value))
    try:
        code, said = call(case.command)
    except BaseException:
        return {"verdict": "traceback", "told": traceback.format_exc()[-1500:]}
    if thread_errors:
        return {"verdict": "traceback", "told": f"in a thread: {thread_errors}"}
    result = {"seconds": round(time.monotonic() - began, 2), "bytes": _peak(), "code": code}
    after = contents(place)
    allowed = ("out/", *INDICES, *kind.writes)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    strange = sorted(name for name in changed if not name.startswith(allowed))
    last = [line for line in said.splitlines() if line.startswith(("error: ", "usage: "))]
    verdict, told = ("done" if code == 0 else "refused"), said[-5000:]
    if code not in (0, 1, 2) or (
        code != 0 and (len(last) != 1 or not said.rstrip().endswith(last[0]))
    ):
        verdict = "lines"
    elif strange:
        verdict, told = "outside", f"{strange[:5]} {told}"
    elif result["bytes"] > MAX_BYTES:
        verdict = "memory"
    return {**result, "verdict": verdict, "told": told, "outcome": outcome(place, after, said)}


def contents(place: Path) -> dict[str, str]:
    """Hash by name of every file."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in place.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


# What a run of a command has in it that is of that moment alone.
_OF_THE_MOMENT = re.compile(
    r"tensorboard|log\.jsonl|\.lock|\.writer|previews?[./]|state\.json|\.npz"
)


def outcome(place: Path, after: dict[str, str], said: str) -> dict[str, str]:
    """What a command has made: its files, but for what is of the moment; and its last line."""
    made = {
        name: digest
        for name, digest in after.items()
        if name.startswith(
            ("out/", "half/swap", "seen/s.mp4", "begun/", "run/checkpoints/step_00000022")
        )
        and not _OF_THE_MOMENT.search(name)
        and not name.endswith((".json", ".html", ".jsonl", "/run.json", ".yaml"))
    }
    counts = re.findall(r"\d+ of \d+ frames swapped.*", said)
    return {**made, "counts": " ".join(counts)}


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


# --- Many to a process ----------------------------------------------------------------------------


def serve(pipe: Connection, fixture: Path, place: Path, trace: Path) -> None:
    """A worker: cases in, results out, until there are no more."""
    prepare_process()
    with trace.open("w") as file:
        faulthandler.enable(file)
        while (case := pipe.recv()) is not None:
            faulthandler.dump_traceback_later(MAX_S - 2, repeat=True, file=file)
            result = work_through(case, fixture, place)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(result)


def prepare_process() -> None:
    """Load networks once to a process, and look with one thread: that is most of a call."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    writers.PIECE_FRAMES = 2
    loaded: dict[Any, Any] = {}
    build = finding.build_pack

    def build_once(*names: Any, **sizes: Any) -> Any:
        key = (names, *sorted(sizes.items()))
        if key not in loaded:
            loaded[key] = build(*names, **sizes)
        return loaded[key]

    vars(finding)["build_pack"] = build_once
    vars(finding)["_MAX_FINDERS"] = 1


class Workers:
    """One worker at a time, and another when it is gone."""

    def __init__(self, fixture: Path, place: Path, trace: Path) -> None:
        self._given = fixture, place, trace
        self._trace = trace
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=serve, args=(end, *self._given), daemon=True)
        self._process.start()
        end.close()

    def result(self, case: Case) -> dict[str, Any]:
        """What became of a case, the worker's death and silence included."""
        self._pipe.send(case)
        began, used = time.monotonic(), self._seconds()
        try:
            # On a machine that many share, the clock alone says little.
            while time.monotonic() - began < MAX_S or (
                self._seconds() - used < MAX_S and time.monotonic() - began < 10 * MAX_S
            ):
                if self._pipe.poll(1):
                    result: dict[str, Any] = self._pipe.recv()
                    return result
            verdict = "hang"
        except EOFError:
            verdict = "crash"
        self._process.kill()
        self._process.join()
        told = f"exit {self._process.exitcode}; {self._trace.read_text()[-3000:]}"
        self._start()
        return {"verdict": verdict, "told": told}

    def _seconds(self) -> float:
        """What the worker has had of the processor."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Let the worker go."""
        self._pipe.send(None)
        self._process.join(10)
        self._process.kill()


def choose(fixture: Path, count: int, seed: int, only: Sequence[str] = ()) -> list[Case]:
    """So many cases over all kinds by their shares, mixed: who stops early has seen them all."""
    kinds = [k for k in KINDS if not only or k.name.startswith(tuple(only))]
    files = {kind.name: _files(fixture, kind) for kind in kinds}
    kinds = [kind for kind in kinds if files[kind.name]]
    crop = min((fixture / "source").glob("*.png")).relative_to(fixture)
    total, cases = sum(kind.share for kind in kinds), []
    for kind in kinds:
        rng = random.Random(f"{seed} {kind.name}")
        for number in range(max(1, round(count * kind.share / total))):
            file, command = rng.choice(files[kind.name]), _command(kind, rng)
            folder = shlex.quote(str(Path(file).parent))
            command = command.format(file=shlex.quote(file), folder=folder, crop=crop)
            way = rng.choice(kind.ways).__name__
            cases.append(Case(kind.name, file, way, command, seed * 1_000_000 + number))
    random.Random(seed).shuffle(cases)
    return cases


def _command(kind: Kind, rng: random.Random) -> str:
    """One of the kind's; `info`, which is quick, more often, and rarely `evaluate`."""
    weights = [WEIGHTS.get(command.partition(" ")[0], 1.0) for command in kind.commands]
    return rng.choices(kind.commands, weights)[0]


def _files(fixture: Path, kind: Kind) -> list[str]:
    found = (path for pattern in kind.files for path in fixture.glob(pattern) if path.is_file())
    return sorted({str(path.relative_to(fixture)) for path in found})


FINDS = ("traceback", "lines", "hang", "crash", "memory", "outside", "silent")


def results_of(cases: Sequence[Case], workers: Workers) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Each case's result; a hang is one when it hangs again."""
    whole: dict[tuple[str, str], dict[str, Any]] = {}
    sure = {kind.name for kind in KINDS if kind.sure}
    for case in cases:
        key = (case.kind, case.command)
        if case.kind in sure and key not in whole:
            whole[key] = workers.result(case._replace(way=None))
            if whole[key]["verdict"] != "done":
                yield case._replace(way=None), {**whole[key], "verdict": "lines"}
        result = workers.result(case)
        if result["verdict"] == "hang":
            result = workers.result(case)
        if result["verdict"] == "done" and case.kind in sure:
            same = result["outcome"] == whole[key]["outcome"]
            if not same and not re.search(r"damaged|missing|cannot|left out|anew", result["told"]):
                result["verdict"] = "silent"
                result["told"] = f"{result['outcome']} {whole[key]['outcome']} {result['told']}"
        yield case, result


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="kinds, by their names' beginnings")
    parser.add_argument("--fixture", type=Path, help="keep what is damaged here, or take it")
    options = parser.parse_args()
    given, foreign = (
        Path(folder) if (folder := os.environ.get(f"FACESWAP_LITE_{name}")) else None
        for name in ("MEDIA", "FIXTURES")
    )
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.fixture or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        figures, finds = run(work, options, given, foreign)
    keep(options.out, figures)
    for find in finds:
        print("FIND", *(f"{name}: {value}" for name, value in find.items()), sep="\n  ")
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if finds:
        raise FaceswapError(f"{len(finds)} finds")


def run(
    work: Path, options: argparse.Namespace, given: Path | None, foreign: Path | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All cases; figures by kind, and the finds."""
    fixture, place = work / "fixture", work / "case"
    if not fixture.is_dir():
        # Where each case will lie: a run knows its face sets by their place.
        shutil.rmtree(place, ignore_errors=True)
        _in_child(lambda: make_fixture(place, given, foreign))
        place.rename(fixture)
    tables: dict[str, Counter[str]] = {}
    finds: list[dict[str, Any]] = []
    longest, maximum, began = 0.0, 0, time.monotonic()
    workers = Workers(fixture, place, work / "trace.txt")
    for case, result in until_stopped(
        results_of(choose(fixture, options.count, options.seed, options.only), workers)
    ):
        group = tables.setdefault(case.kind.partition(":")[0], Counter())
        group[result["verdict"]] += 1
        if (done := sum(map(Counter.total, tables.values()))) % 50 == 0:
            print(f"{done} files, {len(finds)} finds", flush=True)
        longest = max(longest, result.get("seconds", 0.0))
        maximum = max(maximum, result.get("bytes", 0))
        if result["verdict"] in FINDS:
            finds.append({**case._asdict(), **result})
            print("FIND", case, result["verdict"], result["told"], sep="\n", flush=True)
    workers.close()
    total: Counter[str] = sum(tables.values(), Counter())
    return {
        **{kind: dict(counts) for kind, counts in sorted(tables.items())},
        "files": sum(total[verdict] for verdict in total if verdict != "undamaged"),
        "in all": dict(total),
        "longest s": longest,
        "most GB": round(maximum / 1e9, 2),
        "minutes": round((time.monotonic() - began) / 60, 1),
    }, finds


def until_stopped(results: Iterator[_Result]) -> Iterator[_Result]:
    """The results up to Ctrl-C: the figures are then of these."""
    with contextlib.suppress(KeyboardInterrupt):
        yield from results


def _in_child(work: Callable[[], None]) -> None:
    """In a process of its own: whoever forks later must not have started threads."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise FaceswapError(f"the fixture could not be made (exit {process.exitcode})")


if __name__ == "__main__":
    enter(main)
