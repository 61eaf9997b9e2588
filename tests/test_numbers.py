"""What pictures and masks are called by: a clip's own numbers; folders that are there already."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cast, convert_file, silent
from PIL import Image

from faceswap_lite.config import ConvertConfig, MaskConfig
from faceswap_lite.conversion.settings import find_user_masks
from faceswap_lite.conversion.settings_sheet import settings_sheet
from faceswap_lite.conversion.writers import Tracks
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.media import sinks
from faceswap_lite.media.clips import TIMES_NAME, find_clips, passed_over
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.media.writing import ClipWriter
from faceswap_lite.runs.trained import TrainedRun

SIZE = (48, 64)


def grey(level: int) -> np.ndarray:
    return np.full((*SIZE, 3), level, np.uint8)


def sequence(folder: Path, *numbers: int, name: str = "shot.{:04d}.png") -> Path:
    folder.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(grey(number % 250)).save(folder / name.format(number))
    return folder


def numbers_of(path: Path, start_number: int | None = None) -> list[int]:
    with open_clip(path, start_number) as reader:
        frames = list(reader)
        assert (reader.info.first_number, reader.info.last_number) == (
            frames[0].number,
            frames[-1].number,
        )
        assert [frame.index for frame in frames] == list(range(len(frames)))
        return [frame.number for frame in frames]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_sequence_has_its_own_numbers(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "a", 1001, 1002, 1005)
    assert numbers_of(folder) == [1001, 1002, 1005]
    assert numbers_of(folder, 1) == [1, 2, 5]
    # A picture that cannot be read takes its number with it.
    (folder / "shot.1001.png").write_bytes(b"none")
    with open_clip(folder) as reader:
        assert [(f.index, f.number) for f in reader] == [(0, 1002), (1, 1005)]
    mixed = sequence(tmp_path / "m", 10, 11)
    (mixed / "shot.0011.png").rename(mixed / "shot.0011.jpg")
    with open_clip(mixed) as reader:
        assert [frame.number for frame in reader] == [10, 11]
    # Photos have numbers, too, and are no frames; nor do numbers tell that do not rise.
    photos = sequence(tmp_path / "b", 7, 9, name="IMG_{}_edited.png")
    assert numbers_of(photos) == [1, 2]
    twice = sequence(tmp_path / "c", 1, 2)
    (twice / "shot.01.png").write_bytes((twice / "shot.0001.png").read_bytes())
    assert numbers_of(twice) == [1, 2, 3]


def test_a_video_counts_from_one_or_as_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with ClipWriter(path, width=64, height=48) as writer:
        for pts in range(3):
            writer.write(grey(pts), pts)
    assert numbers_of(path) == [1, 2, 3]
    assert numbers_of(path, 0) == [0, 1, 2]


@pytest.mark.parametrize("stop", [None, 3])
def test_written_pictures_carry_the_numbers_and_a_killed_writer_goes_on(
    tmp_path: Path, stop: int | None
) -> None:
    numbers, out = [1001, 1002, 1005, 1006, 1010], tmp_path / "out"
    options: dict[str, Any] = {"work": tmp_path / "work", "piece_frames": 2}
    if stop is not None:
        with pytest.raises(KeyboardInterrupt), ClipWriter(out, **options) as writer:
            for place, number in enumerate(numbers[:stop]):
                writer.write(grey(number % 250), place, number=number)
            raise KeyboardInterrupt
    with ClipWriter(out, **options) as writer:
        assert writer.done == (2 if stop else 0)
        for place in range(writer.done, len(numbers)):
            writer.write(grey(numbers[place] % 250), place, number=numbers[place])
    names = [f"frame_{number:06d}.png" for number in numbers]
    assert names_in(out) == [*names, TIMES_NAME]
    assert list(json.loads((out / TIMES_NAME).read_text())["pts"]) == names
    assert numbers_of(out) == numbers
    with open_clip(out) as reader:
        assert [int(f.image[0, 0, 0]) for f in reader] == [n % 250 for n in numbers]


# Masks.


def masks_for(
    run: TrainedRun, clip: Path, masks: Path, start_number: int | None = None
) -> dict[int, int]:
    """By frame, the grey of its mask."""
    config = ConvertConfig(mask=MaskConfig(folder=str(masks)), start_number=start_number)
    given = find_user_masks(config, run, as_clip(clip))
    assert given is not None
    found = {}
    with open_clip(clip, start_number) as reader:
        for frame in reader:
            mask = given.frame_mask(frame.index, SIZE, frame.number)
            if mask is not None:
                found[frame.index] = round(float(mask[0, 0]) * 255)
    return found


def test_masks_are_read_by_the_clip_s_numbers(run: TrainedRun, tmp_path: Path) -> None:
    clip = sequence(tmp_path / "clip", 1001, 1002, 1005)
    masks = sequence(tmp_path / "masks", 1002, 1005, name="matte_{}.png")
    assert masks_for(run, clip, masks) == {1: 2, 2: 5}
    assert masks_for(run, clip, sequence(tmp_path / "nought", 0, 4, name="m{}.png")) == {0: 0, 2: 4}
    few = sequence(tmp_path / "few", 1, 2)
    assert masks_for(run, clip, few, start_number=1) == {0: 1, 1: 2}
    with pytest.raises(FaceswapError, match=r"few: .*1 to 2, .*1001 to 1005.*--start-number"):
        masks_for(run, clip, few)


# Conversions.


def pictures(cast: Cast, folder: Path, first: int, count: int) -> Path:
    folder.mkdir()
    with open_clip(cast.unseen_clip) as reader:
        for frame in reader:
            if frame.index < count:
                name = f"plate.{first + frame.index}.png"
                Image.fromarray(frame.image).save(folder / name)
    return folder


def test_a_span_and_its_mask_are_called_as_the_clip_s_pictures(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    clip = pictures(cast, tmp_path / "clip", 1001, 6)
    out, mask = tmp_path / "out", tmp_path / "mask"
    config = ConvertConfig(start=2, end=4)
    convert_file(run, clip, out, config, tracks=Tracks(mask=mask), say=silent)
    names = ["frame_001003.png", "frame_001004.png", TIMES_NAME]
    assert names_in(out) == names_in(mask) == names
    # What was written goes in again, by its numbers.
    again = config.model_copy(update={"mask": MaskConfig(folder=str(mask))})
    convert_file(run, clip, tmp_path / "again", again, say=silent)
    assert names_in(tmp_path / "again") == names
    # Of a video, too; and as the caller says.
    convert_file(run, cast.unseen_clip, tmp_path / "video", config, say=silent)
    assert names_in(tmp_path / "video")[:2] == ["frame_000003.png", "frame_000004.png"]
    said = config.model_copy(update={"start_number": 50})
    convert_file(run, clip, tmp_path / "said", said, say=silent)
    assert names_in(tmp_path / "said")[:2] == ["frame_000052.png", "frame_000053.png"]


@pytest.fixture
def short(cast: Cast, run: TrainedRun, tmp_path: Path) -> Any:
    def convert(out: Path, **options: Any) -> Any:
        config = ConvertConfig(start=2, end=4)
        return convert_file(run, cast.unseen_clip, out, config, say=silent, **options)

    return convert


def test_a_folder_that_is_there_is_filled_and_stays_itself(short: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o750)
    before = out.stat()
    assert short(out).frames == 2
    after = out.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert len(names_in(out)) == 3 and short(out).done_before
    assert short(out, overwrite=True).frames == 2 and out.stat().st_ino == before.st_ino
    assert names_in(tmp_path) == ["out", "out.json"]


def test_a_fill_that_was_killed_goes_on(
    short: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    true_link, calls = os.link, list[int]()

    def link(*given: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        true_link(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sinks.os, "link", link)
        short(out)
    assert len(names_in(out)) == 2
    assert short(out).frames == 2
    assert len(names_in(out)) == 3 and names_in(tmp_path) == ["out", "out.json"]


@pytest.mark.parametrize("name", ["notes.txt", "frame_000099.png"])
def test_a_stranger_in_a_folder_keeps_it(short: Any, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    short(out)
    (out / name).write_text("mine")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(FaceswapError, match=rf"holds {name}, which this command did not write"):
        short(out, overwrite=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / name).write_text("mine")
    with pytest.raises(FaceswapError, match="empty"):
        short(empty)
    assert names_in(empty) == [name]


def test_an_empty_folder_in_the_place_of_a_video_stays(short: Any, tmp_path: Path) -> None:
    (tmp_path / "swap.mp4").mkdir()
    with pytest.raises(FaceswapError, match=r"swap\.mp4"):
        short(tmp_path / "swap.mp4")
    assert names_in(tmp_path) == ["swap.mp4"]


def test_a_face_set_is_no_clip(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    crop = open_face_set(cast.target).faces[0].path
    config = ConvertConfig()
    for clip in (cast.target, crop):
        with pytest.raises(FaceswapError, match=r"face set, no clip: .*target\.mp4"):
            convert_file(run, clip, tmp_path / "a.png", config, say=silent)
    with pytest.raises(FaceswapError, match="is a face set, no clip"):
        settings_sheet(run, as_clip(cast.target), tmp_path / "b.png", config, say=silent)
    assert names_in(tmp_path) == []


# What a folder holds beside.


def test_files_that_are_left_out_are_counted_and_named(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "a", 1, 2, 3, 4)
    for number in (11, 12, 13, 14):
        (folder / f"shot.{number:04d}.png").write_bytes(b"none")
    Image.fromarray(grey(9)[:20]).save(folder / "shot.0005.png")
    (folder / "readme.txt").write_text("")
    (folder / ".shot.0006.png").write_bytes(b"")
    with open_clip(folder) as reader:
        assert len(list(reader)) == 5
        problems = reader.problems
    assert problems == [
        "4 files cannot be read and are left out: shot.0011.png, shot.0012.png, shot.0013.png, ...",
        "1 file is not 64x48 as the first is: shot.0005.png",
        "2 files are skipped, for their suffixes or as hidden: .shot.0006.png, readme.txt",
    ]


def test_a_folder_of_clips_tells_what_it_passes_over(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "a", 1, name="photo{}.png")
    (folder / "photo2.heic").write_bytes(b"")
    taken = {clip.name for clip in find_clips([folder])}
    assert passed_over(folder, taken) == "1 file is a picture of a kind not read: photo2.heic"
    assert passed_over(folder, taken | {"photo2.heic"}) == ""
