"""The convert stage on rendered actors: whom it paints, what it leaves alone, what a kill costs.

Lossless outputs (ffv1) are compared with the clip bit for bit: whatever differs was painted.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from conftest import Cast, convert_file, figures_of, silent
from test_pieces import click_in, packets, talk

from faceswap_lite.config import (
    ColorConfig,
    ConvertConfig,
    EvaluateConfig,
    MaskConfig,
    OutputConfig,
)
from faceswap_lite.config_files import change_section
from faceswap_lite.conversion import casting, composite, convert, detection_pass, paint, writers
from faceswap_lite.conversion.composite import Composite
from faceswap_lite.conversion.settings_sheet import SETTINGS_CELL_PX, TITLE_PX, settings_sheet
from faceswap_lite.conversion.writers import Tracks
from faceswap_lite.errors import FaceswapError, UsageError
from faceswap_lite.evaluation.evaluate import evaluate_clips
from faceswap_lite.evaluation.workbench import Contender
from faceswap_lite.faces.embed import Person
from faceswap_lite.faces.pack import FacePack, FoundFace
from faceswap_lite.media import writing
from faceswap_lite.media.clips import clip_fingerprint
from faceswap_lite.media.credentials import CREDENTIALS_VARIABLE, read_credentials, signing_for
from faceswap_lite.media.images import read_image, write_image
from faceswap_lite.media.label import draw_label
from faceswap_lite.media.provenance import check_output, read_synthetic_mark
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.media.sidecar import sidecar_path
from faceswap_lite.media.truth import load_truth
from faceswap_lite.media.writing import ClipWriter
from faceswap_lite.metrics.pictures import psnr_db
from faceswap_lite.runs.trained import TrainedRun

# What is before a face is told in test_conversion_occlusion.py.
LOSSLESS = ConvertConfig(output=OutputConfig(codec="ffv1"), mask=MaskConfig(kind="product"))
FRAMES = 12
# Where Ada's face is in every frame of the unseen clip, and where it never is.
FACE = (slice(100, 180), slice(90, 170))
PIECE = 4


class Killed(BaseException):
    """Like Ctrl-C, no error that any of our code may catch and go on from."""


def frames_of(path: Path) -> np.ndarray:
    """(n, h, w, 3)."""
    with open_clip(path) as reader:
        return np.stack([frame.image for frame in reader])


def layers_of(path: Path) -> np.ndarray:
    """(n, h, w, 4), straight alpha."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgba") for f in container.decode(video=0)])


def write_clip(path: Path, images: Sequence[np.ndarray], like: Path, **options: Any) -> Path:
    """A lossless clip of these pictures, with the times of `like`."""
    with open_clip(like) as reader:
        info = replace(reader.info, **options.pop("info", {}))
        pts = [frame.pts for frame in reader]
    height, width = images[0].shape[:2]
    pts += [pts[-1] + (pts[1] - pts[0]) * n for n in range(1, 1 + len(images) - len(pts))]
    size = {"width": width, "height": height}
    given: dict[str, Any] = {"codec": "ffv1", "like": info, **size, **options}
    with ClipWriter(path, **given) as writer:
        for image, time_ in zip(images, pts, strict=False):
            writer.write(image, time_)
    return path


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far each pixel differs, in levels: (..., h, w)."""
    return np.abs(one.astype(int) - other.astype(int)).max(-1)


def at(run: TrainedRun, path: Path) -> TrainedRun:
    """The run as if it lay elsewhere: what other tests found in a clip is not known there."""
    path.mkdir(exist_ok=True)
    return replace(run, path=path)


def sidecar(out: Path) -> dict[str, Any]:
    return json.loads(out.with_name(f"{out.name}.json").read_text(encoding="utf-8"))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Searches:
    """Counts what the face finders are asked; `die_after`: the next one is killed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.count, self.die_after = 0, 10**9
        true_find = FacePack.find

        def find(pack: FacePack, image: np.ndarray, **options: Any) -> list[FoundFace]:
            if self.count >= self.die_after:
                raise Killed
            self.count += 1
            return true_find(pack, image, **options)

        monkeypatch.setattr(FacePack, "find", find)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> Searches:
    return Searches(monkeypatch)


@pytest.fixture(scope="module")
def before(cast: Cast) -> np.ndarray:
    """The frames of the unseen clip."""
    return frames_of(cast.unseen_clip)


@pytest.fixture(scope="module")
def plain(cast: Cast, run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lossless conversion of the unseen clip, with all its tracks."""
    folder = tmp_path_factory.mktemp("plain")
    convert_file(
        run, cast.unseen_clip, folder / "swap.mkv", LOSSLESS, tracks=all_tracks(folder), say=silent
    )
    return folder


def all_tracks(folder: Path) -> Tracks:
    return Tracks(folder / "mask.mkv", folder / "layer.mkv", folder / "compare.mkv")


# Killed and begun again.


def die_after(monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    """Kill the next conversion once so many frames have been handed to the writers."""
    whole = composite.composite_frames

    def some(*given: Any) -> Iterator[Composite]:
        for number, made in enumerate(whole(*given)):
            if number == frames:
                raise Killed
            yield made

    monkeypatch.setattr(convert, "composite_frames", some)


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "PIECE_FRAMES", PIECE)


@pytest.fixture(scope="module")
def straight(cast: Cast, run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed conversion in short pieces, with all its tracks, one a folder of pictures."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "PIECE_FRAMES", PIECE)
        convert_all(run, cast.unseen_clip, folder)
    return folder


KILLED_CONFIG = ConvertConfig(batch=5, output=OutputConfig(quality=10))


def convert_all(run: TrainedRun, clip: Path, folder: Path, **options: Any) -> Any:
    tracks = Tracks(folder / "mask.mp4", folder / "layer", folder / "compare.mp4")
    given: dict[str, Any] = {"tracks": tracks, "say": silent, **options}
    return convert_file(run, clip, folder / "swap.mp4", KILLED_CONFIG, **given)


def assert_same_outputs(folder: Path, straight: Path) -> None:
    assert names_in(folder) == names_in(straight)
    assert not any(name.startswith(".") for name in names_in(folder)), "nothing hidden is left"
    for path in straight.iterdir():
        if path.suffix != ".json":
            assert clip_fingerprint(folder / path.name) == clip_fingerprint(path), path.name
    facts, wanted = sidecar(folder / "swap.mp4"), sidecar(straight / "swap.mp4")
    paths = {"outputs", "run", "clip"}
    assert {k: v for k, v in facts.items() if k not in paths} == {
        k: v for k, v in wanted.items() if k not in paths
    }


@pytest.mark.parametrize("stops", [[3], [7, 2, 11]])
def test_a_conversion_broken_off_ends_with_the_same_bytes(
    cast: Cast,
    run: TrainedRun,
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    searches: Searches,
    short_pieces: None,
    stops: list[int],
) -> None:
    elsewhere, folder = at(run, tmp_path / "run"), tmp_path / "out"
    folder.mkdir()
    for stop in stops:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            die_after(patch, stop)
            convert_all(elsewhere, cast.unseen_clip, folder)
        assert [name for name in names_in(folder) if not name.startswith(".")] == []
    assert searches.count == FRAMES
    summary = convert_all(elsewhere, cast.unseen_clip, folder)
    assert (summary.frames, summary.swapped) == (FRAMES, FRAMES)
    assert searches.count == FRAMES, "the faces were found already"
    assert_same_outputs(folder, straight)


def test_whole_pieces_are_not_painted_again(
    cast: Cast, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_pieces: None
) -> None:
    config = change_section(KILLED_CONFIG, ["color.steady=0", "mask.steady=0", "mask.kind=product"])
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after(patch, 10)
        convert_file(run, cast.unseen_clip, tmp_path / "a.mp4", config, say=silent)
    painted = []
    true_align = paint.align

    def align(*given: Any) -> Any:
        painted.append(1)
        return true_align(*given)

    monkeypatch.setattr(paint, "align", align)
    convert_file(run, cast.unseen_clip, tmp_path / "a.mp4", config, say=silent)
    # Eight frames were safe; the batch that holds the ninth begins at the sixth.
    assert len(painted) == FRAMES - 5


def test_a_search_broken_off_goes_on_where_it_stopped(
    cast: Cast,
    run: TrainedRun,
    straight: Path,
    tmp_path: Path,
    searches: Searches,
    short_pieces: None,
) -> None:
    elsewhere, folder = at(run, tmp_path / "run"), tmp_path / "out"
    folder.mkdir()
    searches.die_after = 10
    with pytest.raises(Killed):
        convert_all(elsewhere, cast.unseen_clip, folder)
    (journal,) = folder.glob(".swap.mp4.*.work/faces.jsonl")
    known = len(journal.read_text().splitlines()) - 1
    assert 0 < known <= 10
    # What a kill in the middle of a line leaves.
    with journal.open("a") as file:
        file.write('{"frame": ')
    searches.count, searches.die_after = 0, 10**9
    convert_all(elsewhere, cast.unseen_clip, folder)
    assert searches.count == FRAMES - known
    assert_same_outputs(folder, straight)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("compare.mp4", "after its name"),
        ("layer", "before its name"),
        ("layer", "after its name"),
        ("swap.mp4", "before its name"),
        ("swap.mp4", "after its name"),
        ("swap.mp4", "before the sidecar"),
    ],
)
def test_killed_while_the_outputs_get_their_names(
    cast: Cast,
    run: TrainedRun,
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    short_pieces: None,
    moment: str,
    name: str,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        for placing in ("place_file", "place_folder"):
            patch.setattr(writing, placing, dying(getattr(writing, placing), name, moment))
        if moment == "before the sidecar":
            patch.setattr(convert, "write_sidecar", dying(convert.write_sidecar, None, moment))
        convert_all(run, cast.unseen_clip, tmp_path)
    convert_all(run, cast.unseen_clip, tmp_path)
    assert_same_outputs(tmp_path, straight)


@pytest.mark.parametrize("name", ["swap.mp4", "swap"])
def test_killed_after_a_clip_without_the_face_has_its_name(
    run: TrainedRun, cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Nothing synthetic is in it, so no mark tells whose it is.
    grey = [np.full((64, 64, 3), 100 + n, np.uint8) for n in range(6)]
    clip, out = write_clip(tmp_path / "grey.mkv", grey, cast.unseen_clip), tmp_path / name
    with monkeypatch.context() as patch, pytest.raises(Killed):
        for placing in ("place_file", "place_folder"):
            patch.setattr(
                writing, placing, dying(getattr(writing, placing), name, "after its name")
            )
        convert_file(run, clip, out, ConvertConfig(), say=silent)
    assert convert_file(run, clip, out, ConvertConfig(), say=silent).frames == 6
    assert names_in(tmp_path) == ["grey.mkv", name, f"{name}.json"]


def dying(place: Any, name: str | None, moment: str) -> Any:
    def placed(made: Path, path: Any) -> None:
        if name is None or (path.name == name and moment == "before its name"):
            raise Killed
        place(made, path)
        if path.name == name and moment == "after its name":
            raise Killed

    return placed


def test_another_job_s_output_is_not_taken_for_ours_after_a_failure(
    cast: Cast, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, out = tmp_path / "in.png", tmp_path / "swap.png"
    write_image(picture, frames_of(cast.unseen_clip)[5])
    convert_file(run, picture, out, ConvertConfig(), say=silent)
    other = ConvertConfig(color=ColorConfig(kind="none"))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        place = dying(writing.place_file, out.name, "before its name")
        patch.setattr(writing, "place_file", place)
        convert_file(run, picture, out, other, overwrite=True, say=silent)
    convert_file(run, picture, out, other, overwrite=True, say=silent)
    convert_file(run, picture, tmp_path / "fresh.png", other, say=silent)
    np.testing.assert_array_equal(read_image(out), read_image(tmp_path / "fresh.png"))


def test_a_line_of_the_tally_that_is_half_written_is_made_again(
    cast: Cast, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_pieces: None
) -> None:
    out = tmp_path / "swap.mp4"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after(patch, 6)
        convert_file(run, cast.unseen_clip, out, ConvertConfig(), say=silent)
    (tally,) = tmp_path.glob(".swap.mp4.*.work/frames.jsonl")
    with tally.open("a") as file:
        file.write("[6, ")
    summary = convert_file(run, cast.unseen_clip, out, ConvertConfig(), say=silent)
    assert (summary.frames, summary.swapped) == (FRAMES, FRAMES)


def test_names_may_be_of_any_length(
    cast: Cast, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_pieces: None
) -> None:
    clip = Path(shutil.copy(cast.unseen_clip, tmp_path / f"{'c' * 251}.mp4"))
    folder = tmp_path / "out"
    swap, beside = folder / f"{'s' * 251}.mp4", folder / f"{'b' * 251}.mp4"
    tracks, config = Tracks(compare=beside), ConvertConfig()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after(patch, 8)
        convert_file(run, clip, swap, config, tracks=tracks, say=silent)
    assert len(list(folder.glob(".*.work"))) == 1
    summary = convert_file(run, clip, swap, config, tracks=tracks, say=silent)
    assert (summary.frames, summary.done_before) == (FRAMES, False)
    assert len(list(folder.iterdir())) == 3 and sidecar_path(swap).is_file()
    assert convert_file(run, clip, swap, config, tracks=tracks, say=silent).done_before
    assert check_output(swap).state == check_output(beside).state == "unaltered"


SLOWLY = """
import sys, time
from pathlib import Path
import torch
from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion import convert, writers
from faceswap_lite.conversion.writers import FileOutputs, Tracks
from faceswap_lite.media.reading import as_clip
from faceswap_lite.runs.load import load_run

def slowly(frames):
    for frame in frames:
        time.sleep(0.05)
        yield frame

whole = convert.composite_frames
convert.composite_frames = lambda *given: slowly(whole(*given))
writers.PIECE_FRAMES = int(sys.argv[4])
run, clip, folder = map(Path, sys.argv[1:4])
torch.set_num_threads(int(sys.argv[5]))
tracks = Tracks(folder / "mask.mp4", folder / "layer", folder / "compare.mp4")
config = ConvertConfig.model_validate_json(sys.argv[6])
outputs = FileOutputs(folder / "swap.mp4", tracks)
convert.convert_clip(load_run(run), as_clip(clip), outputs, config)
"""


def test_a_process_killed_outright_costs_a_piece_at_most(
    cast: Cast, run: TrainedRun, straight: Path, tmp_path: Path, short_pieces: None
) -> None:
    told = (run.path, cast.unseen_clip, tmp_path, PIECE, torch.get_num_threads())
    command = [sys.executable, "-c", SLOWLY, *map(str, told), KILLED_CONFIG.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while not list(tmp_path.glob(".*.work/compare/.000001.json")) and child.poll() is None:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert [name for name in names_in(tmp_path) if not name.startswith(".")] == []
    convert_all(run, cast.unseen_clip, tmp_path)
    assert_same_outputs(tmp_path, straight)


def test_the_same_call_gives_the_same_bytes_and_batches_hardly_matter(
    cast: Cast, run: TrainedRun, straight: Path, plain: Path, tmp_path: Path, short_pieces: None
) -> None:
    convert_all(run, cast.unseen_clip, tmp_path, overwrite=True)
    assert_same_outputs(tmp_path, straight)
    config = LOSSLESS.model_copy(update={"batch": 5})
    convert_file(run, cast.unseen_clip, tmp_path / "five.mkv", config, say=silent)
    # Sums of floats in another order.
    assert apart(frames_of(tmp_path / "five.mkv"), frames_of(plain / "swap.mkv")).max() <= 1
    assert sidecar(tmp_path / "five.mkv")["job"] == sidecar(plain / "swap.mkv")["job"]


# What is found is kept.


def test_other_settings_do_not_search_again(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    elsewhere = at(run, tmp_path / "run")
    convert_file(elsewhere, cast.unseen_clip, tmp_path / "a.mp4", ConvertConfig(), say=silent)
    assert searches.count == FRAMES
    said: list[str] = []
    other = ConvertConfig(color=ColorConfig(kind="none"), temporal_smoothing=0, start=3, end=9)
    convert_file(elsewhere, cast.unseen_clip, tmp_path / "b.mp4", other, say=said.append)
    settings_sheet(
        elsewhere, as_clip(cast.unseen_clip), tmp_path / "c.png", ConvertConfig(), say=silent
    )
    assert searches.count == FRAMES
    assert any("using the faces found before" in line for line in said)
    assert len(names_in(tmp_path / "run" / "faces")) == 1


def test_faces_that_an_earlier_version_found_are_found_anew(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    elsewhere, said = at(run, tmp_path / "run"), list[str]()
    convert_file(elsewhere, cast.unseen_clip, tmp_path / "a.mkv", ConvertConfig(), say=silent)
    (kept,) = (elsewhere.path / "faces").iterdir()
    whole, count = kept.read_bytes(), searches.count
    kept.write_bytes(whole.replace(b'"version":3', b'"version":2', 1))
    convert_file(elsewhere, cast.unseen_clip, tmp_path / "b.mkv", ConvertConfig(), say=said.append)
    assert searches.count == 2 * count > 0 and kept.read_bytes() == whole
    assert sum("earlier version" in line for line in said) == 1


@pytest.mark.parametrize("stage", ["convert", "preview", "evaluate"])
def test_a_run_that_cannot_be_written_to_only_costs_the_search(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches, stage: str
) -> None:
    elsewhere = at(run, tmp_path / "run")
    # Also refuses the superuser, to whom every folder is open.
    (elsewhere.path / "faces").write_text("in the way")
    clip, config = cast.unseen_clip, ConvertConfig()
    for number in range(1 if stage == "evaluate" else 2):
        out = tmp_path / f"{number}.png"
        if stage == "convert":
            convert_file(elsewhere, clip, out.with_suffix(".mp4"), config, say=silent)
        elif stage == "preview":
            settings_sheet(elsewhere, as_clip(clip), out, config, ["mask.kind=hull"], say=silent)
        else:
            evaluate_clips(
                [Contender(elsewhere, config)], [as_clip(clip)], out, EvaluateConfig(), say=silent
            )
    assert searches.count == (1 if stage == "evaluate" else 2) * FRAMES
    assert (elsewhere.path / "faces").read_text() == "in the way"
    assert names_in(tmp_path / "run") == ["faces"]


def with_target(run: TrainedRun, **changes: Any) -> TrainedRun:
    target = run.manifest.target.model_copy(update=changes)
    return replace(run, manifest=run.manifest.model_copy(update={"target": target}))


def test_faces_that_the_target_s_set_holds_are_not_searched(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(cast.target, faces)
    crops = sorted(faces.glob("*.png"))
    gone = (0, 7, 8)
    for number in gone:
        crops[number].unlink()
    knowing = at(with_target(run, path=str(faces)), tmp_path / "run")
    out, said = tmp_path / "known.mkv", list[str]()
    short = LOSSLESS.model_copy(update={"end": 12})
    convert_file(knowing, cast.target_clip, out, short, say=said.append)
    assert searches.count == len(gone)
    assert any(f"37 frames are taken from {faces}" in line for line in said)
    unknowing = at(with_target(run, clips=[]), tmp_path / "run")
    convert_file(unknowing, cast.target_clip, tmp_path / "all.mkv", short, say=silent)
    assert searches.count == len(gone) + 40
    # Records and journal do not round alike; of single pixels at an edge.
    differ = apart(frames_of(out), frames_of(tmp_path / "all.mkv"))
    assert differ.max() <= 6 and (differ > 4).sum() <= 4


def test_what_the_set_holds_is_no_answer_to_who_else_is_there(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The set holds the target's faces alone; the source, or whom a photo shows, may stand beside.
    monkeypatch.setattr(detection_pass, "TRACK_FRAMES", 0)
    short = ConvertConfig(
        end=2,
        batch=1,
        temporal_smoothing=0,
        color=ColorConfig(steady=0),
        mask=MaskConfig(steady=0),
        bridge=0,
    )
    back = short.model_copy(update={"swap": "target-to-source"})
    convert_file(at(run, tmp_path / "r1"), cast.target_clip, tmp_path / "a.mp4", back, say=silent)
    assert searches.count == 3
    plant_people(monkeypatch, BEN)
    photo = tmp_path / "ben.png"
    write_image(photo, np.zeros((8, 8, 3), np.uint8))
    elsewhere = at(run, tmp_path / "r2")
    convert_file(elsewhere, cast.target_clip, tmp_path / "b.mp4", short, like=photo, say=silent)
    assert searches.count == 6


# A span of frames.


@pytest.fixture(scope="module")
def sounding(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unseen clip with a click at its frame 7.5."""
    folder = tmp_path_factory.mktemp("sounding")
    sound = talk(folder / "sound.mkv", "subrip", click=0.3)
    images = list(frames_of(cast.unseen_clip))
    return write_clip(folder / "clip.mkv", images, cast.unseen_clip, copy_from=sound)


@pytest.fixture(scope="module")
def two_shots(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shot of 16 frames and one of 14, whose frames 20 to 22 bear a white corner."""
    images = [*frames_of(cast.target_clip)[:16], *frames_of(cast.source_clip)[:14]]
    for number in (20, 21, 22):
        images[number][:4, :4] = 255
    folder = tmp_path_factory.mktemp("shots")
    return write_clip(folder / "shots.mkv", images, cast.target_clip)


def blind_to_white_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    """No face is found in frames with a white corner; others are searched once."""
    true_find, found = FacePack.find, dict[bytes, list[FoundFace]]()

    def find(pack: FacePack, image: np.ndarray, **options: Any) -> list[FoundFace]:
        if image[:4, :4].min() > 250:
            return []
        key = image.tobytes()
        if key not in found:
            found[key] = true_find(pack, image, **options)
        return found[key]

    monkeypatch.setattr(FacePack, "find", find)


def test_a_span_is_that_part_of_the_whole(
    two_shots: Path, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind_to_white_corners(monkeypatch)
    # So that a span is looked at with less than the whole clip around it.
    monkeypatch.setattr(detection_pass, "TRACK_FRAMES", 2)
    given = {"batch": 3, "temporal_smoothing": 1.0, "color": ColorConfig(steady=1.0), "bridge": 3}
    config = LOSSLESS.model_copy(update=given)
    whole = tmp_path / "whole.mkv"
    summary = convert_file(at(run, tmp_path / "run"), two_shots, whole, config, say=silent)
    assert (summary.swapped, summary.bridged) == (30, 3)
    # In the middle of a block; right after the cut; in the gap; up to the end.
    for start, end in ((4, 7), (16, 19), (21, 24), (27, None)):
        part = config.model_copy(update={"start": start, "end": end})
        out = tmp_path / f"{start}.mkv"
        # What the whole's conversion found is not known there, then it is.
        for folder in (f"run_{start}", "run"):
            made = convert_file(
                at(run, tmp_path / folder), two_shots, out, part, overwrite=True, say=silent
            )
            np.testing.assert_array_equal(frames_of(out), frames_of(whole)[start:end])
            assert made.bridged == (2 if start == 21 else 0)


@pytest.mark.parametrize("stop", [None, 5])
def test_a_span_has_its_frames_its_times_and_its_sound(
    sounding: Path,
    run: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    short_pieces: None,
    stop: int | None,
) -> None:
    out = tmp_path / "swap.mp4"
    config = ConvertConfig(start=3, end=9, output=OutputConfig(quality=4))
    if stop is not None:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            die_after(patch, stop)
            convert_file(run, sounding, out, config, say=silent)
    summary = convert_file(run, sounding, out, config, say=silent)
    assert (summary.frames, summary.swapped) == (6, 6)
    assert sorted(shown for _, shown in packets(out)) == [Fraction(n, 25) for n in range(6)]
    assert click_in(out) == pytest.approx(0.3 - 3 / 25, abs=0.002)
    with av.open(str(out)) as container:
        ends = [p.pts * p.time_base for p in container.demux(audio=0) if p.size and p.pts]
    assert 0.2 < max(ends) < 0.26
    given, made = frames_of(sounding), frames_of(out)
    nearest = [int(np.argmin([apart(g, m)[:, :60].mean() for g in given])) for m in made]
    assert nearest == [3, 4, 5, 6, 7, 8]


def test_a_span_may_reach_beyond_the_end(
    cast: Cast, run: TrainedRun, plain: Path, tmp_path: Path
) -> None:
    config = LOSSLESS.model_copy(update={"start": 8, "end": 100})
    out = tmp_path / "a.mkv"
    assert convert_file(run, cast.unseen_clip, out, config, say=silent).frames == 4
    np.testing.assert_array_equal(frames_of(out), frames_of(plain / "swap.mkv")[8:])


def test_a_span_that_begins_past_the_end_is_one_clear_error(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    config, said = ConvertConfig(start=12, end=20), list[str]()
    with pytest.raises(FaceswapError, match=r"unseen\.mp4: .*frame 12") as caught:
        convert_file(run, cast.unseen_clip, tmp_path / "a.mp4", config, say=said.append)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("it has 12, --frames 0:12, whatever their names say")
    assert not any("warning" in line for line in said)
    assert names_in(tmp_path) == []


def test_one_frame_may_be_a_picture(
    cast: Cast, run: TrainedRun, plain: Path, tmp_path: Path
) -> None:
    config = LOSSLESS.model_copy(update={"start": 5, "end": 6, "output": OutputConfig()})
    convert_file(run, cast.unseen_clip, tmp_path / "a.png", config, say=silent)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), frames_of(plain / "swap.mkv")[5])


# Whose faces.


def test_target_to_source_paints_the_target(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    config = LOSSLESS.model_copy(update={"swap": "target-to-source", "end": 12})
    out = tmp_path / "back.mkv"
    convert_file(run, cast.source_clip, out, config, say=silent)
    truth = load_truth(cast.source_clip)
    assert truth is not None and truth.twin is not None
    twin, clip, made = frames_of(truth.twin.matched), frames_of(cast.source_clip), frames_of(out)
    # Bruno's twin wears Ada's face.
    inside = truth.face_masks / 255.0
    usual = LOSSLESS.model_copy(update={"end": 12})
    convert_file(run, cast.source_clip, tmp_path / "usual.mkv", usual, say=silent)
    own = frames_of(tmp_path / "usual.mkv")

    def near(some: np.ndarray, others: np.ndarray) -> float:
        return float(np.median([psnr_db(some[i], others[i], inside[i]) for i in range(12)]))

    # What a short training brings; in the usual way Bruno would be painted onto himself.
    assert near(made, twin) > near(clip, twin) + 0.3
    assert near(own, clip) > near(made, clip) + 3


@pytest.fixture(scope="module")
def pair(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ada on the left and Bruno on the right, five frames."""
    sides = [frames_of(cast.unseen_clip)[:5], frames_of(cast.source_clip)[:5]]
    path = tmp_path_factory.mktemp("pair") / "pair.mkv"
    return write_clip(path, list(np.concatenate(sides, axis=2)), cast.unseen_clip)


ANNA, BEN = np.array([1.0, 0, 0], np.float32), np.array([0, 1.0, 0], np.float32)


def plant_people(monkeypatch: pytest.MonkeyPatch, wanted: np.ndarray) -> None:
    """Whoever stands on the left is Anna, else Ben; the photo, or the run's target, is `wanted`."""
    find = FacePack.find

    def found(pack: FacePack, image: np.ndarray, **options: Any) -> list[FoundFace]:
        faces = find(pack, image, **options)
        who = [ANNA if face.detection.box_xyxy[0] < 256 else BEN for face in faces]
        return [replace(face, embedding=v) for face, v in zip(faces, who, strict=True)]

    person = Person(wanted.astype(np.float64), "cosine", 0.5)
    monkeypatch.setattr(FacePack, "find", found)
    monkeypatch.setattr(casting, "photo_identity", lambda photo, pack: person)


@pytest.mark.parametrize(
    ("options", "painted"),
    [
        ({"face": 0}, "left"),
        ({"face": 1}, "right"),
        ({"all_faces": True}, "left right"),
        ({"like": ANNA}, "left"),
        ({"like": BEN}, "right"),
    ],
)
def test_only_whom_it_should_and_the_others_bit_for_bit(
    pair: Path,
    run: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    painted: str,
) -> None:
    photo = None
    if "like" in options:
        photo = tmp_path / "photo.png"
        write_image(photo, np.zeros((8, 8, 3), np.uint8))
        plant_people(monkeypatch, options["like"])
    config = LOSSLESS.model_copy(update={k: v for k, v in options.items() if k != "like"})
    out = tmp_path / "swap.mkv"
    summary = convert_file(at(run, tmp_path / "run"), pair, out, config, like=photo, say=silent)
    changed = apart(frames_of(pair), frames_of(out))
    for side, columns in (("left", slice(0, 256)), ("right", slice(256, 512))):
        maximum = changed[..., columns].reshape(5, -1).max(1)
        assert (maximum > 8).all() if side in painted else (maximum == 0).all(), side
    assert summary.swapped == 5


def test_a_face_that_no_frame_shows_is_refused_before_anything_is_painted(
    pair: Path, run: TrainedRun, tmp_path: Path
) -> None:
    elsewhere = at(run, tmp_path.with_name(f"{tmp_path.name}_run"))
    with pytest.raises(FaceswapError, match=r"no frame shows a face 2 from the left"):
        convert_file(elsewhere, pair, tmp_path / "a.mkv", ConvertConfig(face=2), say=silent)
    assert names_in(tmp_path) == []


def test_two_faces_and_nothing_to_tell_them_apart_are_refused(
    pair: Path, run: TrainedRun, tmp_path: Path
) -> None:
    elsewhere = at(run, tmp_path.with_name(f"{tmp_path.name}_run"))
    with pytest.raises(FaceswapError, match=r"2 faces and nothing to tell.*--face N"):
        convert_file(elsewhere, pair, tmp_path / "a.mp4", ConvertConfig(), say=silent)
    # Who obeys gives another job, which would never find what this one left.
    assert names_in(tmp_path) == []


def test_a_photo_is_refused_before_any_work_where_nothing_compares_faces(
    pair: Path, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    like = tmp_path.with_name(f"{tmp_path.name}.png")
    write_image(like, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(FaceswapError, match=r"--like.*needs an embedder"):
        convert_file(
            at(run, tmp_path.with_name(f"{tmp_path.name}_run")), pair, tmp_path / "a.mp4",
            ConvertConfig(), like=like, say=silent,
        )  # fmt: skip
    assert searches.count == 0 and names_in(tmp_path) == []


# Drawn masks, and what else is written.


def draw_masks(folder: Path, black: slice) -> Path:
    folder.mkdir(exist_ok=True)
    mask = np.full((256, 256, 3), 255, np.uint8)
    mask[:, black] = 0
    for number in range(FRAMES):
        write_image(folder / f"frame_{number + 1:06d}.png", mask)
    return folder


def test_what_a_mask_blackens_is_never_touched(
    cast: Cast, run: TrainedRun, before: np.ndarray, plain: Path, tmp_path: Path
) -> None:
    masks = draw_masks(tmp_path / "masks", slice(0, 128))
    config = LOSSLESS.model_copy(update={"mask": MaskConfig(kind="product", folder=str(masks))})
    out = tmp_path / "swap.mkv"
    convert_file(run, cast.unseen_clip, out, config, say=silent)
    made, whole = frames_of(out), frames_of(plain / "swap.mkv")
    np.testing.assert_array_equal(made[:, :, :128], before[:, :, :128])
    np.testing.assert_array_equal(made[:, :, 128:], whole[:, :, 128:])
    assert apart(whole, before)[:, :, :128].max() > 8 < apart(whole, before)[:, :, 128:].max()

    # The same folder, drawn anew, is another job.
    assert convert_file(run, cast.unseen_clip, out, config, say=silent).done_before
    draw_masks(masks, slice(128, 256))
    with pytest.raises(FaceswapError, match="other settings"):
        convert_file(run, cast.unseen_clip, out, config, say=silent)
    convert_file(run, cast.unseen_clip, out, config, overwrite=True, say=silent)
    made = frames_of(out)
    np.testing.assert_array_equal(made[:, :, 128:], before[:, :, 128:])
    np.testing.assert_array_equal(made[:, :, :128], whole[:, :, :128])


def test_the_layer_over_the_clip_is_the_swap(before: np.ndarray, plain: Path) -> None:
    layer = layers_of(plain / "layer.mkv").astype(float)
    alpha = layer[..., 3:] / 255
    assert 0.02 < (alpha > 0.5).mean() < 0.5 and (alpha == 0).mean() > 0.5
    assert not layer[alpha[..., 0] == 0].any()
    over = alpha * layer[..., :3] + (1 - alpha) * before
    # Colour and alpha are whole levels.
    assert np.abs(over - frames_of(plain / "swap.mkv")).max() <= 1.5
    # And straight: at the soft edge a colour times alpha would be far darker than the face.
    soft = (alpha[..., 0] > 0.1) & (alpha[..., 0] < 0.5)
    full = alpha[..., 0] > 0.95
    assert layer[soft][:, :3].mean() > 0.6 * layer[full][:, :3].mean()


def test_the_mask_is_the_layer_s_alpha(plain: Path) -> None:
    mask, layer = frames_of(plain / "mask.mkv"), layers_of(plain / "layer.mkv")
    assert (np.ptp(mask, axis=-1) == 0).all()
    assert apart(mask[..., :1], layer[..., 3:]).max() <= 1


def test_compare_shows_the_clip_and_the_swap(before: np.ndarray, plain: Path) -> None:
    both = frames_of(plain / "compare.mkv")
    np.testing.assert_array_equal(both[:, :, :256], before)
    np.testing.assert_array_equal(both[:, :, 256:], frames_of(plain / "swap.mkv"))


def test_the_tracks_stand_in_the_sidecar_and_only_pictures_of_the_face_are_marked(
    plain: Path,
) -> None:
    tracks = all_tracks(plain)
    told = sidecar(plain / "swap.mkv")["outputs"]
    named = {"swap": plain / "swap.mkv", **tracks.named()}
    assert {name: Path(path) for name, path in told.items()} == named
    for name in ("swap", "layer", "compare"):
        assert read_synthetic_mark(plain / f"{name}.mkv") is not None, name
    assert names_in(plain) == ["compare.mkv", "layer.mkv", "mask.mkv", "swap.mkv", "swap.mkv.json"]


@pytest.mark.parametrize(
    ("name", "overwrite"),
    [
        ("swap.mkv", False),
        ("swap.mkv.json", False),
        ("mask.mkv", False),
        ("layer", False),
        ("layer", True),
        ("compare.mkv", False),
    ],
)
def test_what_is_not_ours_is_refused_before_any_work(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches, name: str, overwrite: bool
) -> None:
    foreign = tmp_path / name
    if name == "layer":
        foreign.mkdir()
        (foreign / "holiday.txt").write_text("mine")
    else:
        foreign.write_text("mine")
    tracks = replace(all_tracks(tmp_path), layer=tmp_path / "layer")
    elsewhere = at(run, tmp_path.with_name(f"{tmp_path.name}_run"))
    given: dict[str, Any] = {"tracks": tracks, "overwrite": overwrite, "say": silent}
    with pytest.raises(FaceswapError, match=r"choose another name"):
        convert_file(elsewhere, cast.unseen_clip, tmp_path / "swap.mkv", LOSSLESS, **given)
    assert searches.count == 0
    assert names_in(tmp_path) == [name]
    kept = foreign / "holiday.txt" if name == "layer" else foreign
    assert kept.read_text() == "mine"


def test_two_outputs_of_one_name_are_refused(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    for tracks in (
        Tracks(mask=tmp_path / "swap.mkv"),
        Tracks(layer=tmp_path / "a.mkv", compare=tmp_path / "x" / ".." / "a.mkv"),
    ):
        with pytest.raises(FaceswapError, match="same name"):
            convert_file(
                at(run, tmp_path), cast.unseen_clip, tmp_path / "swap.mkv", LOSSLESS,
                tracks=tracks, say=silent,
            )  # fmt: skip
    assert searches.count == 0 and names_in(tmp_path) == []


def test_what_is_read_is_never_written_to(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_people(monkeypatch, ANNA)
    elsewhere, masks = at(run, tmp_path / "run"), draw_masks(tmp_path / "masks", slice(0, 9))
    clip, photo = tmp_path / "in.mp4", tmp_path / "like.png"
    shutil.copyfile(cast.unseen_clip, clip)
    write_image(photo, np.zeros((8, 8, 3), np.uint8))
    config = ConvertConfig(mask=MaskConfig(kind="product", folder=str(masks)))
    for given in (clip, photo, masks, masks / "frame_000001.png", elsewhere.path, tmp_path):
        for out, tracks in ((given, None), (tmp_path / "a.mp4", Tracks(mask=given))):
            with pytest.raises(FaceswapError, match=r"is read|reads|a folder|holds another"):
                convert_file(
                    elsewhere, clip, out, config, like=photo, tracks=tracks, overwrite=True,
                    say=silent,
                )  # fmt: skip
    assert searches.count == 0
    assert names_in(tmp_path) == ["in.mp4", "like.png", "masks", "run"]
    assert len(names_in(masks)) == FRAMES and clip.read_bytes() == cast.unseen_clip.read_bytes()


@pytest.mark.parametrize(
    ("out", "tracks", "label"),
    [
        ("swap.avi", {}, ""),
        ("swap.mp4", {"layer": "layer.jpg"}, ""),
        ("swap.mp4", {"mask": "mask.gif"}, ""),
        ("swap.mp4", {"mask": "swap.mp4.json"}, ""),
        ("swap.mp4", {}, "a line that is too long for so small a frame, not for a large one" * 2),
    ],
)
def test_what_would_fail_at_the_end_fails_before_the_work(
    cast: Cast,
    run: TrainedRun,
    tmp_path: Path,
    searches: Searches,
    out: str,
    tracks: dict[str, str],
    label: str,
) -> None:
    named = Tracks(**{key: tmp_path / name for key, name in tracks.items()})
    elsewhere = at(run, tmp_path.with_name(f"{tmp_path.name}_run"))
    config = ConvertConfig(output=OutputConfig(label=label))
    with pytest.raises(FaceswapError):
        convert_file(elsewhere, cast.unseen_clip, tmp_path / out, config, tracks=named, say=silent)
    assert searches.count == 0
    assert names_in(tmp_path) == []


def test_pictures_of_two_sizes_are_no_video_and_that_is_said_before_the_work(
    run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    clip, elsewhere = tmp_path / "in", at(run, tmp_path / "run")
    clip.mkdir()
    for number, width in enumerate((64, 64, 48)):
        write_image(clip / f"a{number}.png", np.zeros((64, width, 3), np.uint8))
    with pytest.raises(FaceswapError, match=r"a2\.png is 48x64, the first picture 64x64"):
        convert_file(elsewhere, clip, tmp_path / "a.mp4", ConvertConfig(), say=silent)
    assert searches.count == 0 and names_in(tmp_path) == ["in", "run"]
    convert_file(elsewhere, clip, tmp_path / "b.mp4", ConvertConfig(end=2), say=silent)
    convert_file(elsewhere, clip, tmp_path / "c", ConvertConfig(), say=silent)
    assert names_in(tmp_path) == ["b.mp4", "b.mp4.json", "c", "c.json", "in", "run"]


def test_many_frames_are_no_picture_even_where_the_container_does_not_count_them(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    clip, elsewhere = tmp_path / "in.mkv", at(run, tmp_path / "run")
    with open_clip(cast.unseen_clip) as reader, ClipWriter(clip, like=reader.info) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts)
    with pytest.raises(FaceswapError, match="holds one picture"):
        convert_file(elsewhere, clip, tmp_path / "a.png", ConvertConfig(), say=silent)
    assert searches.count == 0 and names_in(tmp_path) == ["in.mkv", "run"]


def test_where_nothing_can_be_written_is_told_before_the_work(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    (tmp_path / "file").write_text("")
    elsewhere, tracks = at(run, tmp_path / "run"), Tracks(mask=tmp_path / "file" / "mask.mp4")
    with pytest.raises(FaceswapError, match=r"mask\.mp4: cannot be written"):
        convert_file(
            elsewhere, cast.unseen_clip, tmp_path / "a.mp4", ConvertConfig(), tracks=tracks,
            say=silent,
        )  # fmt: skip
    assert searches.count == 0 and names_in(tmp_path) == ["file", "run"]


def test_a_disk_that_is_too_small_is_told_before_the_work(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, said = at(run, tmp_path / "run"), list[str]()
    config = ConvertConfig(output=OutputConfig(codec="ffv1"))

    def convert() -> None:
        convert_file(elsewhere, cast.unseen_clip, tmp_path / "a.mkv", config, say=said.append)

    # 12 frames of 256x256, twice a byte a pixel: 1.6 MB.
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50_000))
        with pytest.raises(FaceswapError, match="about 2 MB may be needed, 0 MB is free"):
            convert()
        assert searches.count == 0 and names_in(tmp_path) == ["run"]
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
        convert()
    assert any("2 MB may be needed, 1 MB is free" in line for line in said)


def test_what_becomes_of_the_sound_is_said_before_the_work(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    clip, elsewhere, said = tmp_path / "in.mov", at(run, tmp_path / "run"), list[str]()
    with av.open(str(clip), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_s24le", rate=48000)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        heard = av.AudioFrame.from_ndarray(
            np.zeros((1, 2 * 5760), np.int32), format="s32", layout="stereo"
        )
        heard.sample_rate, heard.pts, heard.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(sound.encode(heard))
        container.mux(video.encode(None))

    def say(line: str) -> None:
        said.append(f"{searches.count} {line}")

    convert_file(elsewhere, clip, tmp_path / "a.mp4", ConvertConfig(), say=say)
    lines = [line for line in said if "sound (" in line]
    assert len(lines) == 1
    assert lines[0].startswith("0 warning: in.mov: a.mp4: sound (pcm_s24le) seldom plays")


def test_what_is_said_of_several_streams_is_one_line(tmp_path: Path) -> None:
    writer = ClipWriter(tmp_path / "a.mp4")
    writer.notes += ["sound is left out", "no chapters", "sound is left out"]
    assert writers.told(writer) == ["a.mp4: sound is left out (2 streams)", "a.mp4: no chapters"]


def test_a_track_asked_for_later_is_added(
    cast: Cast, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, mask = tmp_path / "swap.mp4", Tracks(mask=tmp_path / "mask.mp4")
    config, clip = ConvertConfig(), cast.unseen_clip
    convert_file(run, clip, out, config, say=silent)
    written = out.read_bytes()
    # The same files, called otherwise.
    monkeypatch.chdir(tmp_path)
    near, beside = Path("swap.mp4"), Tracks(mask=Path("mask.mp4"))
    assert not convert_file(run, clip, near, config, tracks=beside, say=silent).done_before
    assert out.read_bytes() == written
    assert (frames_of(tmp_path / "mask.mp4") > 250).any()
    monkeypatch.chdir(tmp_path.parent)
    for tracks in (mask, None):
        assert convert_file(run, clip, out, config, tracks=tracks, say=silent).done_before


# What viewers and machines are told.


def test_the_label_changes_its_box_alone(
    cast: Cast, run: TrainedRun, plain: Path, tmp_path: Path
) -> None:
    config = change_section(LOSSLESS, ["output.label=AI-generated"])
    tracks = all_tracks(tmp_path)
    convert_file(run, cast.unseen_clip, tmp_path / "swap.mkv", config, tracks=tracks, say=silent)
    wanted = frames_of(plain / "swap.mkv")
    for image in wanted:
        draw_label(image, "AI-generated")
    np.testing.assert_array_equal(frames_of(tmp_path / "swap.mkv"), wanted)
    changed = apart(wanted, frames_of(plain / "swap.mkv")).max(0) > 0
    assert changed.any() and not changed[: 256 * 3 // 4].any()
    for name in ("mask.mkv", "layer.mkv"):
        np.testing.assert_array_equal(layers_of(tmp_path / name), layers_of(plain / name))
    both = frames_of(tmp_path / "compare.mkv")
    np.testing.assert_array_equal(both[:, :, 256:], wanted)
    np.testing.assert_array_equal(both[:, :, :256], frames_of(cast.unseen_clip))


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("c2pa")
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(tmp_path_factory.mktemp("credentials")))


def test_a_signed_swap_holds(cast: Cast, run: TrainedRun, tmp_path: Path, signing: None) -> None:
    out = tmp_path / "swap.mp4"
    output = OutputConfig(c2pa=True)
    with pytest.raises(ValueError, match="needs something that signs"):
        convert_file(run, cast.unseen_clip, out, ConvertConfig(output=output), say=silent)
    convert_file(
        run, cast.unseen_clip, out, ConvertConfig(output=output),
        signing=signing_for(output), say=silent,
    )  # fmt: skip
    credentials = read_credentials(out)
    assert credentials is not None and credentials.state == "Valid"
    assert check_output(out).state == "unaltered"


def test_what_cannot_be_signed_is_refused_before_any_work(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches, signing: None
) -> None:
    config = ConvertConfig(output=OutputConfig(c2pa=True))
    with pytest.raises(FaceswapError, match=r"swap\.mkv"):
        convert_file(
            run, cast.unseen_clip, tmp_path / "swap.mkv", config,
            signing=signing_for(config.output), say=silent,
        )  # fmt: skip
    assert searches.count == 0 and names_in(tmp_path) == []


def test_consent_is_told(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    said = "Ada and Bruno, 2026-01-01: this clip"
    told = run.manifest.model_copy(update={"consent": said})
    out = tmp_path / "swap.mp4"
    convert_file(replace(run, manifest=told), cast.unseen_clip, out, ConvertConfig(), say=silent)
    assert sidecar(out)["consent"] == said
    # Of this clip alone, told when it is converted.
    convert_file(
        run, cast.unseen_clip, tmp_path / "b.mp4", ConvertConfig(), consent="Ada", say=silent
    )
    assert sidecar(tmp_path / "b.mp4")["consent"] == "Ada"


# A frame that fails.


@pytest.mark.parametrize("where", ["cutting", "colours", "placing"])
def test_a_frame_that_fails_passes_through_alone(
    cast: Cast,
    run: TrainedRun,
    before: np.ndarray,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    calls: list[int] = []
    # Each place, and which frame its caller is at.
    module, name, number = {
        "cutting": (paint, "align", lambda given: len(calls) - 1),
        "colours": (composite, "_look_at", lambda given: given[0].placement.frame),
        "placing": (composite, "_layer", lambda given: given[0].index),
    }[where]
    whole = getattr(module, name)

    def failing(*given: Any) -> Any:
        calls.append(1)
        if number(given) == 5:
            raise ValueError("it went\nwrong")
        return whole(*given)

    monkeypatch.setattr(module, name, failing)
    out, said = tmp_path / "swap.mkv", list[str]()
    summary = convert_file(run, cast.unseen_clip, out, LOSSLESS, say=said.append)
    assert (summary.frames, summary.swapped, summary.failed) == (FRAMES, FRAMES - 1, 1)
    assert "1 FAILED" in summary.line() and "1 passed through" in summary.line()
    facts = sidecar(out)
    assert (facts["swapped"], facts["passed_through"], facts["failed"]) == (FRAMES - 1, 1, 1)
    (line,) = [line for line in said if "it went" in line]
    assert "frame 5" in line and "\n" not in line
    made = frames_of(out)
    np.testing.assert_array_equal(made[5], before[5])
    others = [i for i in range(FRAMES) if i != 5]
    assert apart(made[others], frames_of(plain / "swap.mkv")[others]).mean() < 0.5
    assert (apart(made[others], before[others]).reshape(11, -1).max(1) > 8).all()


# Pictures.


@pytest.mark.parametrize("codec", ["ffv1", "hevc"])
def test_ten_bits_stay_ten_bits(cast: Cast, run: TrainedRun, tmp_path: Path, codec: str) -> None:
    # A slope far finer than 8 bits lies over the whole frame.
    slope = np.linspace(0, 8000, 256 * 256).reshape(256, 256).T[..., None]
    images = [
        np.round(image.astype(np.float64) * 220 + slope).astype(np.uint16)
        for image in frames_of(cast.unseen_clip)[:3]
    ]
    clip = write_clip(tmp_path / "deep.mkv", images, cast.unseen_clip, info={"bit_depth": 10})
    out = tmp_path / "swap.mkv"
    config = ConvertConfig(output=OutputConfig(codec=codec, quality=4))
    tracks = Tracks(mask=tmp_path / "mask.mkv", layer=tmp_path / "layer.mkv")
    convert_file(run, clip, out, config, tracks=tracks, say=silent)
    with open_clip(out) as reader:
        assert reader.info.bit_depth == (16 if codec == "ffv1" else 10)
    given, made, mask = frames_of(clip), frames_of(out), frames_of(tmp_path / "mask.mkv")
    assert made.dtype == np.uint16 == mask.dtype
    inside, outside = mask[..., 1] > 0.9 * 65535, mask[..., 1] == 0
    for part in (inside, outside):
        # In 10-bit steps: an 8-bit picture has one value in four.
        steps = made[1][part[1]][:, 1].astype(int) >> 6
        eight = np.unique(steps >> 2)
        assert len(np.unique(steps)) > 2.5 * len(eight) and len(np.unique(steps)) > 256
    if codec == "ffv1":
        np.testing.assert_array_equal(given[outside], made[outside])


def test_a_face_without_colour_stays_without(
    cast: Cast, run: TrainedRun, before: np.ndarray, tmp_path: Path
) -> None:
    grey = np.repeat(before.mean(-1, keepdims=True), 3, -1).astype(np.uint8)[:3]
    clip = write_clip(tmp_path / "in.mkv", list(grey), cast.unseen_clip)
    config = LOSSLESS.model_copy(update={"face": 0})
    convert_file(at(run, tmp_path / "run"), clip, tmp_path / "a.mkv", config, say=silent)
    swap = frames_of(tmp_path / "a.mkv")
    assert apart(swap, grey).max() > 20
    assert np.ptp(swap.astype(int), axis=-1).max() <= 1


def test_views_and_scale(cast: Cast, run: TrainedRun, plain: Path, tmp_path: Path) -> None:
    swap = frames_of(plain / "swap.mkv")
    config = LOSSLESS.model_copy(update={"test_time_augmentation": 4})
    convert_file(run, cast.unseen_clip, tmp_path / "views.mkv", config, say=silent)
    changed = apart(frames_of(tmp_path / "views.mkv"), swap)[:, FACE[0], FACE[1]]
    assert 0.1 < changed.mean() < 8

    config = LOSSLESS.model_copy(update={"scale": 1.1})
    mask = Tracks(mask=tmp_path / "mask.mkv")
    convert_file(run, cast.unseen_clip, tmp_path / "scale.mkv", config, tracks=mask, say=silent)
    large, usual = (frames_of(f / "mask.mkv")[..., 0].sum((1, 2)) for f in (tmp_path, plain))
    assert large / usual == pytest.approx(np.full(FRAMES, 1.1**2), rel=0.02)


def test_colours_are_steadier_the_more_frames_they_are_averaged_over(
    cast: Cast, run: TrainedRun, before: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A still with film's grain: what differs from frame to frame is noise alone.
    rng = np.random.default_rng(0)
    still = before[5].astype(np.float64)
    noisy = [np.clip(still + rng.normal(0, 6, still.shape), 0, 255) for _ in range(FRAMES)]
    images = [np.round(image).astype(np.uint8) for image in noisy]
    clip = write_clip(tmp_path / "still.mkv", images, cast.unseen_clip)
    whole = composite._layer
    maps: dict[int, np.ndarray] = {}

    def seen(frame: Any, face: Any, color_map: Any, *given: Any) -> Any:
        maps[frame.index] = color_map.matrix
        return whole(frame, face, color_map, *given)

    monkeypatch.setattr(composite, "_layer", seen)
    changes = []
    for sigma in (0.0, 1.0, 4.0):
        config = ConvertConfig(color=ColorConfig(kind="mkl", steady=sigma))
        convert_file(at(run, tmp_path / "run"), clip, tmp_path / f"{sigma}.mp4", config, say=silent)
        matrices = np.stack([maps[i] for i in range(FRAMES)])
        changes.append(float(np.abs(np.diff(matrices, axis=0)).mean()))
    assert changes[0] > 2 * changes[1] > 2 * 2 * changes[2] > 0


def test_nothing_crosses_a_cut(
    cast: Cast, run: TrainedRun, before: np.ndarray, tmp_path: Path
) -> None:
    # In the dark, and backwards: the face does not jump at the cut, so that nothing else parts it.
    second = list((before[::-1][:8] // 2).astype(np.uint8))
    other = write_clip(tmp_path / "other.mkv", second, cast.unseen_clip)
    joined = write_clip(tmp_path / "both.mkv", [*before, *second], cast.unseen_clip)
    # Blocks of four begin at the cut as they do at a clip's start: the same batches, the same bits.
    # Grain is drawn by the frame's number, which is another in the joined clip.
    config = change_section(LOSSLESS, ["batch=4", "color.steady=5", "mask.steady=3", "grain=0"])
    for name, clip in (("a", cast.unseen_clip), ("b", other), ("ab", joined)):
        convert_file(run, clip, tmp_path / f"{name}.mkv", config, say=silent)
    a, b, ab = (frames_of(tmp_path / f"{name}.mkv") for name in ("a", "b", "ab"))
    np.testing.assert_array_equal(ab[FRAMES - 2 : FRAMES + 2], [*a[-2:], *b[:2]])
    np.testing.assert_array_equal(ab, [*a, *b])


# The sheet.


def cells_of(path: Path, columns: int) -> list[list[np.ndarray]]:
    sheet, step = read_image(path), SETTINGS_CELL_PX + TITLE_PX
    assert sheet.shape[1] == columns * SETTINGS_CELL_PX and (sheet.shape[0] - TITLE_PX) % step == 0
    return [
        [
            sheet[top + TITLE_PX : top + step, n * SETTINGS_CELL_PX : (n + 1) * SETTINGS_CELL_PX]
            for n in range(columns)
        ]
        for top in range(TITLE_PX, sheet.shape[0], step)
    ]


def test_a_sheet_has_a_row_for_each_try(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    tries = ["color.kind=skin_gain", "color.kind=none scale=1.2"]
    config = ConvertConfig(output=OutputConfig(label="not on a sheet"), color=ColorConfig(steady=9))
    settings_sheet(run, as_clip(cast.unseen_clip), out, config, tries, frames=3, say=silent)
    clip, as_set, same, other = cells_of(out, 3)
    for n in range(3):
        np.testing.assert_array_equal(as_set[n], same[n])
        assert apart(clip[n], as_set[n]).max() > 8 and apart(as_set[n], other[n]).mean() > 1
    assert apart(clip[0], clip[2]).mean() > 1, "another frame in each column"
    assert read_synthetic_mark(out) is not None
    assert names_in(tmp_path) == ["sheet.png"]


def test_a_sheet_without_tries_shows_the_usual_ones(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    settings_sheet(
        run, as_clip(cast.unseen_clip), tmp_path / "a.png", ConvertConfig(), frames=2, say=silent
    )
    assert len(cells_of(tmp_path / "a.png", 2)) == 9


def test_a_sheet_shows_the_masks_of_the_conversion(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    config = ConvertConfig(
        mask=MaskConfig(folder=str(draw_masks(tmp_path / "masks", slice(0, 256))))
    )
    settings_sheet(
        run, as_clip(cast.unseen_clip), tmp_path / "a.png", config, [""], frames=2, say=silent
    )
    clip, as_set, _ = cells_of(tmp_path / "a.png", 2)
    np.testing.assert_array_equal(clip, as_set)


def test_a_sheet_is_refused_before_any_work(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    out, clip = tmp_path / "sheet.png", cast.unseen_clip
    elsewhere = at(run, tmp_path / "run")
    with pytest.raises(UsageError, match=r"convert\.colour: no such option; did you mean color"):
        settings_sheet(elsewhere, as_clip(clip), out, ConvertConfig(), ["colour=none"], say=silent)
    with pytest.raises(UsageError, match="must read"):
        settings_sheet(elsewhere, as_clip(clip), out, ConvertConfig(), ["color"], say=silent)
    out.write_text("mine")
    with pytest.raises(FaceswapError, match="exists"):
        settings_sheet(elsewhere, as_clip(clip), out, ConvertConfig(), say=silent)
    assert searches.count == 0 and out.read_text() == "mine"
    tries = ["mask.kind=hull"]
    settings_sheet(
        elsewhere, as_clip(clip), out, ConvertConfig(), tries, overwrite=True, say=silent
    )
    assert read_image(out).size


def test_a_sheet_is_a_picture(
    cast: Cast, run: TrainedRun, tmp_path: Path, searches: Searches
) -> None:
    elsewhere = at(run, tmp_path / "run")
    with pytest.raises(FaceswapError, match=r"sheet\.mp4"):
        settings_sheet(
            elsewhere, as_clip(cast.unseen_clip), tmp_path / "sheet.mp4", LOSSLESS, say=silent
        )
    assert searches.count == 0


def test_a_sheet_of_a_clip_without_the_face_is_refused(run: TrainedRun, tmp_path: Path) -> None:
    write_image(tmp_path / "grey.png", np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(FaceswapError, match=r"grey\.png.*in no frame"):
        settings_sheet(
            run, as_clip(tmp_path / "grey.png"), tmp_path / "a.png", ConvertConfig(), say=silent
        )


def test_evaluate_measures_what_convert_makes(
    cast: Cast, run: TrainedRun, plain: Path, tmp_path: Path
) -> None:
    reports = [
        figures_of(
            evaluate_clips(
                [Contender(run, LOSSLESS)], [as_clip(cast.unseen_clip)], tmp_path / f"{name}.json",
                EvaluateConfig(), converted=converted, say=silent,
            )
        )
        for name, converted in (("fresh", []), ("converted", [plain / "swap.mkv"]))
    ]  # fmt: skip
    for name, value in reports[0].items():
        near = value if value is None else pytest.approx(value, rel=1e-3)
        assert reports[1][name] == near, name
    # The comparison is one: another conversion has other figures.
    config = LOSSLESS.model_copy(update={"scale": 1.2})
    convert_file(run, cast.unseen_clip, tmp_path / "other.mkv", config, say=silent)
    other = figures_of(
        evaluate_clips(
            [Contender(run, LOSSLESS)], [as_clip(cast.unseen_clip)], tmp_path / "other.json",
            EvaluateConfig(), converted=[tmp_path / "other.mkv"], say=silent,
        )
    )  # fmt: skip
    assert other["sharpness_ratio"] != pytest.approx(reports[0]["sharpness_ratio"], rel=1e-3)


def test_only_this_conversion_s_hidden_files_are_cleaned_up(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    """A neighbour's work, and what only looks like ours, stay."""
    others = [
        tmp_path / ".swap.mp4.holiday.work" / "mine.txt",
        tmp_path / ".swap.mp4.mkv.0123456789abcdef.work" / "piece",
        tmp_path / ".swap.mp4.my.partial.json",
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    stale = tmp_path / ".swap.mp4.0123456789abcdef.work"
    stale.mkdir()
    convert_file(run, cast.unseen_clip, tmp_path / "swap.mp4", ConvertConfig(), say=silent)
    assert all(path.read_text() == "mine" for path in others)
    assert not stale.exists()


def test_an_empty_folder_may_become_the_output(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    convert_file(run, cast.unseen_clip, tmp_path / "frames", ConvertConfig(), say=silent)
    assert len(list((tmp_path / "frames").glob("*.png"))) == 12


@pytest.mark.parametrize("garbage", ["{}", '{"end":[1]}', '{"end":[0,null,[]]}', "[" * 100_000])
def test_a_broken_journal_is_as_good_as_none(
    garbage: str, cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    elsewhere = at(run, tmp_path / "run")
    convert_file(elsewhere, cast.unseen_clip, tmp_path / "a.mkv", ConvertConfig(), say=silent)
    (kept,) = (elsewhere.path / "faces").iterdir()
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join([lines[0], garbage, *lines[2:]]) + "\n")
    convert_file(elsewhere, cast.unseen_clip, tmp_path / "b.mkv", ConvertConfig(), say=silent)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_nothing_that_is_read_is_written_to(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    write_image(photo, np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(FaceswapError, match="is what this command reads"):
        settings_sheet(run, as_clip(photo), photo, ConvertConfig(), overwrite=True, say=silent)
    with pytest.raises(FaceswapError, match="holds another output"):
        convert_file(
            run,
            cast.unseen_clip,
            tmp_path / "n",
            ConvertConfig(),
            tracks=Tracks(mask=tmp_path / "n" / "m.mp4"),
            say=silent,
        )
    with pytest.raises(FaceswapError, match="is not a name for an output"):
        convert_file(run, cast.unseen_clip, Path("."), ConvertConfig(), say=silent)


def test_tracks_are_told_unaltered_and_a_later_consent_is_recorded(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    out, mask = tmp_path / "swap.mkv", tmp_path / "mask.mkv"
    given: dict[str, Any] = {"tracks": Tracks(mask=mask), "say": silent}
    convert_file(run, cast.unseen_clip, out, LOSSLESS, consent="Anna, 2 May", **given)
    assert check_output(mask).state == check_output(out).state == "unaltered"
    mask.write_bytes(mask.read_bytes() + b" ")
    assert check_output(mask).state == "altered"
    again = convert_file(run, cast.unseen_clip, out, LOSSLESS, consent="Anna: 3 May", **given)
    assert again.done_before
    assert json.loads((tmp_path / "swap.mkv.json").read_text())["consent"] == "Anna: 3 May"


def test_a_finished_conversion_stays_known_where_its_folder_is_copied(
    cast: Cast, run: TrainedRun, plain: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    shutil.copytree(plain, folder)
    convert = partial(convert_file, run, cast.unseen_clip, folder / "swap.mkv", LOSSLESS)
    assert convert(tracks=all_tracks(folder), say=silent).done_before
    assert check_output(folder / "mask.mkv").state == "unaltered"
    # A mask is no layer: what the sidecar calls otherwise is not taken for what is asked.
    with pytest.raises(FaceswapError, match=r"mask\.mkv: exists"):
        convert(tracks=Tracks(layer=folder / "mask.mkv"), say=silent)
