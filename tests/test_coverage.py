"""Planted distributions: coverage names what is missing, and nothing else."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cast

from faceswap_lite.config import ExtractConfig
from faceswap_lite.curation.pose_coverage import (
    KINDS,
    Attributes,
    Coverage,
    attributes_of,
    coverage,
)
from faceswap_lite.curation.pose_coverage_figure import draw_coverage
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.media.images import read_image

FACES = 400
REAL_CLIP = "lsman3_train_1.mp4"


def people(seed: int, faces: int = FACES, **changed: Any) -> Attributes:
    """Faces of an ordinary clip, some attributes exchanged."""
    rng = np.random.default_rng(seed)
    ordinary = Attributes(
        yaw_deg=rng.uniform(-20, 20, faces),
        pitch_deg=rng.uniform(-10, 10, faces),
        mouth=rng.uniform(0, 0.2, faces),
        eyes=rng.uniform(0.1, 0.35, faces),
        light=rng.uniform(0.4, 0.6, faces),
    )
    return replace(ordinary, **changed)


def with_values(attributes: Attributes, name: str, value: float, faces: int) -> Attributes:
    """The first `faces` of them show that value."""
    values = getattr(attributes, name).copy()
    values[:faces] = value
    return replace(attributes, **{name: values})


def chosen(attributes: Attributes, which: np.ndarray) -> Attributes:
    return Attributes(*(getattr(attributes, field.name)[which] for field in fields(attributes)))


def words(found: Coverage) -> list[str]:
    return [gap.words for gap in found.gaps]


def test_a_target_like_the_source_has_no_gap() -> None:
    found = coverage(people(0), people(1))
    assert found.gaps == [] and found.unknown == []
    assert found.outside.mean() < 0.01
    assert found.pose is not None and not found.pose.gaps.any() and not found.pose.lone.any()


@pytest.mark.parametrize(
    ("name", "value", "side", "missing", "concerned"),
    [
        ("yaw_deg", -35.0, "below", "no source face beyond 21° left", "frames are"),
        ("yaw_deg", 35.0, "above", "no source face beyond 21° right", "frames are"),
        ("pitch_deg", -25.0, "below", "no source face beyond 11° down", "frames are"),
        ("pitch_deg", 25.0, "above", "no source face beyond 11° up", "frames are"),
        ("mouth", 0.4, "above", "no source mouth opens beyond 0.21 eye distances", "do"),
        ("eyes", 0.02, "below", "no source eye closes below 0.07 of its width", "do"),
        ("eyes", 0.5, "above", "no source eye opens beyond 0.38 of its width", "do"),
        ("light", 0.1, "below", "no source face is darker than 0.37 in light or skin", "are"),
        ("light", 0.9, "above", "no source face is brighter than 0.63 in light or skin", "are"),
    ],
)
def test_a_planted_gap_is_named(
    name: str, value: float, side: str, missing: str, concerned: str
) -> None:
    found = coverage(people(0), with_values(people(1), name, value, FACES // 10))
    assert words(found) == [f"{missing}; 10 % of the target's {concerned}"]
    assert (found.gaps[0].attribute, found.gaps[0].direction) == (name, side)
    # Two people's skins differ in brightness, too: that is told, and no more.
    assert found.outside[: FACES // 10].all() == (name != "light")
    assert found.outside[FACES // 10 :].mean() < 0.01
    attribute = found.attributes[name]
    assert getattr(attribute, side)[: FACES // 10].all()
    assert getattr(attribute, f"{side}_share") == pytest.approx(0.1, abs=0.01)


def test_closed_mouths_are_missed_too() -> None:
    open_mouths = people(0, mouth=np.linspace(0.2, 0.4, FACES))
    found = coverage(open_mouths, with_values(people(1, mouth=open_mouths.mouth), "mouth", 0.0, 40))
    assert words(found) == [
        "no source mouth closes below 0.18 eye distances; 10 % of the target's do"
    ]


def test_limits_on_the_other_side_of_straight_ahead_are_told_rightly() -> None:
    right_only = people(0, yaw_deg=np.linspace(10, 40, FACES))
    found = coverage(right_only, people(1, yaw_deg=np.linspace(10, 40, FACES)))
    assert found.gaps == []
    found = coverage(right_only, people(1, yaw_deg=np.full(FACES, -5.0)))
    assert words(found) == ["no source face less than 9° right; 100 % of the target's frames are"]


def test_gaps_come_in_the_order_of_what_they_concern_and_small_ones_not_at_all() -> None:
    target = with_values(people(1), "mouth", 0.5, 80)
    target = with_values(target, "yaw_deg", 40.0, 120)
    target = with_values(target, "light", 0.9, 20)
    target = with_values(target, "eyes", 0.0, 3)
    found = coverage(people(0), target)
    assert [gap.attribute for gap in found.gaps] == ["yaw_deg", "mouth", "light"]
    assert [round(gap.share, 2) for gap in found.gaps] == [0.3, 0.2, 0.05]
    # Too few for a line, yet outside.
    assert found.attributes["eyes"].below[:3].all()
    assert found.outside.sum() == pytest.approx(120, abs=3)


@pytest.mark.parametrize(("faces", "wrong"), [(60, 2), (400, 4), (2000, 20)])
def test_a_few_wrong_faces_in_the_source_hide_no_gap(faces: int, wrong: int) -> None:
    target = with_values(people(1), "yaw_deg", 32.0, 80)
    source = with_values(people(0, faces), "yaw_deg", 33.0, wrong)
    found = coverage(source, target)
    assert found.attributes["yaw_deg"].above[:80].all()
    assert words(found)[0].startswith(f"only {wrong} of {faces} source faces beyond ")
    assert words(found)[0].endswith(" right; 20 % of the target's frames are")


def test_angles_that_were_never_seen_together_are_a_gap() -> None:
    rng = np.random.default_rng(3)
    spread = rng.uniform(-3, 3, (2, FACES))
    # The source looks left and down, or right and up; the target at times left and up.
    sign = np.where(np.arange(FACES) % 2, 1, -1)
    source = people(0, yaw_deg=25 * sign + spread[0], pitch_deg=15 * sign + spread[1])
    yaw, pitch = source.yaw_deg.copy(), source.pitch_deg.copy()
    yaw[:40], pitch[:40] = -25 + spread[0, :40], 15 + spread[1, :40]
    found = coverage(source, people(1, yaw_deg=yaw, pitch_deg=pitch))
    assert words(found) == [
        "no source face near 25° left and 15° up together; 10 % of the target's frames are"
    ]
    pose = found.pose
    assert pose is not None
    assert pose.lone.nonzero()[0].tolist() == list(range(40))
    [(cell_yaw, cell_pitch)] = np.argwhere(pose.gaps).tolist()
    assert (pose.yaw_edges[cell_yaw], pose.pitch_edges[cell_pitch]) == (-30, 10)
    assert pose.source[cell_yaw, cell_pitch] == 0
    assert pose.target[cell_yaw, cell_pitch] == 40


def test_counts_are_those_of_all_known_faces() -> None:
    source, target = people(0), people(1, 300)
    # Beyond every bin: kept in the last one.
    target = with_values(target, "mouth", 40.0, 5)
    found = coverage(source, target)
    assert set(found.attributes) == set(KINDS)
    for attribute in found.attributes.values():
        assert len(attribute.edges) == len(attribute.source) + 1 == len(attribute.target) + 1
        assert (attribute.source.sum(), attribute.target.sum()) == (400, 300)
    assert found.attributes["mouth"].edges[-1] < 1.1
    assert found.pose is not None
    assert (found.pose.source.sum(), found.pose.target.sum()) == (400, 300)


def test_what_is_unknown_is_never_outside() -> None:
    nothing = np.full(FACES, np.nan)
    target = with_values(people(1, mouth=nothing), "yaw_deg", np.nan, 100)
    target = replace(target, yaw_deg=np.where(np.arange(FACES) < 150, target.yaw_deg, 50.0))
    found = coverage(people(0, light=nothing), target)
    assert found.unknown == ["mouth", "light"]
    assert not found.outside[:100].any() and found.outside[150:].all()
    # Shares are of the 300 known faces.
    assert found.attributes["yaw_deg"].known == 300
    assert found.attributes["yaw_deg"].above_share == pytest.approx(250 / 300)
    blind = Attributes(*[nothing] * 5)
    found = coverage(people(0), blind)
    assert (found.gaps, found.pose, found.attributes) == ([], None, {})
    assert not found.outside.any() and len(found.outside) == FACES
    # Yaw of some faces and pitch of others are two attributes, but no pose.
    half = np.where(np.arange(FACES) < 200, 5.0, np.nan)
    found = coverage(people(0), replace(blind, yaw_deg=half, pitch_deg=half[::-1].copy()))
    assert list(found.attributes) == ["yaw_deg", "pitch_deg"] and found.pose is None


@pytest.mark.parametrize("faces", [1, 2, 5, 40, 100, 400])
def test_a_set_has_no_gap_against_itself(faces: int) -> None:
    rng = np.random.default_rng(faces)
    heavy_tails = Attributes(*(rng.standard_t(2, (5, faces)) * [[20], [9], [0.1], [0.1], [0.1]]))
    assert [g for g in coverage(heavy_tails, heavy_tails).gaps if g.attribute != "pose"] == []


def test_one_face_is_compared_and_none_refused() -> None:
    one = people(0, 1)
    assert coverage(one, one).gaps == []
    with pytest.raises(ValueError, match="faces on both sides"):
        coverage(people(0, 0), one)
    with pytest.raises(ValueError, match="faces on both sides"):
        coverage(one, people(0, 0))


def test_the_more_the_source_lacks_the_more_is_outside() -> None:
    source, target = people(0), people(1)
    outside = np.zeros(FACES, bool)
    for percentile in (95, 80, 60, 40, 20):
        kept = source.yaw_deg <= np.percentile(source.yaw_deg, percentile)
        attribute = coverage(chosen(source, kept), target).attributes["yaw_deg"]
        assert (attribute.above >= outside).all()
        assert attribute.above.sum() > outside.sum()
        outside = attribute.above
    # Whatever is further out than a face outside is outside.
    assert outside[target.yaw_deg >= target.yaw_deg[outside].min()].all()


def test_json_holds_everything_and_no_nan() -> None:
    target = with_values(people(1, mouth=np.full(FACES, np.nan)), "yaw_deg", 40.0, 40)
    found = coverage(people(0), with_values(target, "pitch_deg", np.nan, 7))
    told = found.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["unknown"] == ["mouth"]
    assert told["outside"] == found.outside.nonzero()[0].tolist()
    assert [gap["words"] for gap in told["gaps"]] == words(found)
    assert told["attributes"]["yaw_deg"]["above_share"] == found.attributes["yaw_deg"].above_share
    assert sum(map(sum, told["pose"]["target"])) == FACES - 7
    assert coverage(people(0, yaw_deg=np.full(FACES, np.nan)), target).to_json()["pose"] is None


def assert_dropped_turns_are_named(folder: Path, percentile: int = 80) -> None:
    """Without the faces beyond this percentile of yaw, the set lacks just these."""
    everything = attributes_of([face.record for face in open_face_set(folder).faces])
    assert coverage(everything, everything).gaps == []
    kept = everything.yaw_deg <= np.percentile(everything.yaw_deg, percentile)
    found = coverage(chosen(everything, kept), everything)
    assert found.unknown == ["light"]
    [gap] = [gap for gap in found.gaps if gap.attribute == "yaw_deg"]
    assert gap.direction == "above" and gap.share <= 1 - percentile / 100 + 0.01
    far = everything.yaw_deg > everything.yaw_deg[kept].max() + KINDS["yaw_deg"].tolerance
    above = found.attributes["yaw_deg"].above
    # The rest of what is flagged lies within the source's outermost hundredth.
    assert above[far].all() and (above & ~far).mean() <= 0.02


def test_turns_dropped_from_an_actor_s_set_are_named(cast: Cast) -> None:
    # Of 40 faces a fifth is few, and half of these lie within the tolerance.
    assert_dropped_turns_are_named(cast.source, 70)


def test_turns_dropped_from_a_real_set_are_named(
    media_dir: Path, with_weights: Path, tmp_path: Path
) -> None:
    clip = media_dir / "video" / REAL_CLIP
    extract_faces(find_footage([clip]), tmp_path / "faces", ExtractConfig(every=3))
    assert_dropped_turns_are_named(tmp_path / "faces")


def test_light_is_taken_as_given(cast: Cast) -> None:
    records = [face.record for face in open_face_set(cast.source).faces]
    light = np.linspace(0.2, 0.4, len(records))
    assert attributes_of(records, light).light.tolist() == light.tolist()
    assert np.isnan(attributes_of(records).light).all()


def test_the_figure_shows_the_gaps(tmp_path: Path) -> None:
    target = with_values(people(1), "yaw_deg", 40.0, 80)
    covered, lacking, blind = (tmp_path / f"{name}.png" for name in ("covered", "lacking", "blind"))
    draw_coverage(covered, coverage(people(0), people(1)))
    draw_coverage(lacking, coverage(people(0), target))
    nothing = np.full(FACES, np.nan)
    draw_coverage(blind, coverage(people(0), Attributes(*[nothing] * 5)))
    pictures = [read_image(path) for path in (covered, lacking, blind)]
    assert len({picture.shape for picture in pictures}) == 1
    # The gaps' own colour (figures.COLORS[3]) is in the legend always, in quantity with gaps only.
    pink = [(picture == (0xCC, 0x79, 0xA7)).all(-1).sum() for picture in pictures]
    assert pink[1] > pink[0] + 2000 and pink[2] == pink[0]
    draw_coverage(tmp_path / "again.png", coverage(people(0), target))
    assert (tmp_path / "again.png").read_bytes() == lacking.read_bytes()
