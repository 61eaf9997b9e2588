"""Painted mouths and eyes moved as the clip's: lips, what is between them, lids, and when."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Cast, convert_file, silent

from faceswap_lite.actors.cast import ACTORS
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion import expression as expression_module
from faceswap_lite.conversion.expression import (
    FOLDER,
    ClipExpression,
    Follows,
    choose_expression,
    follows_well,
    lip_gain,
    measure,
)
from faceswap_lite.conversion.painted import PaintedFace, Placement
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import align, cut_crop
from faceswap_lite.faces.crop_landmarker import CropLandmarker
from faceswap_lite.faces.openings import lid_gaps, lip_gaps, with_lids, with_mouth
from faceswap_lite.media.sidecar import sidecar_path
from faceswap_lite.metrics.landmarks import MESH_LEFT_EYE, MESH_RIGHT_EYE, mouth_opening
from faceswap_lite.outputs import read_json
from faceswap_lite.runs.trained import TrainedRun

SIZE, EYES = 128, 40.0
SKIN, LIPS, TEETH = (0.8, 0.6, 0.5), (0.7, 0.2, 0.2), (0.9, 0.9, 0.8)
LINES = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
)
LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133))
ARCH = np.array([0, 0.5, 0.8, 0.9, 1, 1, 1, 0.9, 0.8, 0.5, 0])


def face_of(gap: float, turn_deg: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A drawn face whose lips lie `gap` pixels apart in the middle, and its points."""
    points = np.full((468, 2), SIZE / 2)
    points[list(MESH_LEFT_EYE)] = (SIZE - EYES) / 2, 40
    points[list(MESH_RIGHT_EYE)] = (SIZE + EYES) / 2, 40
    x = np.linspace(-18, 18, 11)
    heights = (-6 - 0 * ARCH, 0 * ARCH, gap * ARCH, 6 + gap * ARCH)
    for line, height in zip(LINES, heights, strict=True):
        points[list(line)] = np.stack([SIZE / 2 + x, 85 + height * (ARCH > 0)], 1)
    turn = np.radians(turn_deg)
    about = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    flat = (np.stack([columns, rows], -1) - SIZE / 2) @ about + SIZE / 2
    picture = np.broadcast_to(np.array(SKIN), (SIZE, SIZE, 3)).copy()
    inside = np.abs(flat[..., 0] - SIZE / 2) < 18
    down = flat[..., 1] - 85
    between = gap * np.interp(flat[..., 0] - SIZE / 2, x, ARCH)
    picture[inside & (down > -6) & (down < between + 6)] = LIPS
    picture[inside & (down > 0) & (down < between)] = TEETH
    return picture, (points - SIZE / 2) @ about.T + SIZE / 2


def test_gaps_are_in_eye_distances_and_never_below_0() -> None:
    _, points = face_of(8)
    assert lip_gaps(points)[5] == pytest.approx(8 / EYES)
    assert lip_gaps(points)[[0, -1]] == pytest.approx(0)
    _, crossed = face_of(-4)
    assert (lip_gaps(crossed) == 0).all()


@pytest.mark.parametrize("turn_deg", [0, 25, -40])
def test_shut_lips_open_as_wide_as_the_other_s(turn_deg: float) -> None:
    shut, shut_points = face_of(0, turn_deg)
    wide, wide_points = face_of(12, turn_deg)
    made = with_mouth(shut, shut_points, wide, wide_points)
    # The upper lip takes a quarter of the way: the lips part from 3 px above the line to 9 below.
    turn = np.radians(turn_deg)
    down = np.array([-np.sin(turn), np.cos(turn)])
    start = shut_points[13]
    for way, color in ((-2, TEETH), (7, TEETH), (-5, LIPS), (12, LIPS)):
        x, y = np.round(start + way * down).astype(int)
        np.testing.assert_allclose(made[y, x], color, atol=0.08, err_msg=str(way))
    assert made[:40] == pytest.approx(shut[:40])


def test_open_lips_shut_and_nothing_of_the_other_shows() -> None:
    wide, wide_points = face_of(12)
    shut, shut_points = face_of(0)
    made = with_mouth(wide, wide_points, shut, shut_points)
    column = made[80:105, SIZE // 2]
    assert not np.any(np.abs(column - TEETH).max(1) < 0.1)


def test_a_gain_widens_the_gap() -> None:
    shut, points = face_of(0)
    wide, wide_points = face_of(8)
    teeth = [
        np.sum(np.abs(with_mouth(shut, points, wide, wide_points, gain) - TEETH).max(2) < 0.1)
        for gain in (0.5, 1.0, 1.5)
    ]
    assert teeth[1] > 1.5 * teeth[0]
    assert teeth[2] > 1.3 * teeth[1]


def test_its_own_mouth_leaves_a_face_as_it_is() -> None:
    face, points = face_of(10)
    assert np.abs(with_mouth(face, points, face, points) - face).mean() < 0.003


def test_teeth_get_the_face_s_light() -> None:
    shut, points = face_of(0)
    wide, wide_points = face_of(12)
    made = with_mouth(shut * 0.6, points, wide, wide_points)
    np.testing.assert_allclose(made[89, SIZE // 2], np.array(TEETH) * 0.6, atol=0.04)


@pytest.mark.parametrize("shift", [(-70, 0), (70, 40), (0, 400)])
def test_a_mouth_at_the_border_is_no_error(shift: tuple[int, int]) -> None:
    face, points = face_of(0)
    wide, wide_points = face_of(12)
    made = with_mouth(face, points + shift, wide, wide_points)
    assert made.shape == face.shape
    assert np.isfinite(made).all()


def eye_of(gap: float) -> tuple[np.ndarray, np.ndarray]:
    """A drawn picture-left eye, 40 px wide, whose lids lie `gap` pixels apart, and its points."""
    points = np.full((468, 2), SIZE / 2)
    x = np.linspace(-20, 20, 9)
    arch = np.array([0, 0.6, 0.9, 1, 1, 1, 0.9, 0.6, 0])
    upper, lower = (line for line in LIDS)
    points[list(upper)] = np.stack([44 + x, 60 - gap / 2 * arch], 1)
    points[list(lower)] = np.stack([44 + x, 60 + gap / 2 * arch], 1)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    half = gap / 2 * np.interp(columns - 44, x, arch)
    picture = np.broadcast_to(np.array(SKIN), (SIZE, SIZE, 3)).copy()
    picture[np.abs(rows - 60) < half] = TEETH
    picture[(np.abs(rows - 60) < half) & (np.abs(columns - 44) < 3)] = 0
    return picture, points


def test_lids_slide_over_a_still_eye() -> None:
    eye, points = eye_of(12)
    gaps = lid_gaps(points)
    assert gaps[0][4] == pytest.approx(12 / 40)
    assert np.abs(with_lids(eye, points, gaps) - eye).mean() < 0.003
    half = with_lids(eye, points, gaps / 2)
    shown = [np.sum(np.abs(picture - SKIN).max(2) > 0.2) for picture in (eye, half)]
    assert shown[1] == pytest.approx(shown[0] / 2, rel=0.15)
    # The pupil is hidden from above, not squeezed.
    np.testing.assert_allclose(half[62, 44], 0, atol=0.05)
    np.testing.assert_allclose(half[56, 44], SKIN, atol=0.08)
    shut = with_lids(eye, points, gaps * 0)
    assert np.sum(np.abs(shut - SKIN).max(2) > 0.2) < 0.1 * shown[0]
    wide = with_lids(eye, points, gaps * 1.5)
    assert np.sum(np.abs(wide - SKIN).max(2) > 0.2) == pytest.approx(1.5 * shown[0], rel=0.15)


def test_how_well_is_well_enough() -> None:
    good = Follows(correlation=0.95, spread=1.0, gain=1.0)
    assert follows_well(good)
    assert not follows_well(replace(good, correlation=0.85))
    assert not follows_well(replace(good, spread=0.4))
    assert not follows_well(replace(good, spread=1.6))


def as_mesh(run: TrainedRun) -> TrainedRun:
    """The run, as if its face sets had been made with the mesh."""
    return replace(run, manifest=run.manifest.model_copy(update={"landmarks_pack": "mesh"}))


def test_five_points_fetch_no_weights_unasked(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expression_module, "CropLandmarker", None)  # would raise when called
    assert choose_expression(run, ConvertConfig()) is None
    assert choose_expression(as_mesh(run), ConvertConfig(mouth="source", eyes="source")) is None


def test_the_clip_s_mouth_without_the_mesh_is_an_error(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACESWAP_LITE_WEIGHTS", str(tmp_path))
    with pytest.raises(FaceswapError, match="mesh"):
        choose_expression(run, ConvertConfig(mouth="target"))
    assert choose_expression(as_mesh(run), ConvertConfig()) is None


@pytest.fixture
def own(run: TrainedRun, tmp_path: Path) -> TrainedRun:
    """The run with a folder of its own for what is kept, and mesh sets by its word."""
    (tmp_path / "run").mkdir()
    return replace(as_mesh(run), path=tmp_path / "run")


def test_what_was_measured_is_kept_and_read_again(
    own: TrainedRun, with_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    said: list[str] = []

    def measured(*given: object) -> dict[str, Follows]:
        asked.append(given[1:3])
        lags = Follows(correlation=0.3, spread=0.2, gain=0.9)
        return {"mouth": lags, "eyes": Follows(correlation=0.98, spread=1.0, gain=1.1)}

    monkeypatch.setattr(expression_module, "measure", measured)
    chosen = choose_expression(own, ConvertConfig(), said.append)
    assert chosen is not None
    assert chosen.facts() == {"mouth": 0.9}, "eyes follow"
    assert "painted mouths follow the clip's with a correlation of 0.30" in said[0]
    both = choose_expression(own, ConvertConfig(mouth="target", eyes="target"), said.append)
    assert both is not None
    assert both.facts() == {"mouth": 0.9, "eyes": 1.1}
    assert len(said) == 1, "what was asked for is not explained"
    choose_expression(own, ConvertConfig(swap="target-to-source"), silent)
    assert asked == [("source", "target"), ("target", "source")]
    # A file that cannot be used is measured anew.
    (path,) = (own.path / FOLDER).glob("*_source_*.json")
    half = '{"mouth": {"correlation": 1}}'
    for broken in ("[", "[]", half, half.replace("1}", '"x", "spread": 1, "gain": 1}')):
        path.write_text(broken)
        choose_expression(own, ConvertConfig(), silent)
        assert json.loads(path.read_text())["mouth"]["gain"] == 0.9
    assert len(asked) == 6


def test_without_face_sets_painted_mouths_stay(
    own: TrainedRun, with_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*given: object) -> dict[str, Follows]:
        raise FaceswapError("no such face set")

    said: list[str] = []
    monkeypatch.setattr(expression_module, "measure", gone)
    assert choose_expression(own, ConvertConfig(), said.append) is None
    assert "no such face set" in said[0]
    asked = choose_expression(own, ConvertConfig(mouth="target"), silent)
    assert asked is not None
    assert asked.facts() == {"mouth": 1.0}
    assert not (own.path / FOLDER).exists()


def crop_of(actor: str, opened: float, size: int) -> np.ndarray:
    shown = render_actor(ACTORS[actor], ActorState(mouth=opened), 256)
    matrix = align(shown.landmarks.astype(np.float64), "ibug68", "full", size)
    return cut_crop(shown.image, matrix, size).astype(np.float32) / 255


def test_given_lips_read_as_wide_open_as_the_clip_s(with_weights: Path) -> None:
    mouth = ClipExpression(CropLandmarker("full"), mouth=1.0)
    painted = crop_of("dara", 0.0, SIZE)
    gaps = []
    for opened in (0.0, 0.5, 1.0):
        true = crop_of("bruno", opened, SIZE)
        there = mouth.points(true)
        assert there is not None
        made = mouth.points(mouth.shown(painted, true, there))
        assert made is not None
        gaps.append([mouth_opening(points, "mesh") for points in (there, made)])
    clip, given = np.array(gaps, float).T
    assert np.ptp(clip) > 0.1
    assert given == pytest.approx(clip, abs=0.06)


def test_where_the_face_is_placed_opens_no_lips(with_weights: Path) -> None:
    mouth = ClipExpression(CropLandmarker("full"), mouth=1.0)
    painted, true = crop_of("dara", 0.2, SIZE), crop_of("bruno", 0.8, SIZE)
    points = mouth.points(true)
    assert points is not None
    # Steadied points lie a little off: the mesh, asked from there, reads another gap.
    crop, hull = np.round(true * 255).astype(np.uint8), np.ones((SIZE, SIZE))
    placements = [Placement(0, 0, points + shift, None) for shift in (0, 2)]
    given = [
        mouth.given_to(PaintedFace(at, "mesh", np.eye(2, 3), crop, painted, painted, hull, None))
        for at in placements
    ]
    np.testing.assert_array_equal(given[0].face, given[1].face)
    assert np.abs(given[0].face - painted).max() > 0.1


def test_lips_that_hardly_move_tell_no_gain() -> None:
    clip = np.linspace(-1, 1, 50) * np.sqrt(3)
    assert lip_gain(0.1 * clip, 0.08 * clip) == pytest.approx(1.25, abs=0.02)
    # What was measured on a listener, whose smile then opened a third too wide.
    assert lip_gain(0.0144 * clip, 0.0082 * clip) < 1.15
    assert lip_gain(0 * clip, 0 * clip) == 1


def test_a_run_s_mouths_are_measured_on_its_faces(run: TrainedRun, with_weights: Path) -> None:
    for name, found in measure(
        run, "source", "target", CropLandmarker(run.manifest.coverage)
    ).items():
        assert name in ("mouth", "eyes")
        assert -1 <= found.correlation <= 1
        assert found.spread > 0
        assert 0.6 <= found.gain <= 1.6
    with pytest.raises(FaceswapError, match="face set"):
        facts = run.manifest.target.model_copy(update={"path": "gone"})
        lost = run.manifest.model_copy(update={"target": facts})
        measure(
            replace(run, manifest=lost), "source", "target", CropLandmarker(run.manifest.coverage)
        )


def test_a_conversion_shows_it_and_says_so(
    run: TrainedRun, cast: Cast, with_weights: Path, tmp_path: Path
) -> None:
    jobs = {}
    for whose in ("source", "target", "auto"):
        config = cast.config.convert.model_copy(update={"mouth": whose, "eyes": whose})
        out = tmp_path / f"{whose}.mkv"
        convert_file(run, cast.unseen_clip, out, config, say=silent)
        jobs[whose] = read_json(sidecar_path(out))
    # Of five points, auto is the painted face's; a job that shows it is the one of before.
    assert jobs["auto"]["job"] == jobs["source"]["job"] != jobs["target"]["job"]
    assert not {"mouth", "eyes", "expression"} & set(jobs["source"]["settings"])
    assert set(jobs["target"]["settings"]["expression"]) == {"mouth", "eyes"}
    assert (tmp_path / "source.mkv").read_bytes() != (tmp_path / "target.mkv").read_bytes()
