"""Other tools' crop geometries, by what those tools themselves cut."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Cast, silent

from faceswap_lite.config import ExtractConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import (
    CROP_COVERAGES,
    align,
    coverage_eyes,
    cut_crop,
    frontal_to_crop,
    inner_view,
)
from faceswap_lite.faces.face_set import FaceSet, open_face_set
from faceswap_lite.faces.geometries import GEOMETRIES
from faceswap_lite.faces.hull import face_mask
from faceswap_lite.faces.recut import recut
from faceswap_lite.geometry import compose, invert_similarity, similarity_scale, transform_points
from faceswap_lite.media.reading import open_clip
from faceswap_lite.metrics.landmarks import CANONICAL_FIVE
from faceswap_lite.runs.load import load_run
from faceswap_lite.training import resume
from faceswap_lite.training.train import train

TYPES = {
    "half_face": "dfl_half",
    "midfull_face": "dfl_mid",
    "full_face": "dfl_full",
    "whole_face": "dfl_whole",
    "head": "dfl_head",
}
CORNERS = np.array([[0.0, 0.0], [256, 0], [256, 256], [0, 256]])


@pytest.fixture(scope="module")
def geometry(fixtures_dir: Path) -> dict[str, np.ndarray]:
    with np.load(fixtures_dir / "deepfacelab/faces/geometry.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("of_tool", TYPES)
def test_the_crop_is_the_tools_own(geometry: dict[str, np.ndarray], of_tool: str) -> None:
    row = geometry["types"].tolist().index(of_tool)
    for points, matrices in zip(geometry["landmarks68"], geometry["matrices"], strict=True):
        ours = align(points, "ibug68", TYPES[of_tool], 256)
        shown = transform_points(CORNERS, invert_similarity(matrices[row]))
        off = np.linalg.norm(transform_points(shown, ours) - CORNERS, axis=1)
        assert off.max() < 0.05  # px of a crop of 256


@pytest.mark.parametrize("coverage", GEOMETRIES)
def test_a_margin_lies_around_the_crop(geometry: dict[str, np.ndarray], coverage: str) -> None:
    points = geometry["landmarks68"][0]
    with_margin = align(points, "ibug68", coverage, 333, margin=0.15)
    inner = compose(with_margin, inner_view(333, 0.15, 256, 0.0)[0])
    plain = align(points, "ibug68", coverage, 256)
    shown = transform_points(CORNERS, invert_similarity(plain))
    # The tools call a crop's first pixel's centre its edge: half a pixel of difference at most.
    assert np.abs(transform_points(shown, inner) - CORNERS).max() < 0.5


@pytest.mark.parametrize("coverage", GEOMETRIES)
def test_a_frontal_face_is_where_it_is_said_to_be(coverage: str) -> None:
    frontal = align(CANONICAL_FIVE, "five", coverage, 100)
    assert frontal == pytest.approx(frontal_to_crop(coverage, 100), abs=1e-9)
    eyes = 100 / CROP_COVERAGES[coverage]
    assert similarity_scale(frontal_to_crop(coverage, 100)) == pytest.approx(eyes)
    # Of the tools' crops, all hold the whole of eyes, nose and mouth.
    inside = transform_points(CANONICAL_FIVE, frontal_to_crop(coverage, 100))
    assert (inside > 0).all() and (inside < 100).all()


def test_extraction_knows_them() -> None:
    assert ExtractConfig(crop_coverage="dfl_whole").crop_coverage in CROP_COVERAGES


def test_faces_are_cut_anew_inside_what_is_stored(cast: Cast) -> None:
    faces = open_face_set(cast.source)
    assert faces.coverage == "face"
    anew = recut(faces, "dfl_mid")
    assert anew.coverage == "dfl_mid" and len(anew.faces) == len(faces.faces)
    assert 0.2 < anew.faces[0].record.margin < 0.5

    # The same picture as one that is cut from the frame.
    record = faces.faces[0].record
    matrix = align(record.landmarks.astype(np.float64), "five", "dfl_mid", 96)
    with open_clip(cast.source_clip) as reader:
        frame = next(f for f in reader if f.index == record.frame_index)
    direct = cut_crop(frame.image, matrix, 96)
    off = np.abs(anew.crops(96, 0.0)[0].astype(float) - direct)
    assert off.mean() < 4  # of 255: cut twice, it is a little softer
    mask = face_mask(*anew.faces[0].record.outline, matrix, 96)
    assert np.abs(anew.masks(96, 0.0)[0] / 255 - mask).mean() < 0.02

    with pytest.raises(FaceswapError, match=r"do not show all of dfl_head; extract again"):
        recut(faces, "dfl_head")
    assert recut(faces, "face") is faces


def test_a_new_run_cuts_its_two_sets_alike(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    lines: list[str] = []
    config = cast.config.model_copy(
        update={"training": cast.config.training.model_copy(update={"steps": 1})}
    )
    for overwrite in (False, True):
        train(
            recut(source, "dfl_mid"), target, tmp_path / "run", config,
            overwrite=overwrite, say=lines.append,
        )  # fmt: skip
        assert f"{target.path}: its faces, cut as face, are cut anew as dfl_mid" in lines
        lines.clear()
    assert load_run(tmp_path / "run").manifest.coverage == "dfl_mid"

    def refused(faces: FaceSet, coverage: str) -> FaceSet:
        raise FaceswapError("too little")

    monkeypatch.setattr(resume, "recut", refused)
    with pytest.raises(FaceswapError, match=r"as dfl_mid, .* as face, and neither shows all"):
        train(recut(source, "dfl_mid"), target, tmp_path / "other", config, say=silent)


# What FaceSwap itself adds to the middle of a legacy crop, in edges of the crop, for the faces of
# `landmarks68`: right, down.
MOVED = {
    "fs_face": [[-0.0057, -0.0837], [-0.0043, -0.084], [-0.0009, -0.0835], [-0.0033, -0.0825],
                [-0.0042, -0.0818], [-0.0047, -0.0796], [-0.0032, -0.08]],
    "fs_head": [[-0.0239, -0.0928], [-0.0187, -0.0909], [-0.004, -0.097], [-0.0159, -0.0884],
                [-0.0197, -0.0839], [-0.0195, -0.0758], [-0.0138, -0.0802]],
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_faceswaps_crops_follow_the_turned_head(geometry: dict[str, np.ndarray], name: str) -> None:
    middle = np.array([[0.5, 0.5]])
    for points, moved in zip(geometry["landmarks68"], MOVED[name], strict=True):
        crop = align(points, "ibug68", name, 1.0)
        legacy = transform_points(
            middle, invert_similarity(align(points, "ibug68", "fs_legacy", 1))
        )
        ours = transform_points(legacy, crop)[0] - middle[0]
        assert np.linalg.norm(ours + moved) < 0.012


def test_faceswaps_crops_by_centring_and_coverage() -> None:
    for name in ("fs_legacy", "fs_face", "fs_head"):
        whole, part = frontal_to_crop(name, 100), frontal_to_crop(f"{name}@87.5", 100)
        assert similarity_scale(whole) == pytest.approx(0.875 * similarity_scale(part))
        # About one middle.
        middle = np.array([[50.0, 50.0]])
        shown = [transform_points(middle, invert_similarity(m)) for m in (whole, part)]
        assert np.allclose(shown[0], shown[1])
        assert ExtractConfig(crop_coverage=f"{name}@87.5")
        # A frontal face stands in the middle of it.
        assert shown[0][0, 0] == pytest.approx(0, abs=0.03)
    # The unit box is 62.5 % of the legacy crop's side, and as long as the mean face is wide.
    eyes = similarity_scale(frontal_to_crop("fs_legacy", 1)) / (1 - 0.375)
    assert eyes == pytest.approx(similarity_scale(frontal_to_crop("dfl_half", 1)))
    for name in ("fs_face@5", "fs_face@101", "fs_nose@90", "dfl_half@90", "nose"):
        with pytest.raises(ValueError, match="coverage"):
            coverage_eyes(name)
