"""From measures to decisions, on planted measures of a rendered actor's set."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Cast

from faceswap_lite.config import CurateConfig
from faceswap_lite.curation.measures import Measures
from faceswap_lite.curation.verdicts import Judgement, judge_faces, rarity, robust_z
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import FaceSet, StoredFace, open_face_set
from faceswap_lite.metrics.landmarks import Pose

COUNT = 40

# What all faces look like: darker on one side.
SHADE = np.linspace(60, 190, 64)[None, :, None].astype(np.uint8)


@pytest.fixture(scope="module")
def plain(cast: Cast) -> FaceSet:
    """Faces that look ahead, of one person."""
    faces = open_face_set(cast.source)
    rng = np.random.default_rng(0)
    return replace(faces, faces=[known(face, rng=rng) for face in faces.faces])


def known(
    face: StoredFace,
    *,
    rng: np.random.Generator,
    who: int = 0,
    yaw: float | None = None,
    mouth: float = 0.05,
) -> StoredFace:
    vector = np.eye(16, dtype=np.float32)[who] + rng.normal(0, 0.03, 16).astype(np.float32)
    update: dict[str, Any] = {
        "embedder": "mobilefacenet",
        "embedding": vector / np.linalg.norm(vector),
        "pose": Pose(rng.normal(0, 2) if yaw is None else yaw, rng.normal(0, 2), 0.0),
        "mouth_opening": mouth + rng.normal(0, 0.005),
        "eye_opening": 0.3 + rng.normal(0, 0.01),
    }
    return StoredFace(face.path, face.record.model_copy(update=update))


def ordinary(count: int = COUNT) -> Measures:
    rng = np.random.default_rng(1)
    return Measures(
        light=np.full(count, 0.5),
        clipped=np.zeros(count),
        sharpness=rng.normal(0.3, 0.01, count),
        eyes_px=np.full(count, 50.0),
        presence=np.full(count, 0.99),
        alignment_error=rng.uniform(0.005, 0.02, count),
        hidden=np.full(count, np.nan),
        hidden_place=np.full((count, 2), np.nan),
        hashes=rng.integers(0, 2**63, count).astype(np.uint64),
        views=SHADE + rng.integers(0, 4, (count, 64, 64, 3), dtype=np.uint8),
        masks=np.full((count, 64, 64), 255, np.uint8),
    )


def with_values(place: int, **values: float) -> Measures:
    found = ordinary()
    for name, value in values.items():
        getattr(found, name)[place] = value
    return found


def with_face(faces: FaceSet, place: int, **changes: Any) -> FaceSet:
    kept = list(faces.faces)
    kept[place] = known(kept[place], rng=np.random.default_rng(place), **changes)
    return replace(faces, faces=kept)


def rejected(judgement: Judgement) -> dict[int, str]:
    return {n: d.reason for n, d in enumerate(judgement.decisions) if not d.kept}


def test_ordinary_faces_all_stay(plain: FaceSet) -> None:
    found = judge_faces(plain, ordinary(), CurateConfig())
    assert rejected(found) == {} and found.notes == [] and found.people == [COUNT]
    assert all(1 <= d.weight < 2 for d in found.decisions if not d.reason)


@pytest.mark.parametrize(
    ("values", "reason", "words"),
    [
        ({"presence": 0.05}, "no_face", "no face: the mesh's confidence is 0.05, limit 0.2"),
        ({"alignment_error": 0.3}, "misaligned", "misaligned: 0.30 eye distances off, limit 0.12"),
        (
            {"light": 0.02},
            "exposure",
            "too dark: 0.02 of full brightness, 0% of its pixels clipped",
        ),
        ({"sharpness": 0.06}, "blurred", "blurred: 0.20 as sharp as the median face, limit 0.50"),
        ({"eyes_px": 9.0}, "too_small", "too small: eyes 9 px apart"),
        # The surest is said: a blurred picture of nothing is no face.
        ({"presence": 0.05, "sharpness": 0.06}, "no_face", "no face"),
    ],
)
def test_each_fault_is_named_with_its_number(
    plain: FaceSet, values: dict[str, float], reason: str, words: str
) -> None:
    found = judge_faces(plain, with_values(7, **values), CurateConfig())
    assert rejected(found) == {7: reason}
    assert found.decisions[7].words.startswith(words)


def test_another_person_is_told_with_the_distance(plain: FaceSet) -> None:
    found = judge_faces(with_face(plain, 5, who=3), ordinary(), CurateConfig())
    assert rejected(found) == {5: "other_person"}
    assert "limit 0.55" in found.decisions[5].words
    assert found.decisions[5].scores["identity"] > 0.8


def test_of_two_people_the_majority_stays_and_of_equals_both(plain: FaceSet) -> None:
    few = plain
    for place in range(0, 10):
        few = with_face(few, place, who=3)
    found = judge_faces(few, ordinary(), CurateConfig())
    assert set(rejected(found)) == set(range(10)) and found.people == [30, 10]
    half = few
    for place in range(10, 20):
        half = with_face(half, place, who=3)
    found = judge_faces(half, ordinary(), CurateConfig())
    assert rejected(found) == {} and found.people == [20, 20]
    assert "curate.person=N" in found.notes[0]
    found = judge_faces(half, ordinary(), CurateConfig(person=2))
    assert len(rejected(found)) == 20
    assert {found.decisions[n].scores["person"] for n in rejected(found)} == {1.0}
    with pytest.raises(FaceswapError, match="shows 2 people"):
        judge_faces(half, ordinary(), CurateConfig(person=3))


def test_faces_without_vectors_are_judged_by_the_rest(cast: Cast) -> None:
    found = judge_faces(open_face_set(cast.source), with_values(4, sharpness=0.05), CurateConfig())
    assert rejected(found) == {4: "blurred"} and "no embeddings" in found.notes[0]


def test_a_rare_pose_is_kept_and_drawn_more_often(plain: FaceSet) -> None:
    found = judge_faces(with_face(plain, 9, yaw=35.0, mouth=0.3), ordinary(), CurateConfig())
    decision = found.decisions[9]
    assert decision.kept and decision.reason == "rare" and decision.weight == 3
    assert "yaw +35" in decision.words
    assert judge_faces(
        with_face(plain, 9, yaw=35.0), ordinary(), CurateConfig(rare_weight=1.5)
    ).decisions[9].weight == pytest.approx(1.5)


def test_a_blurred_face_stays_where_there_is_no_better_one(plain: FaceSet) -> None:
    lone = with_face(plain, 9, yaw=35.0)
    found = judge_faces(lone, with_values(9, sharpness=0.12), CurateConfig())
    assert found.decisions[9].reason == "fills_gap" and found.decisions[9].weight == 0.5
    # Beyond use, or one of many: rejected.
    assert rejected(judge_faces(lone, with_values(9, sharpness=0.05), CurateConfig())) == {
        9: "blurred"
    }
    assert rejected(judge_faces(plain, with_values(9, sharpness=0.12), CurateConfig())) == {
        9: "blurred"
    }


def test_the_less_sharp_of_equal_pictures_goes(plain: FaceSet) -> None:
    found = ordinary()
    found.views[3], found.hashes[3] = found.views[8], found.hashes[8]
    found.sharpness[3], found.sharpness[8] = 0.28, 0.31
    record = plain.faces[3].record.model_copy(update={"embedding": plain.faces[8].record.embedding})
    faces = replace(plain, faces=list(plain.faces))
    faces.faces[3] = StoredFace(plain.faces[3].path, record)
    assert rejected(judge_faces(faces, found, CurateConfig())) == {3: "duplicate"}
    assert rejected(judge_faces(faces, found, CurateConfig(duplicates=False))) == {}


def test_something_before_the_face_is_told_with_its_place(plain: FaceSet) -> None:
    found = ordinary()
    found.views[6, 40:56, 24:40] = 255
    decision = judge_faces(plain, found, CurateConfig(duplicates=False)).decisions[6]
    assert decision.reason == "occluded" and "covers the mouth" in decision.words


def test_what_the_mask_network_sees_before_a_face_counts_beyond_what_is_usual(
    plain: FaceSet,
) -> None:
    found = ordinary()
    # A fringe, in all of them.
    found.hidden[:] = 0.12
    found.hidden[3], found.hidden_place[3] = 0.32, [0.5, 0.7]
    decisions = judge_faces(plain, found, CurateConfig(duplicates=False)).decisions
    assert [n for n, d in enumerate(decisions) if d.reason == "occluded"] == [3]
    assert "covers the mouth: 20% more of the face is hidden than" in decisions[3].words
    assert decisions[3].scores["hidden"] == 0.32
    none = judge_faces(plain, found, CurateConfig(duplicates=False, hidden_limit=0.3)).decisions
    assert none[3].kept


def test_robust_z_ignores_the_odd_ones() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(5, 2, 1000), [1e3, 1e4]])
    found = robust_z(values)
    assert abs(found[:1000].std() - 1) < 0.1 and found[-1] > 1000


def test_lonely_points_are_rare() -> None:
    points = np.concatenate([np.random.default_rng(0).normal(0, 1, (200, 2)), [[9.0, 9.0]]])
    often = rarity(points, 3.0)
    assert often[-1] == 3 and np.median(often) < 1.2 and often.min() == 1
    assert rarity(points[:1], 3.0).tolist() == [1.0]


def test_a_blurred_stranger_fills_no_gap(plain: FaceSet) -> None:
    faces = with_face(plain, 9, yaw=45.0, who=3)
    assert rejected(judge_faces(faces, with_values(9, sharpness=0.12), CurateConfig())) == {
        9: "blurred"
    }


def test_a_set_in_which_nothing_is_good_is_judged(plain: FaceSet) -> None:
    found = ordinary()
    found.presence[:] = 0.01
    assert len(rejected(judge_faces(plain, found, CurateConfig()))) == COUNT


def test_a_person_cannot_be_named_where_none_is_known(cast: Cast) -> None:
    with pytest.raises(FaceswapError, match=r"curate.person=2.*no embeddings"):
        judge_faces(open_face_set(cast.source), ordinary(), CurateConfig(person=2))
