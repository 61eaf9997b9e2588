import numpy as np
import pytest

from faceswap_lite.config import HeldoutConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.runs.split import FaceGroup, Place, assign_split, read_roles, split_heldout

CONFIG = HeldoutConfig(share=0.1, gap=5)


def test_the_end_of_every_clip_is_held_out_with_a_gap() -> None:
    seen, heldout = split_heldout(["a"] * 100 + ["b"] * 50, by="block", share=0.1, gap=5)
    assert heldout.tolist() == [*range(90, 100), *range(145, 150)]
    assert seen.tolist() == [*range(85), *range(100, 140)]


def test_stills_are_split_as_one_sequence() -> None:
    seen, heldout = split_heldout([f"photo{i}" for i in range(30)], by="block", share=0.1, gap=5)
    assert (len(seen), len(heldout)) == (24, 3)


def test_a_whole_clip_is_held_out() -> None:
    seen, heldout = split_heldout(["a"] * 3 + ["b"] * 4, by="clip", share=0.1, gap=5)
    assert seen.tolist() == [0, 1, 2]
    assert heldout.tolist() == [3, 4, 5, 6]
    with pytest.raises(FaceswapError, match="two clips"):
        split_heldout(["a"] * 9, by="clip", share=0.1, gap=5)


@pytest.mark.parametrize("count", [10, 21, 100, 999])
def test_nothing_is_seen_and_held_out(count: int) -> None:
    clips = [f"clip{i // 37}" for i in range(count)]
    seen, heldout = split_heldout(clips, by="block", share=0.1, gap=5)
    assert set(seen).isdisjoint(heldout)
    assert len(seen) >= count * 0.6
    assert len(heldout) >= 1


def frames(clip: str, *numbers: int) -> list[Place]:
    return [(clip, number) for number in numbers]


def role_of(groups: list[FaceGroup], clip: str, frame: int) -> str:
    return read_roles(groups)[clip, frame][0]


def test_a_new_run_is_split_and_written_down_in_little() -> None:
    groups = assign_split([], frames("a", *range(100)), CONFIG, step=0)
    assert {group.role: group.frames for group in groups} == {
        "seen": "0-84",
        "left_out": "85-89",
        "heldout": "90-99",
    }
    sparse = assign_split([], frames("a", *range(0, 200, 2), 500), CONFIG, step=0)
    assert len(read_roles(sparse)) == 101


def test_the_split_agrees_with_split_heldout() -> None:
    places = [*frames("a", *range(7, 60)), *frames("b", *range(30)), *frames("c", 1, 2, 3)]
    seen, heldout = split_heldout([clip for clip, _ in places], by="block", share=0.1, gap=5)
    roles = read_roles(assign_split([], places, CONFIG, step=0))
    assert [i for i, p in enumerate(places) if roles[p][0] == "seen"] == seen.tolist()
    assert [i for i, p in enumerate(places) if roles[p][0] == "heldout"] == heldout.tolist()


def test_who_joins_moves_nobody() -> None:
    old = frames("b", *range(100))
    first = assign_split([], old, CONFIG, step=0)
    # Clips before and after in the order of names, which a split of all of them would go by.
    places = [*frames("a", *range(50)), *old, *frames("c", *range(3))]
    second = assign_split(first, places, CONFIG, step=23)
    before, after = read_roles(first), read_roles(second)
    assert {place: after[place] for place in old} == before
    assert {after[place][1] for place in places if place not in before} == {23}
    assert role_of(second, "a", 0) == "seen"
    assert role_of(second, "a", 49) == "heldout"
    # Three photographs are too few to give one up.
    assert {role_of(second, "c", i) for i in range(3)} == {"seen"}
    assert assign_split(second, places, CONFIG, step=40) == second


def test_who_comes_between_goes_with_the_neighbours() -> None:
    first = assign_split([], frames("a", *range(0, 400, 4)), CONFIG, step=0)
    second = assign_split(first, frames("a", *range(400)), CONFIG, step=9)
    seen = [n for (_, n), (role, _) in read_roles(second).items() if role == "seen"]
    heldout = [n for (_, n), (role, _) in read_roles(second).items() if role == "heldout"]
    # The last seen one of the first split is 336, the first held out one is 360.
    assert max(seen) < 340 < 358 <= min(heldout)
    assert len(seen) == 338


def test_a_clip_s_later_frames_keep_a_gap_and_are_split_anew() -> None:
    first = assign_split([], frames("a", *range(100)), CONFIG, step=0)
    second = assign_split(first, frames("a", *range(300)), CONFIG, step=9)
    assert {role_of(second, "a", n) for n in range(100, 105)} == {"left_out"}
    assert {role_of(second, "a", n) for n in range(105, 270)} == {"seen"}
    assert {role_of(second, "a", n) for n in range(281, 300)} == {"heldout"}


def test_who_leaves_and_returns_has_the_old_role() -> None:
    places = frames("a", *range(100))
    first = assign_split([], places, CONFIG, step=0)
    without = assign_split(first, places[:50], CONFIG, step=10)
    assert assign_split(without, places, CONFIG, step=20) == first


def test_a_run_that_goes_back_takes_late_faces_in_earlier() -> None:
    places = frames("a", *range(100))
    first = assign_split([], places[:60], CONFIG, step=0)
    second = assign_split(first, places, CONFIG, step=30)
    assert {
        since for _, since in read_roles(assign_split(second, places, CONFIG, 20)).values()
    } == {0, 20}


def test_by_clip_a_new_clip_is_seen_and_the_held_out_one_stays() -> None:
    by_clip = CONFIG.model_copy(update={"by": "clip"})
    places = [*frames("a", *range(9)), *frames("b", *range(9))]
    first = assign_split([], places, by_clip, step=0)
    second = assign_split(first, [*places, *frames("b", 9, 10), *frames("c", 0)], by_clip, step=5)
    assert [role_of(second, clip, 0) for clip in "abc"] == ["seen", "heldout", "seen"]
    assert role_of(second, "b", 10) == "heldout"


def test_two_faces_of_one_frame_go_together() -> None:
    places = [place for n in range(50) for place in frames("a", n, n)]
    roles = read_roles(assign_split([], places, CONFIG, step=0))
    assert len(roles) == 50
    assert np.unique([role for role, _ in roles.values()]).size == 3
