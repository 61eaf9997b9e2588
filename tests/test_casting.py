"""Who is painted where: cuts, tracks, people, jumps and gaps on planted sightings."""

from dataclasses import replace

import numpy as np
import pytest

from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion.casting import CastPlan, plan_cast
from faceswap_lite.conversion.detection_pass import DetectionPass
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.detect import Detection
from faceswap_lite.faces.embed import Person
from faceswap_lite.faces.journal import Sighting
from faceswap_lite.faces.pack import FoundFace
from faceswap_lite.faces.tracking import find_cuts

FIVE = np.array([[-10.0, -8], [10, -8], [0, 2], [-7, 12], [7, 12]])
ANNA, BEN = np.array([1.0, 0, 0], np.float32), np.array([0, 1.0, 0], np.float32)
WANTED = Person(ANNA.astype(np.float64), "cosine", 0.5)
EXACT = ConvertConfig(temporal_smoothing=0)


def face(x: float, who: np.ndarray | None = ANNA, y: float = 50, score: float = 0.99) -> FoundFace:
    five = FIVE + np.array([x, y])
    box = np.array([x - 20, y - 25, x + 20, y + 25], np.float64)
    return FoundFace(Detection(box, score, five), five, who, 1.0)


def clip(*frames: list[FoundFace], cuts: tuple[int, ...] = ()) -> list[Sighting]:
    return [Sighting(i, i, 40.0 if i in cuts else 0.5, faces) for i, faces in enumerate(frames)]


def plan(
    sightings: list[Sighting], config: ConvertConfig = EXACT, wanted: Person | None = WANTED
) -> CastPlan:
    return plan_cast(DetectionPass(sightings), "five", wanted, config, 0.9)


def places(made: CastPlan, frame: int) -> list[float]:
    return [round(float(p.landmarks[2, 0]), 3) for p in made.placements.get(frame, [])]


def test_cuts_stand_out_and_movement_does_not() -> None:
    still, pan = [0.4] * 10, [3.0, 6.0, 9.0, 11.0, 12.0, 11.0, 9.0]
    assert find_cuts([0, *still, 4.0, *still]) == {11}
    assert find_cuts([0, *still, *pan, *still]) == set()
    assert find_cuts([0, *pan, 45.0, *pan]) == {8}
    # Ten frames a second, each shown three times.
    assert find_cuts([4.0, 0.02, 0.03] * 12) == set()
    assert find_cuts([]) == set() == find_cuts([0.0])


def test_the_wanted_person_is_taken_and_the_bystander_never() -> None:
    made = plan(clip(*[[face(50), face(150, BEN)] for _ in range(5)]))
    assert [places(made, i) for i in range(5)] == [[50]] * 5
    everyone = plan(
        clip([face(50), face(150, BEN)]), ConvertConfig(all_faces=True, temporal_smoothing=0)
    )
    assert places(everyone, 0) == [50, 150]
    second = plan(clip([face(50), face(150, BEN)]), ConvertConfig(face=1, temporal_smoothing=0))
    assert places(second, 0) == [150]


def test_a_track_is_one_person_even_where_its_face_cannot_be_read() -> None:
    unread = [face(50 + i, None if i in (2, 3) else ANNA) for i in range(6)]
    made = plan(clip(*[[one] for one in unread]))
    assert sorted(made.placements) == [0, 1, 2, 3, 4, 5]


def test_two_people_who_pass_each_other_are_parted() -> None:
    walk = [[face(50 + i, ANNA if i < 5 else BEN)] for i in range(10)]
    assert sorted(plan(clip(*walk)).placements) == [0, 1, 2, 3, 4]


def test_short_gaps_are_filled_and_long_ones_are_not() -> None:
    frames = [[face(50 + 2 * i)] if i not in (3, 4) else [] for i in range(8)]
    made = plan(clip(*frames))
    assert places(made, 3) == [56] and places(made, 4) == [58]
    assert made.bridged == 2
    assert made.placements[3][0].found is None
    short = plan(clip(*frames), ConvertConfig(bridge=1, temporal_smoothing=0))
    assert sorted(short.placements) == [0, 1, 2, 5, 6, 7]


def test_nothing_is_joined_across_a_cut() -> None:
    frames = [[face(50)] if i != 4 else [] for i in range(10)]
    made = plan(clip(*frames, cuts=(5,)))
    assert 4 not in made.placements
    assert made.placements[3][0].segment != made.placements[5][0].segment
    assert made.cuts == [5]


def test_smoothing_stops_at_cuts_and_at_jumps() -> None:
    frames = [[face(50.0 if i < 10 else 65.0)] for i in range(20)]
    for cuts in ((10,), ()):
        made = plan(clip(*frames, cuts=cuts), ConvertConfig(temporal_smoothing=3))
        assert [places(made, i) for i in (9, 10)] == [[50], [65]]


def test_fast_movement_is_no_jump() -> None:
    frames = [[face(50.0 + 6 * i)] for i in range(20)]
    made = plan(clip(*frames), ConvertConfig(temporal_smoothing=2))
    assert len({p.segment for some in made.placements.values() for p in some}) == 1
    assert places(made, 10) == [110]


def test_the_more_like_one_of_two_is_taken() -> None:
    near = np.array([1.0, 0.5, 0], np.float32)
    made = plan(clip(*[[face(50, near), face(150, ANNA)] for _ in range(3)]))
    assert [places(made, i) for i in range(3)] == [[150]] * 3


def test_a_look_alike_beside_the_person_is_somebody_else_in_every_frame() -> None:
    alike = np.array([1.0, 0.9, 0], np.float32)
    assert WANTED.distances(alike[None])[0] < 1
    walk = [[face(50, alike)] for _ in range(3)] + [
        [face(50, alike), face(150, ANNA)] for _ in range(3)
    ]
    assert sorted(plan(clip(*walk)).placements) == [3, 4, 5]
    # Another shot in which the look-alike is alone.
    alone = clip(*walk, *[[face(80, alike)] for _ in range(3)], cuts=(6,))
    assert sorted(plan(alone).placements) == [3, 4, 5]
    # With nobody beside, likeness alone decides.
    assert sorted(plan(clip(*walk[:3])).placements) == [0, 1, 2]


def test_a_face_found_twice_is_one_face() -> None:
    twice = [[face(50), face(53, np.array([1, 0.2, 0], np.float32))] for _ in range(4)]
    made = plan(clip(*twice))
    assert [len(made.placements[i]) for i in range(4)] == [1, 1, 1, 1]


def test_without_an_embedder_lone_faces_are_taken_and_several_refused() -> None:
    lone = plan(clip([face(50, None)], [face(51, None)]), wanted=None)
    assert sorted(lone.placements) == [0, 1]
    with pytest.raises(FaceswapError, match="frame 1: 2 faces and nothing to tell"):
        plan(clip([face(50, None)], [face(50, None), face(150, None)]), wanted=None)
    unsure = replace(face(50, None).detection, confidence=0.7)
    weak = [replace(face(50, None), detection=unsure, presence=None)]
    assert not plan(clip(weak), wanted=None).placements


def test_a_double_that_comes_and_goes_leaves_the_longer_track_whole() -> None:
    nearer = np.array([1.0, 0.0, 0], np.float32)
    frames = [[face(50, np.array([1, 0.3, 0], np.float32))] for _ in range(12)]
    for i in (5, 6):
        frames[i].append(face(54, nearer))
    made = plan(clip(*frames))
    assert [places(made, i) for i in range(12)] == [[50]] * 12
    everyone = plan(clip(*frames), ConvertConfig(all_faces=True, temporal_smoothing=0))
    assert [places(everyone, i) for i in range(12)] == [[50]] * 12


def test_the_nth_face_counts_sure_faces_alone() -> None:
    false = [replace(face(20).detection, confidence=0.62)]
    frames = [[face(150), face(300)] for _ in range(12)]
    for i in range(4, 8):
        frames[i] = [replace(face(20, None), detection=false[0], presence=None), *frames[i]]
    made = plan(clip(*frames), ConvertConfig(face=1, temporal_smoothing=0))
    assert [places(made, i) for i in range(12)] == [[300]] * 12


def test_a_movement_does_not_bend_where_the_clip_pauses() -> None:
    times = [0, 1, 2, 3, 4, 14, 15, 16, 17, 18]
    frames = [[face(50.0 + 2 * t)] for t in times]
    sightings = [s._replace(pts=t) for s, t in zip(clip(*frames), times, strict=True)]
    made = plan(sightings, ConvertConfig(temporal_smoothing=2, bridge=20))
    assert [places(made, i) for i in range(10)] == [[50 + 2 * t] for t in times]


def test_a_clip_without_frames_or_faces_has_an_empty_plan() -> None:
    assert not plan([]).placements and not plan(clip([], [])).placements
