"""Masks that a person drew, of frames and of crops, in conversion and in training."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Cast
from PIL import Image
from test_face_set import FRAME, MARGIN, SIZE, make_face, make_set

from faceswap_lite.config import Config
from faceswap_lite.curation.curate import curate_faces, undo_curation
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import cut_crop
from faceswap_lite.faces.face_set import MASKS_FOLDER, REJECTED_FOLDER, open_face_set
from faceswap_lite.faces.records import write_crop
from faceswap_lite.faces.user_masks import UserMasks, masks_line, user_mask_views, user_masks_for
from faceswap_lite.geometry import transform_points
from faceswap_lite.runs.manifest import describe_identity, read_manifest
from faceswap_lite.training.loading import load_pixels
from faceswap_lite.training.train import train

CLIP = "print of a.mp4"
SHAPE = (FRAME, FRAME)


def write(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def boxed(shape: tuple[int, int] = SHAPE, box: tuple[int, int, int, int] = (60, 90, 70, 110)):
    """White with a black box: rows from, to, columns from, to."""
    mask = np.full(shape, 255, np.uint8)
    mask[box[0] : box[1], box[2] : box[3]] = 0
    return mask


def flat(value: int) -> np.ndarray:
    return np.full(SHAPE, value, np.uint8)


def only_line(error: pytest.ExceptionInfo[FaceswapError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Pictures of frames.


@pytest.mark.parametrize("first", [0, 1])
def test_frames_count_from_one_unless_one_is_numbered_nought(tmp_path: Path, first: int) -> None:
    for place in (0, 3):
        write(tmp_path / f"shot2_{place + first:06d}.png", flat(50 * place))
    masks = UserMasks(tmp_path)
    assert masks.frames == [0, 3]
    for place in (0, 3):
        mask = masks.frame_mask(place, SHAPE)
        assert mask is not None and mask.dtype == np.float32
        np.testing.assert_allclose(mask, 50 * place / 255)
    assert masks.frame_mask(1, SHAPE) is None


def test_every_kind_of_png_reads_alike(tmp_path: Path) -> None:
    grey = boxed()
    alpha = np.zeros_like(grey)
    kinds = [
        grey,
        grey.astype(np.uint16) * 257,
        np.dstack([grey] * 3),
        np.dstack([grey] * 3 + [alpha]),
        np.dstack([grey, alpha]),
        grey > 0,
    ]
    for number, kind in enumerate(kinds, 1):
        write(tmp_path / f"{number}.png", kind)
    masks = UserMasks(tmp_path)
    for index in range(len(kinds)):
        np.testing.assert_array_equal(masks.frame_mask(index, SHAPE), grey / np.float32(255))


def test_another_size_is_scaled_and_another_aspect_refused(tmp_path: Path) -> None:
    write(tmp_path / "m_1.png", boxed((120, 213), (30, 60, 60, 90)))  # 16:9, in whole pixels
    masks = UserMasks(tmp_path)
    mask = masks.frame_mask(0, (480, 854))
    assert mask is not None and mask.shape == (480, 854)
    rows, columns = np.nonzero(mask < 0.5)
    assert [rows.min(), rows.max() + 1] == pytest.approx([120, 240], abs=1)
    assert [columns.min(), columns.max() + 1] == pytest.approx([240.6, 360.8], abs=1)
    small = masks.frame_mask(0, (60, 107))
    assert small is not None and small.min() == 0
    with pytest.raises(FaceswapError) as error:
        masks.frame_mask(0, (480, 640))
    assert "213x120" in only_line(error) and "640x480" in only_line(error)


# Pictures of crops.


def test_a_mask_given_both_ways_is_the_same(tmp_path: Path) -> None:
    _, _, record = make_face(5)
    frame_mask = boxed()
    write(tmp_path / "frames" / "frame_000006.png", frame_mask)
    of_crop = cut_crop(np.dstack([frame_mask] * 3), record.frame_to_crop, SIZE)[..., 0]
    write(tmp_path / "crops" / "a_000005_0.png", of_crop)
    by_frame = UserMasks(tmp_path / "frames").frame_mask(5, SHAPE)
    crops = UserMasks(tmp_path / "crops", {"a_000005_0": record})
    by_crop = crops.frame_mask(5, SHAPE)
    assert by_frame is not None and by_crop is not None
    assert crops.frame_mask(4, SHAPE) is None
    # Two pixels on either side of an edge: the reach of the cubic kernel and of the blur back.
    near = np.ones((5, 5), np.uint8)
    edge = cv2.dilate(frame_mask, near) != cv2.erode(frame_mask, near)
    assert np.abs(by_frame - by_crop)[~edge].max() < 0.02
    # And no shift: what is black in sum, and where its middle is.
    for one in (by_frame, by_crop):
        weight = 1 - one
        assert weight.sum() == pytest.approx(30 * 40, rel=0.02)
        rows, columns = np.mgrid[:FRAME, :FRAME]
        assert (weight * rows).sum() / weight.sum() == pytest.approx(74.5, abs=0.1)
        assert (weight * columns).sum() / weight.sum() == pytest.approx(89.5, abs=0.1)


def test_beside_the_crop_all_may_be_swapped_and_crops_multiply(tmp_path: Path) -> None:
    _, _, record = make_face(0)
    for face, value in ((0, 128), (1, 64)):
        write(tmp_path / f"a_000000_{face}.png", np.full((SIZE, SIZE), value, np.uint8))
    crops = {f"a_000000_{face}": record for face in (0, 1)}
    mask = UserMasks(tmp_path, crops).frame_mask(0, (FRAME, FRAME))
    assert mask is not None
    grid = np.stack(np.meshgrid(np.arange(FRAME), np.arange(FRAME)), -1).reshape(-1, 2)
    places = transform_points(grid.astype(np.float64), record.frame_to_crop).reshape(
        FRAME, FRAME, 2
    )
    inside = ((places > 0) & (places < SIZE - 1)).all(-1)
    outside = ((places < -2) | (places > SIZE + 1)).any(-1)
    assert inside.any() and outside.any()
    np.testing.assert_allclose(mask[inside], 128 / 255 * 64 / 255, atol=1e-5)
    assert (mask[outside] == 1).all()


def test_a_crop_may_be_drawn_on_at_another_size_but_not_aspect(tmp_path: Path) -> None:
    _, _, record = make_face(0)
    small = boxed((SIZE, SIZE), (40, 60, 40, 60))
    large = cv2.resize(small, (4 * SIZE, 4 * SIZE), interpolation=cv2.INTER_NEAREST)
    masks = []
    for name, picture in (("small", small), ("large", large)):
        write(tmp_path / name / "a_000000_0.png", picture)
        mask = UserMasks(tmp_path / name, {"a_000000_0": record}).frame_mask(0, SHAPE)
        assert mask is not None
        masks.append(mask)
    assert np.abs(masks[0] - masks[1]).mean() < 0.002
    assert (1 - masks[0]).sum() == pytest.approx((1 - masks[1]).sum(), rel=0.02)
    write(tmp_path / "wide" / "a_000000_0.png", boxed((SIZE, 2 * SIZE)))
    with pytest.raises(FaceswapError, match=rf"{2 * SIZE}x{SIZE}.*{SIZE}x{SIZE}"):
        UserMasks(tmp_path / "wide", {"a_000000_0": record}).frame_mask(0, SHAPE)


def test_a_set_says_which_clip_a_picture_is_of(tmp_path: Path) -> None:
    names = make_set(tmp_path / "set")
    _, crop, record = make_face(9, clip="b.mp4")
    write_crop(tmp_path / "set" / "b_000009_0.png", crop, record)
    for name in (names[1], names[2], "b_000009_0.png", "a_000777_0.png"):
        write(tmp_path / "masks" / name, boxed((SIZE, SIZE)))
    faces = open_face_set(tmp_path / "set")
    assert user_masks_for(tmp_path / "masks", faces, CLIP).frames == [1, 2]
    assert user_masks_for(tmp_path / "masks", faces, "print of b.mp4").frames == [9]
    # A mask of no crop would gate nothing, unseen.
    for unknown, opened in (("another clip", faces), (CLIP, None)):
        with pytest.raises(FaceswapError, match="none of those crops is of this clip"):
            user_masks_for(tmp_path / "masks", opened, unknown)


def test_masks_of_rejected_crops_hold(tmp_path: Path) -> None:
    names = make_set(tmp_path)
    write(tmp_path / MASKS_FOLDER / names[1], boxed((SIZE, SIZE)))
    aside = tmp_path / REJECTED_FOLDER / "covered"
    aside.mkdir(parents=True)
    shutil.move(tmp_path / names[1], aside / names[1])
    faces = open_face_set(tmp_path)
    assert user_masks_for(tmp_path / MASKS_FOLDER, faces, CLIP).frames == [1]
    assert masks_line(faces) == "0 of 3 faces have a mask of their own"


def test_frames_and_crops_of_a_sets_masks_multiply(tmp_path: Path) -> None:
    names = make_set(tmp_path)
    write(tmp_path / MASKS_FOLDER / names[0], np.full((SIZE, SIZE), 128, np.uint8))
    write(tmp_path / MASKS_FOLDER / "a" / "frame_000001.png", flat(64))
    faces = open_face_set(tmp_path)
    masks = user_masks_for(tmp_path / MASKS_FOLDER, faces, CLIP)
    mask = masks.frame_mask(0, SHAPE)
    middle = int(FRAME / 2)
    assert mask is not None
    assert mask[middle, middle] == pytest.approx(128 * 64 / 255**2, abs=1e-5)
    assert user_mask_views(faces, 48, 0.1)[0][24, 24] == round(128 * 64 / 255)
    write(tmp_path / MASKS_FOLDER / "frame_000002.png", flat(64))
    with pytest.raises(FaceswapError, match="mixes"):
        user_masks_for(tmp_path / MASKS_FOLDER, faces, CLIP)


# What is wrong with a folder.


def test_folders_without_masks_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(FaceswapError, match="no such folder"):
        UserMasks(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    Image.fromarray(flat(0)).save(tmp_path / "empty" / "1.jpg")
    with pytest.raises(FaceswapError, match="holds no PNG"):
        UserMasks(tmp_path / "empty")


def test_names_that_tell_too_little_or_too_much(tmp_path: Path) -> None:
    write(tmp_path / "none" / "mask.png", flat(0))
    with pytest.raises(FaceswapError, match="no number"):
        UserMasks(tmp_path / "none")
    for name in ("a_1.png", "b_01.png"):
        write(tmp_path / "twice" / name, flat(0))
    with pytest.raises(FaceswapError, match="same frame number"):
        UserMasks(tmp_path / "twice")
    for name in ("a_000000_0.png", "frame_01.png"):
        write(tmp_path / "mixed" / name, flat(0))
    with pytest.raises(FaceswapError, match="mixes"):
        UserMasks(tmp_path / "mixed", {"a_000000_0": make_face(0)[2]})


def test_a_broken_picture_is_one_line_when_it_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "m_1.png", boxed())
    broken = write(tmp_path / "m_2.png", np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8))
    broken.write_bytes(broken.read_bytes()[:3000])
    masks = UserMasks(tmp_path)
    assert masks.frame_mask(0, SHAPE) is not None
    with pytest.raises(FaceswapError) as error:
        masks.frame_mask(1, SHAPE)
    assert "m_2.png" in only_line(error)


def test_threads_get_their_own_frames(tmp_path: Path) -> None:
    for number in range(1, 31):
        write(tmp_path / f"{number}.png", flat(8 * number))
    masks = UserMasks(tmp_path)
    asked = [index for _ in range(4) for index in range(30)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda index: masks.frame_mask(index, SHAPE), asked))
    for index, mask in zip(asked, got, strict=True):
        assert mask is not None
        np.testing.assert_allclose(mask, 8 * (index + 1) / 255)


def test_what_is_handed_out_is_the_callers(tmp_path: Path) -> None:
    write(tmp_path / "1.png", boxed())
    masks = UserMasks(tmp_path)
    first = masks.frame_mask(0, SHAPE)
    assert first is not None
    first[:] = 7
    np.testing.assert_array_equal(masks.frame_mask(0, SHAPE), boxed() / np.float32(255))


def test_the_fingerprint_follows_the_pictures(tmp_path: Path) -> None:
    write(tmp_path / "1.png", boxed())
    before = UserMasks(tmp_path).fingerprint()
    assert UserMasks(tmp_path).fingerprint() == before
    write(tmp_path / "1.png", flat(0))
    after = UserMasks(tmp_path).fingerprint()
    write(tmp_path / "2.png", flat(0))
    assert len({before, after, UserMasks(tmp_path).fingerprint()}) == 3


# Training.


@pytest.mark.parametrize("kind", ["crop", "frame", "half"])
def test_a_black_box_is_absent_from_the_training_mask_where_it_lies(
    tmp_path: Path, kind: str
) -> None:
    names = make_set(tmp_path)
    before, _ = load_pixels(open_face_set(tmp_path), 64)
    _, _, record = make_face(1)
    frame_mask = boxed()
    if kind == "crop":
        of_crop = cut_crop(np.dstack([frame_mask] * 3), record.frame_to_crop, SIZE)[..., 0]
        write(tmp_path / MASKS_FOLDER / names[1], of_crop)
    else:
        step = 2 if kind == "half" else 1
        write(tmp_path / MASKS_FOLDER / "a" / "frame_000002.png", frame_mask[::step, ::step])
    faces = open_face_set(tmp_path)
    after, side = load_pixels(faces, 64)
    # Only that face's mask and features have changed.
    assert torch.equal(after[[0, 2, 3]], before[[0, 2, 3]])
    assert torch.equal(after[1, :3], before[1, :3])
    assert (after[1, 3:] <= before[1, 3:]).all()
    # The box's corners (pixel edges) in the view that training stores, worked out from scratch.
    scale = 64 * (1 + 2 * MARGIN) / SIZE
    corners = np.array([[70, 60], [110, 60], [70, 90], [110, 90]]) - 0.5
    corners = (transform_points(corners, record.frame_to_crop) + 0.5) * scale - 0.5
    assert round(64 * side) == after.shape[-1]
    grid = np.stack(np.meshgrid(*[np.arange(after.shape[-1])] * 2), -1).astype(np.float64)
    low, high = corners.min(0), corners.max(0)  # the actor is upright: so is the box
    assert np.abs(corners - [low, [high[0], low[1]], [low[0], high[1]], high]).max() < 1
    deep = ((grid > low + 2) & (grid < high - 2)).all(-1)
    away = ((grid < low - 2) | (grid > high + 2)).any(-1)
    old, new = before[1, 3].numpy(), after[1, 3].numpy()
    assert (old[deep] > 250).mean() > 0.9, "the box lies on the face"
    assert new[deep].max() <= 2
    np.testing.assert_allclose(new[away].astype(int), old[away], atol=2)


def test_a_set_with_white_masks_is_bit_identical(tmp_path: Path) -> None:
    names = make_set(tmp_path)
    before, _ = load_pixels(open_face_set(tmp_path), 64)
    assert user_mask_views(open_face_set(tmp_path), 64, MARGIN) == {}
    assert masks_line(open_face_set(tmp_path)) == ""
    assert describe_identity(open_face_set(tmp_path)).masks == ""
    for name in names:
        write(tmp_path / MASKS_FOLDER / name, np.full((SIZE, SIZE), 255, np.uint8))
    after, _ = load_pixels(open_face_set(tmp_path), 64)
    assert torch.equal(before, after)


def test_masks_are_no_crops(tmp_path: Path) -> None:
    names = make_set(tmp_path)
    for name in names[:2]:
        # A crop's own pixels, record and all, painted over: what a person's tool may write.
        (tmp_path / MASKS_FOLDER).mkdir(exist_ok=True)
        shutil.copy(tmp_path / name, tmp_path / MASKS_FOLDER / name)
    write(tmp_path / MASKS_FOLDER / "typo.png", flat(0))
    write(tmp_path / MASKS_FOLDER / "b" / "1.png", flat(0))
    faces = open_face_set(tmp_path)
    assert len(faces.faces) == 4 and faces.problems == []
    assert masks_line(faces) == ("2 of 4 faces have a mask of their own (2 in _masks fit none: b)")


def test_two_clips_of_one_name_are_not_guessed_at(tmp_path: Path) -> None:
    make_set(tmp_path)
    _, crop, record = make_face(9)
    other = record.model_copy(update={"clip_fingerprint": "another"})
    write_crop(tmp_path / "b_000009_0.png", crop, other)
    write(tmp_path / MASKS_FOLDER / "a" / "1.png", flat(0))
    with pytest.raises(FaceswapError, match="two clips"):
        load_pixels(open_face_set(tmp_path), 64)


def with_steps(config: Config, steps: int) -> Config:
    return config.model_copy(
        update={"training": config.training.model_copy(update={"steps": steps, "save_every": 2})}
    )


def test_a_run_says_and_records_the_masks_it_learns_from(cast: Cast, tmp_path: Path) -> None:
    source_path = tmp_path / "source"
    shutil.copytree(cast.source, source_path)
    target = open_face_set(cast.target)
    crop = open_face_set(source_path).faces[0]
    size = crop.record.size

    def run(steps: int) -> list[str]:
        lines: list[str] = []
        train(
            open_face_set(source_path), target, tmp_path / "run", with_steps(cast.config, steps),
            say=lines.append,
        )  # fmt: skip
        return lines

    def about_masks(lines: list[str]) -> list[str]:
        return [line for line in lines if "mask" in line]

    assert about_masks(run(2)) == []
    mask = write(source_path / MASKS_FOLDER / f"{crop.path.stem}.png", boxed((size, size)))
    count = len(open_face_set(source_path).faces)
    said = f"source: 1 of {count} faces have a mask of their own"
    added = about_masks(run(4))
    assert (
        len(added) == 2
        and said in added
        and "have changed since this run last saw them" in added[0]
    )
    recorded = read_manifest(tmp_path / "run").source.masks
    assert recorded == describe_identity(open_face_set(source_path)).masks != ""
    assert about_masks(run(6)) == [said]
    write(mask, np.zeros((size, size), np.uint8))
    assert len(about_masks(run(8))) == 2


def test_curation_leaves_masks_alone(cast: Cast, tmp_path: Path) -> None:
    path = tmp_path / "set"
    shutil.copytree(cast.source, path)
    crop = open_face_set(path).faces[0]
    size = crop.record.size
    mask = write(path / MASKS_FOLDER / crop.path.name, np.zeros((size, size), np.uint8))
    curate_faces(path, cast.config.curate, apply=True, reject=[crop.path.name])
    assert not crop.path.exists() and mask.exists()
    faces = open_face_set(path)
    assert masks_line(faces).startswith("0 of")
    masks = user_masks_for(path / MASKS_FOLDER, faces, crop.record.clip_fingerprint)
    assert masks.frames == [crop.record.frame_index]
    undo_curation(path)
    assert crop.path.exists() and masks_line(open_face_set(path)).startswith("1 of")
