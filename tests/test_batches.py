import numpy as np
import pytest
import torch

from faceswap_lite.errors import FaceswapError
from faceswap_lite.training.batches import draw_faces
from faceswap_lite.training.split import split_heldout


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


def test_every_face_is_seen_once_an_epoch() -> None:
    drawn = torch.cat(
        [draw_faces(torch.ones(10), 4, seed=1, step=step, side="source") for step in range(5)]
    )
    assert sorted(drawn[:10].tolist()) == list(range(10))
    assert sorted(drawn[10:].tolist()) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()


def test_what_a_step_sees_depends_on_seed_step_and_side_alone() -> None:
    one = draw_faces(torch.ones(50), 8, seed=1, step=7, side="source")
    assert torch.equal(one, draw_faces(torch.ones(50), 8, seed=1, step=7, side="source"))
    assert not torch.equal(one, draw_faces(torch.ones(50), 8, seed=2, step=7, side="source"))
    assert not torch.equal(one, draw_faces(torch.ones(50), 8, seed=1, step=7, side="target"))


def test_a_batch_may_be_larger_than_the_set() -> None:
    drawn = draw_faces(torch.ones(3), 8, seed=0, step=0, side="target")
    assert np.bincount(drawn.numpy()).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])
