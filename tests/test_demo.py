"""What the demo shows of itself."""

from pathlib import Path

import numpy as np
from conftest import Cast
from PIL import Image

from faceswap_lite.demo import side_by_side
from faceswap_lite.media.reading import open_clip


def test_stills_of_a_comparison_lie_below_one_another(cast: Cast, tmp_path: Path) -> None:
    clips = [cast.target_clip, cast.target_clip]
    side_by_side(clips, tmp_path / "both.mp4", (0, 2))
    with open_clip(cast.target_clip) as reader:
        frames = [np.concatenate([frame.image, frame.image], 1) for frame in reader]
    with open_clip(tmp_path / "both.mp4") as reader:
        assert reader.info.width == frames[0].shape[1]
        assert len(list(reader)) == len(frames)
    still = np.asarray(Image.open(tmp_path / "both.png").convert("RGB"))
    np.testing.assert_array_equal(still, np.concatenate([frames[0], frames[2]]))
