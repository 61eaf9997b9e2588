"""Conversions as files: what comes out of odd clips, how much memory it takes, what a kill costs.

    python benchmarks/files.py robust --run RUN --media FOLDER
    python benchmarks/files.py memory --run RUN --clip CLIP
    python benchmarks/files.py kill --run RUN --clip CLIP --times 12
    python benchmarks/files.py windows --run RUN --clip CLIP

`robust` converts every odd clip and compares times, sound, size and shape of pixels with PyAV,
without our reader. `memory` converts a 4K clip and looks at the process from outside. `kill` sends
SIGKILL at random moments, `windows` before each file that Python makes, moves or removes.
The run itself is not written to. The figures are put into --out under the benchmark's name, beside
the others' (docs/conversion/files.json has all four).
"""

import argparse
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from _door import clips_of, enter, keep, need, parser_of
from faceswap_lite.config import ConvertConfig, OutputConfig
from faceswap_lite.conversion import writers
from faceswap_lite.conversion.convert import convert_clip
from faceswap_lite.conversion.writers import FileOutputs, Tracks
from faceswap_lite.media.clips import clip_fingerprint
from faceswap_lite.media.provenance import read_synthetic_mark
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.media.sidecar import sidecar_path
from faceswap_lite.outputs import read_json
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun

MILLISECOND = Fraction(1, 1000)
"""Matroska's clock."""
SIZE_4K = (3840, 2160)
FRAMES_4K = 330
EARLY, LATE = 100, 300
"""Frames of the painting walk between which memory must not grow."""
MAY_GROW = 1.05
PEAK_GB = 3.5
NO_FACE = "noface_bottles.mp4"

# The command line with smaller pieces, so that a short clip has many.
SMALL_PIECES = (
    "import faceswap_lite.conversion.writers as w; w.PIECE_FRAMES = {frames}; "
    "from faceswap_lite.cli import main; main()"
)


# --- robust ---------------------------------------------------------------------------------------


@dataclass
class Probe:
    """What a file says, read with PyAV alone; exact times, in seconds from the first picture."""

    size: tuple[int, int]
    """Upright."""
    pixel_aspect: Fraction
    pts: list[Fraction]
    end: Fraction
    """When the last picture's time is over."""
    clock: Fraction
    """One tick of the picture's clock."""
    sounds: list["Sound"] = field(default_factory=list)


@dataclass
class Sound:
    """A stream of sound."""

    codec: str
    start: Fraction
    duration: Fraction
    packet: Fraction
    """The longest packet."""
    digest: str
    """Of the packets' bytes."""


def probe(path: Path) -> Probe:
    pictures: list[tuple[Fraction, Fraction]] = []
    sounds: dict[int, list[tuple[Fraction, Fraction]]] = {}
    digests: dict[int, Any] = {}
    size, shape, clock, codecs = (0, 0), Fraction(1), MILLISECOND, {}
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        for packet in container.demux():
            stream, tick = packet.stream, packet.time_base
            if stream.type == "audio" and packet.pts is not None and packet.size:
                span = packet.pts * tick, (packet.duration or 0) * tick
                sounds.setdefault(stream.index, []).append(span)
                digests.setdefault(stream.index, hashlib.sha256()).update(bytes(packet))
                codecs[stream.index] = stream.codec_context.name
            if not isinstance(stream, av.VideoStream):
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                # A picture without a time follows the last one.
                last = end_of(pictures[-1]) if pictures else Fraction(0)
                shown = last if frame.pts is None else frame.pts * tick
                pictures.append((shown, (frame.duration or 0) * tick))
                turned = frame.rotation % 180 != 0
                size = (frame.height, frame.width) if turned else (frame.width, frame.height)
                shape = stream.sample_aspect_ratio or Fraction(1)
                shape = 1 / shape if turned else shape
                clock = tick
    first = pictures[0][0]
    heard = [
        Sound(
            codecs[index],
            min(start for start, _ in spans) - first,
            max(start + length for start, length in spans) - min(start for start, _ in spans),
            max(length for _, length in spans),
            digests[index].hexdigest(),
        )
        for index, spans in sorted(sounds.items())
    ]
    times = [shown - first for shown, _ in pictures]
    return Probe(size, shape, times, end_of(pictures[-1]) - first, clock, heard)


def end_of(span: tuple[Fraction, Fraction]) -> Fraction:
    return span[0] + span[1]


def probe_folder(path: Path) -> Probe:
    """Of pictures: our reader says what times they stand for."""
    with open_clip(path) as reader:
        info = reader.info
        times = [frame.time for frame in reader]
    length = 1 / (info.rate or Fraction(25))
    pts = [time - times[0] for time in times]
    return Probe((info.width, info.height), info.pixel_aspect, pts, pts[-1] + length, length)


def differences(before: Probe, after: Probe) -> list[str]:
    """In what a conversion is not like its clip; empty: in nothing that is looked at."""
    found = []
    if before.size != after.size:
        found.append(f"size {before.size} -> {after.size}")
    if before.pixel_aspect != after.pixel_aspect:
        found.append(f"pixel aspect {before.pixel_aspect} -> {after.pixel_aspect}")
    if len(before.pts) != len(after.pts):
        found.append(f"frames {len(before.pts)} -> {len(after.pts)}")
    # Times that Matroska rounds, twice: the first picture's too.
    loose = MILLISECOND if after.clock == MILLISECOND else Fraction(0)
    off = [abs(a - b) for a, b in zip(before.pts, after.pts, strict=False)]
    if max(off, default=Fraction(0)) > loose:
        count = sum(value > loose for value in off)
        found.append(f"{count} times differ, by up to {1000 * float(max(off)):.3f} ms")
    if abs(before.end - after.end) > max(loose, before.clock, after.clock):
        found.append(f"picture ends at {float(before.end):.4f} -> {float(after.end):.4f} s")
    if len(before.sounds) != len(after.sounds):
        found.append(f"sounds {len(before.sounds)} -> {len(after.sounds)}")
    for a, b in zip(before.sounds, after.sounds, strict=False):
        if a.codec != b.codec:
            found.append(f"sound {a.codec} -> {b.codec}")
        elif a.digest != b.digest:
            found.append("sound's packets differ")
        if abs(a.start - b.start) > MILLISECOND:
            moved = 1000 * float(b.start - a.start)
            found.append(f"sound begins {moved:+.2f} ms off")
        if abs(a.duration - b.duration) > max(a.packet, b.packet):
            found.append(f"sound lasts {float(a.duration):.3f} -> {float(b.duration):.3f} s")
    return found


def robust(options: argparse.Namespace) -> dict[str, Any]:
    folder = options.media / "video"
    odd = sorted(p for p in (folder / "robust").iterdir() if not p.name.startswith("."))
    rows, figures = [], []
    with workplace(options) as work:
        run = load_run(work / "run")
        for clip in odd:
            if options.only and options.only not in clip.name:
                continue
            before = probe_folder(clip) if clip.is_dir() else probe(clip)
            for suffix in (".mp4", ".mkv"):
                row = convert_odd(run, clip, work / (clip.stem + suffix), before)
                figures.append(row)
                rows.append(row_of(row))
                print("|", " | ".join(rows[-1]), "|", flush=True)
        titles = [
            "clip",
            "frames",
            "swapped",
            "passed",
            "failed",
            "mark",
            "unlike the clip",
            "said",
        ]
        print_table(titles, rows)
        lossless = {} if options.only else untouched_pixels(run, folder / "robust", work)
        broken = [] if options.only else corrupt(folder / "corrupt", work)
    print_table(
        ["clip", "exit", "left behind", "said"], [list(map(str, b.values())) for b in broken]
    )
    print(lossless)
    return {"clips": figures, "lossless": lossless, "corrupt": broken}


def row_of(row: dict[str, Any]) -> list[str]:
    names = ("frames", "swapped", "passed_through", "failed", "marked")
    unlike, said = "; ".join(row["unlike"]) or "nothing", "; ".join(row["said"])
    return [row["out"], *(str(row[name]) for name in names), unlike, said]


def convert_odd(run: TrainedRun, clip: Path, out: Path, before: Probe) -> dict[str, Any]:
    """All faces of a clip swapped; what became of its frames, and in what it is unlike the clip."""
    said: list[str] = []
    out = out.with_stem(f"{clip.stem}_{clip.suffix.lstrip('.') or 'folder'}")
    start = time.perf_counter()
    convert_clip(
        run, as_clip(clip), FileOutputs(out), ConvertConfig(all_faces=True), say=said.append
    )
    facts = read_json(sidecar_path(out))
    unlike = differences(before, probe(out))
    marked = read_synthetic_mark(out) is not None
    if marked != (facts["swapped"] > 0) or (clip.name == NO_FACE and marked):
        unlike.append("the mark is wrong")
    if leftovers(out.parent):
        unlike.append(f"left behind: {leftovers(out.parent)}")
    names = ("frames", "swapped", "bridged", "passed_through", "failed")
    return {
        "out": f"{clip.name} > {out.suffix}",
        **{name: facts[name] for name in names},
        "marked": marked,
        "seconds": round(time.perf_counter() - start, 1),
        "unlike": unlike,
        "said": without_folders(
            [line.removeprefix("warning: ") for line in said if "found before" not in line],
            clip.parent,
        ),
    }


def without_folders(lines: list[str], *folders: Path) -> list[str]:
    """The lines without the paths of one machine."""
    for folder in folders:
        lines = [line.replace(f"{folder}/", "") for line in lines]
    return lines


def untouched_pixels(run: TrainedRun, folder: Path, work: Path) -> dict[str, Any]:
    """Written without loss, pixels outside of the mask are the clip's, bit by bit."""
    figures = {}
    for name in ("carphone_176x144.mp4", "rotation_metadata.mp4", NO_FACE):
        out, mask = work / f"lossless_{name}.mkv", work / f"mask_{name}.mkv"
        config = ConvertConfig(all_faces=True, output=OutputConfig(codec="ffv1"))
        convert_clip(
            run,
            as_clip(folder / name),
            FileOutputs(out, Tracks(mask=mask)),
            config,
            say=lambda line: None,
        )
        changed = inside = 0
        with open_clip(folder / name) as a, open_clip(out) as b, open_clip(mask) as c:
            for was, now, shown in zip(a, b, c, strict=True):
                free = shown.image.max(axis=2) == 0
                changed += int((was.image != now.image)[free].any(axis=1).sum())
                inside += int((~free).sum())
        figures[name] = {"changed_outside_the_mask": changed, "inside_px": inside}
    return figures


def corrupt(folder: Path, work: Path) -> list[dict[str, Any]]:
    """The command line on clips that cannot be read, or not to their end."""
    rows = []
    for clip in sorted(folder.iterdir()):
        place = work / "corrupt"
        place.mkdir()
        command = convert_command(work / "run", clip, place / "out.mp4", "--all-faces")
        ended = subprocess.run(command, capture_output=True, text=True)
        lines = [line for line in ended.stderr.splitlines() + ended.stdout.splitlines() if line]
        told = [line for line in lines if "%|" not in line and "frame/s" not in line]
        left = sorted(path.name for path in place.iterdir())
        told = without_folders(told, folder, place)
        rows.append({"clip": clip.name, "exit": ended.returncode, "left": left, "said": told})
        shutil.rmtree(place)
    return rows


# --- memory ---------------------------------------------------------------------------------------


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """A 4K clip converted in a process of its own, its memory by the frame that it is at."""
    with workplace(options) as work:
        clip = work / "clip_4k.mp4"
        enlarge(options.clip, clip)
        command = convert_command(work / "run", clip, work / "out.mp4", "--all-faces")
        samples, peak_gb, seconds = watch(command, work, "out.mp4")
        facts = read_json(work / "out.mp4.json")
    painting = [(frame, gb) for walk, frame, gb in samples if walk == "paint"]
    joining = [gb for walk, _, gb in samples if walk == "join"]

    def around(frame: int) -> float:
        return float(np.median([gb for at, gb in painting if abs(at - frame) <= 10]))

    curve = {str(at): round(around(at), 3) for at in range(20, FRAMES_4K, 20)}
    early, late = around(EARLY), around(LATE)
    figures = {
        "clip": f"{options.clip.name} enlarged to {SIZE_4K[0]}x{SIZE_4K[1]}",
        "frames": facts["frames"],
        "swapped": facts["swapped"],
        "seconds": round(seconds, 1),
        "finding_peak_gb": max(gb for walk, _, gb in samples if walk == "find"),
        "painting_gb": curve,
        "painting_peak_gb": max(gb for _, gb in painting),
        "joining_peak_gb": max(joining, default=None),
        "peak_gb": peak_gb,
        "grows": late / early - 1,
        "held": late <= MAY_GROW * early and peak_gb <= PEAK_GB,
    }
    for name, value in figures.items():
        print(f"{name:20} {value}")
    return figures


def enlarge(clip: Path, out: Path) -> None:
    """The clip's middle at 4K, frame by frame; a clip that is too short is refused."""
    width, height = SIZE_4K
    with open_clip(clip) as reader, av.open(str(out), "w") as output:
        rate = reader.info.rate or Fraction(25)
        stream = output.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(reader):
            if number == FRAMES_4K:
                break
            scale = max(width / frame.image.shape[1], height / frame.image.shape[0])
            large = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            # Faces are nearer the top than the bottom.
            top, left = (large.shape[0] - height) // 3, (large.shape[1] - width) // 2
            part = np.array(large[top : top + height, left : left + width], np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        if number < FRAMES_4K:
            sys.exit(f"{clip}: has {number + 1} frames; one of {FRAMES_4K} is wanted")
        output.mux(stream.encode(None))


def watch(
    command: list[str], place: Path, out: str
) -> tuple[list[tuple[str, int, float]], float, float]:
    """Samples of (walk, frame, GB resident), the kernel's own peak, and seconds."""
    start, samples, peak = time.perf_counter(), [], 0.0
    with (place / "errors.txt").open("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                resident, high = (kilobytes(status, key) for key in ("VmRSS", "VmHWM"))
            except (OSError, KeyError):
                continue  # it ended in this moment
            peak = max(peak, high)
            samples.append((*progress(place, out), round(resident, 3)))
            time.sleep(0.05)
        if process.returncode:
            errors.seek(0)
            sys.exit(errors.read()[-2000:])
    return samples, round(peak, 3), time.perf_counter() - start


def kilobytes(status: str, key: str) -> float:
    """In GB."""
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines[key].split()[0]) * 1024 / 1e9


def progress(place: Path, out: str) -> tuple[str, int]:
    """The walk that a conversion is in, and its frame, from what lies in its hidden folder."""
    for work in place.glob(f".{out}.*.work"):
        painted = lines_of(work / "frames.jsonl")
        # A clip that is put together, or one that got its name already.
        if any(work.glob("*/.whole*")) or any(work.glob("*.sha256")):
            return "join", painted
        if painted:
            return "paint", painted
        return "find", max(0, lines_of(work / "faces.jsonl") - 1)
    return "start", 0


def lines_of(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


# --- kill -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A way of calling `convert`."""

    name: str
    out: str
    tracks: dict[str, str] = field(default_factory=dict)
    """Option and file name."""
    more: tuple[str, ...] = ()
    piece_frames: int = writers.PIECE_FRAMES

    def command(self, run: Path, clip: Path, place: Path) -> list[str]:
        """The command line."""
        extra = [word for key, name in self.tracks.items() for word in (key, str(place / name))]
        arguments = convert_command(run, clip, place / self.out, *extra, *self.more)[3:]
        return [sys.executable, "-c", SMALL_PIECES.format(frames=self.piece_frames), *arguments]

    def names(self) -> list[str]:
        """What it writes."""
        return [self.out, *self.tracks.values()]


TRACKS = {"--mask-out": "mask.mkv", "--layer-out": "layer.mkv", "--compare": "compare.mp4"}
CASES = (
    Case("three tracks, default pieces", "swap.mp4", TRACKS),
    Case("three tracks, pieces of 25", "swap.mp4", TRACKS, piece_frames=25),
    Case("--frames 50:200, pieces of 25", "swap.mkv", more=("--frames", "50:200"), piece_frames=25),
    Case("folder of PNG, pieces of 25", "swap", {"--mask-out": "mask"}, piece_frames=25),
)


def kill(options: argparse.Namespace) -> dict[str, Any]:
    """Each case undisturbed, and with kills in every part of it: the same must come out."""
    moments = random.Random(options.seed)
    figures = {}
    for case in CASES:
        if options.only and options.only not in case.name:
            continue
        with workplace(options) as work:
            place = work / "place"
            start = time.perf_counter()
            undisturbed = run_through(case, work, options.clip, [])[1]
            seconds = time.perf_counter() - start
            total = undisturbed["sidecar"]["frames"]
            shutil.rmtree(place)
            forget_faces(work / "run")
            points = kill_points(options.times, total, case.piece_frames, moments)
            kills, disturbed = run_through(case, work, options.clip, points)
        same = {key: undisturbed[key] == disturbed[key] for key in ("bytes", "sidecar")}
        held = all(same.values()) and not disturbed["left"]
        figures[case.name] = {
            "frames": total,
            "seconds": round(seconds, 1),
            "kills": kills,
            "same": same,
            "left": disturbed["left"],
            "held": held,
        }
        print(f"{case.name}: {len(kills)} kills, {'held' if held else 'NOT HELD'}")
        print("   ", ", ".join(kills))
        if not held:
            print("   ", same, disturbed["left"])
    return figures


def kill_points(
    times: int, frames: int, piece: int, moments: random.Random
) -> list[tuple[str, int, float]]:
    """Moments in the order in which a conversion that falls back to whole pieces comes by."""
    third = max(1, times // 3)
    find = sorted(moments.randrange(1, frames) for _ in range(third))
    paint = sorted(moments.randrange(1, frames) for _ in range(times - 2 * third))
    return [
        *(("find", frame, moments.uniform(0, 0.05)) for frame in find),
        *(("paint", frame, moments.uniform(0, 0.3)) for frame in paint),
        *(("join", 0, moments.uniform(0, 0.4)) for _ in range(third)),
    ]


def run_through(
    case: Case, work: Path, clip: Path, points: list[tuple[str, int, float]]
) -> tuple[list[str], dict[str, Any]]:
    """Kills at the points, then the same call to its end: the kills, and what came out."""
    place, kills = work / "place", []
    place.mkdir(exist_ok=True)
    command = case.command(work / "run", clip, place)
    for walk, frame, pause in points:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not is_at(place, case.out, walk, frame):
            time.sleep(0.002)
        time.sleep(pause)
        process.kill()
        if process.wait() == -signal.SIGKILL:
            at, number = progress(place, case.out)
            kills.append(at if at == "join" else f"{at} {number}")
        elif process.returncode:
            kills.append(f"REFUSED {walk} {frame}")
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{case.name} ends with {ended.returncode}: {ended.stderr[-300:]}")
    return kills, {
        "exit": ended.returncode,
        "bytes": {name: clip_fingerprint(place / name) for name in case.names()},
        "sidecar": read_json(sidecar_path(place / case.out)),
        "left": leftovers(place) + leftovers(work / "run" / "faces"),
    }


def is_at(place: Path, out: str, walk: str, frame: int) -> bool:
    order = ["start", "find", "paint", "join"]
    at, number = progress(place, out)
    return (order.index(at), number) >= (order.index(walk), frame)


# --- windows --------------------------------------------------------------------------------------

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


def windows(options: argparse.Namespace) -> dict[str, Any]:
    """A kill before each of Python's file operations of a short conversion, and the call again.

    What FFmpeg writes by itself, and lines added to a journal, are no moments of their own.
    """
    figures = {}
    with workplace(options) as work:
        run = load_run(work / "run")
        run.model.eval()
        for name, made in WINDOW_CALLS.items():
            if options.only and options.only not in name:
                continue
            place = work / "place"
            call = partial(made, run, options.clip, place)
            operations: list[str] = []
            in_child(call, place, record=operations)
            wanted = outcome(place)
            found: dict[str, str] = {}
            for number in range(len(operations)):
                shutil.rmtree(place)
                forget_faces(work / "run")
                in_child(call, place, die_at=number)
                said = in_child(call, place)
                result = outcome(place)
                if said or result != wanted:
                    unlike = [key for key in wanted if result.get(key) != wanted[key]]
                    more = sorted(set(result) - set(wanted))
                    found[f"{number} before {operations[number]}"] = (
                        said or f"unlike: {unlike}, left: {more}"
                    )
            shutil.rmtree(place)
            forget_faces(work / "run")
            figures[name] = {"operations": len(operations), "wrong": found}
            print(f"{name}: killed before each of {len(operations)} operations, {len(found)} wrong")
            for where, what in found.items():
                print(f"    {where}: {what}", flush=True)
    return figures


def swap_with_tracks(run: TrainedRun, clip: Path, place: Path) -> None:
    tracks = Tracks(place / "mask.mkv", place / "layer", place / "compare.mp4")
    config = ConvertConfig(end=20, all_faces=True)
    convert_clip(
        run, as_clip(clip), FileOutputs(place / "swap.mp4", tracks), config, say=lambda line: None
    )


def swap_to_folder(run: TrainedRun, clip: Path, place: Path) -> None:
    config = ConvertConfig(end=10, all_faces=True)
    convert_clip(run, as_clip(clip), FileOutputs(place / "swap"), config, say=lambda line: None)


def swap_overwriting(run: TrainedRun, clip: Path, place: Path) -> None:
    """Over what is not ours, which only the first call finds."""
    if not (place / "begun").exists():
        (place / "begun").touch()
        (place / "swap.mp4").write_text("somebody's")
    config = ConvertConfig(end=10, all_faces=True)
    out = place / "swap.mp4"
    convert_clip(
        run, as_clip(clip), FileOutputs(out), config, overwrite=True, say=lambda line: None
    )


def swap_of_nobody(run: TrainedRun, clip: Path, place: Path) -> None:
    """Nothing is painted, and so no mark says whose file it is."""
    config = ConvertConfig(end=10, face=9)
    convert_clip(run, as_clip(clip), FileOutputs(place / "swap.mp4"), config, say=lambda line: None)


WINDOW_CALLS: dict[str, Callable[[TrainedRun, Path, Path], None]] = {
    "swap and three tracks": swap_with_tracks,
    "folder": swap_to_folder,
    "--overwrite": swap_overwriting,
    "nobody": swap_of_nobody,
}


def in_child(
    work: Callable[[], None],
    place: Path,
    *,
    die_at: int | None = None,
    record: list[str] | None = None,
) -> str:
    """Do it in a fork, which may kill itself before an operation; the error's line, if any."""
    place.mkdir(exist_ok=True)
    writers.PIECE_FRAMES = 8
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, arguments: Sequence[Any]) -> None:
            nonlocal count
            if event in CHANGES or (event == "open" and is_new(arguments)):
                where = str(arguments[0])
                if str(place) in where or event in ("os.rmdir", "os.remove"):
                    if record is not None:
                        os.write(writing, f"{event} {Path(where).name}\n".encode())
                    if count == die_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    count += 1

        said = ""
        try:
            sys.addaudithook(hook)
            with redirect_stdout(io.StringIO()):
                work()
        except BaseException as error:  # told to the parent, whatever it is
            said = f"{type(error).__name__}: {error}"
        os.write(writing, f"end {said}\n".encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(child, 0)
    if record is not None:
        record += [line for line in lines if not line.startswith("end ")]
    ends = [line.removeprefix("end ") for line in lines if line.startswith("end ")]
    return ends[0] if ends else ""


def is_new(arguments: Sequence[Any]) -> bool:
    """Whether a file is opened to be made; the tally's lines are too many."""
    path, mode = str(arguments[0]), arguments[1]
    return isinstance(mode, str) and "w" in mode and not path.endswith("frames.jsonl")


def outcome(place: Path) -> dict[str, str]:
    """Hash by name of what lies there, hidden or not."""
    found = {}
    for path in sorted(place.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(place))] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name.startswith("."):
            found[str(path.relative_to(place))] = "folder"
    return found


# --- all ------------------------------------------------------------------------------------------


@contextmanager
def workplace(options: argparse.Namespace) -> Iterator[Path]:
    """A folder with the run in it, which remembers no faces; kept if --keep names it."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) if options.keep is None else options.keep.absolute()
        for name in ("run", "place"):
            shutil.rmtree(work / name, ignore_errors=True)
        (work / "run").mkdir(parents=True)
        for path in options.run.absolute().iterdir():
            if path.name != "faces":
                (work / "run" / path.name).symlink_to(path)
        yield work


def forget_faces(run: Path) -> None:
    shutil.rmtree(run / "faces", ignore_errors=True)


def leftovers(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [p.name for p in folder.iterdir() if p.name.startswith(".") or ".partial" in p.name]


def convert_command(run: Path, clip: Path, out: Path, *more: str) -> list[str]:
    module = [sys.executable, "-m", "faceswap_lite"]
    return [*module, "convert", "--run", str(run), "--clip", str(clip), "--out", str(out), *more]


def print_table(titles: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(titles) + " |")
    print("|" + "---|" * len(titles))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("what", choices=BENCHES)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--times", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases or clips with this in their name")
    parser.add_argument("--keep", type=Path, help="work here and leave what is made")
    options = parser.parse_args()
    if options.what == "robust":
        clips_of(options.media, "video/robust/*", "video/corrupt/*")
    elif options.clip is None:
        parser.error(f"{options.what} wants --clip")
    need(options.run, *filter(None, [options.clip]))
    figures = BENCHES[options.what](options)
    known = read_json(options.out) if options.out and options.out.exists() else {}
    keep(options.out, {**known, options.what: figures})


BENCHES = {"robust": robust, "memory": memory, "kill": kill, "windows": windows}


if __name__ == "__main__":
    enter(main)
