import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from faceswap_lite.errors import FaceswapError, UsageError
from faceswap_lite.faces import FaceRecord, open_face_set, read_record, write_crop
from faceswap_lite.latent import KnownFaces, Reader, decode, encode, known_faces
from faceswap_lite.latent.directions import (
    Direction,
    chosen_penalty,
    cross_validated_r2,
    ridge,
    weights_as_direction,
)
from faceswap_lite.latent.sheets import CELL_PX, Row, face_sheet
from faceswap_lite.latent.stage import (
    SWEEP_STEPS,
    Studied,
    change_color,
    counterfactual,
    find_direction,
    interpolate_faces,
    read_direction,
    read_face,
    straight_direction,
    study,
    sweep,
    sweep_direction,
    swept_faces,
)
from faceswap_lite.media import read_image
from faceswap_lite.training import TrainedRun

from .conftest import Cast, silent


@pytest.fixture(autouse=True)
def five_points_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip alone brings reads the faces."""
    monkeypatch.setenv("FACESWAP_LITE_WEIGHTS", "/nowhere")


def crops_of(folder: Path) -> list[Path]:
    return [face.path for face in open_face_set(folder).faces]


@pytest.fixture(scope="module")
def bright(run: TrainedRun) -> tuple[Studied, Reader]:
    reader = Reader(run.facts.coverage)
    known = known_faces(run, "target")
    return study(run, known, reader(known.crops, known.masks), "brightness", reader), reader


def test_known_change_is_what_was_asked_for() -> None:
    crops = np.full((2, 4, 4, 3), 100, np.uint8)
    crops[..., 0] = 140
    changed = change_color(crops, "brightness", np.array([0.1, -0.2]))
    np.testing.assert_allclose(
        changed - crops / 255, np.array([0.1, -0.2])[:, None, None, None] + 0 * crops, atol=1e-6
    )
    turned = change_color(crops, "hue_deg", np.array([0.0, 20.0]))
    hues = [np.degrees(np.arctan2(*rgb2lab(face)[0, 0, :0:-1])) for face in turned]
    assert hues[1] - hues[0] == pytest.approx(20, abs=0.2)
    np.testing.assert_allclose(turned[0], crops[0] / 255, atol=1e-4)


def test_pattern_moves_brightness_and_weights_do_not(
    run: TrainedRun, bright: tuple[Studied, Reader]
) -> None:
    studied, reader = bright
    assert cross_validated_r2(studied.codes, studied.values, studied.clips) > 0.7
    straight = straight_direction(studied)
    penalty = chosen_penalty(studied.codes, studied.values, studied.clips)
    weights = ridge(studied.codes, studied.values, penalty)[0]
    wrong = Direction(weights_as_direction(weights), straight.bend, 0.0, straight.deviation)
    places = swept_faces(studied, False)
    good = sweep(run, studied, straight, places, "brightness", reader)
    bad = sweep(run, studied, wrong, places, "brightness", reader)
    print(good.slope, good.rising, bad.slope)
    assert good.slope >= 0.5
    assert good.rising == 1.0
    assert bad.slope < 0.5 * good.slope
