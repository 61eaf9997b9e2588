"""Views: moved and moved back, a picture is what it was."""

import pytest
import torch

from faceswap_lite.models.tta import View, pick_views, see, unsee


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("count", [1, 2, 8, 18, 40])
def test_as_many_views_as_asked_all_different_the_plain_one_first(count: int, flips: bool) -> None:
    views = pick_views(count, 64, flips)
    assert len(set(views)) == count
    assert any(view.flip for view in views) == (flips and count > 1)
    assert views[0] == View(0, 0, False)


def test_there_and_back_leaves_the_inner_picture() -> None:
    faces = torch.rand(2, 3, 64, 64)
    for view in pick_views(18, 64, True):
        back = unsee(see(faces, view), view)
        assert torch.equal(back[..., 4:-4, 4:-4], faces[..., 4:-4, 4:-4])


def test_a_view_shows_the_face_moved_right_and_down() -> None:
    faces = torch.zeros(1, 1, 8, 8)
    faces[0, 0, 3, 3] = 1
    assert see(faces, View(2, 1, False))[0, 0, 4, 5] == 1
    assert see(faces, View(2, 1, True))[0, 0, 4, 2] == 1
