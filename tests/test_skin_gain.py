"""The default colour match against the truth: twins in the target's skin, and known casts."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from skimage.color import rgb2lab
from test_color import FRAMES, SIZE, darken_chin, faces_of_the_astronaut, oval

from _measures import delta_e
from faceswap_lite.actors.cast import find_actor
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.conversion.color_map import KEEP, steady_color_map
from faceswap_lite.conversion.color_matchers import fit_mkl
from faceswap_lite.conversion.skin import to_coded, to_linear
from faceswap_lite.conversion.skin_gain import SkinGain, fit_skin_gain
from faceswap_lite.conversion.temporal_smoothing import neighbour_weights

STATE = ActorState(yaw_deg=12, mouth=0.35, light_yaw_deg=-25)


class Scene:
    """A twin's face painted onto an actor: what was painted, what is there, what should be."""

    def __init__(
        self,
        source: str,
        target: str,
        state: ActorState = STATE,
        painted_state: ActorState | None = None,
    ):
        actor, twin = find_actor(target), find_actor(source)
        true = render_actor(actor, state, 128)
        truth = render_actor(actor, state, 128, face_of=twin, skin_of=actor)
        painted = render_actor(actor, painted_state or state, 128, face_of=twin)
        mask = np.maximum(true.face_mask, truth.face_mask)
        self.painted, self.true, self.truth = (
            view.image.astype(np.float32) / 255 for view in (painted, true, truth)
        )
        self.mask = (cv2.erode(mask, np.ones((3, 3))) > 0.8).astype(np.float32)
        self.landmarks = truth.landmarks

    def matched(self, fit: Any = fit_skin_gain) -> np.ndarray:
        """The painted face in the target's colours."""
        return fit(self.painted, self.true, self.mask).apply(self.painted)

    def db(self, out: np.ndarray) -> float:
        """PSNR to the truth."""
        return float(-10 * np.log10(np.square(out - self.truth)[self.mask > 0].mean()))

    def eyes(self, share: float = 0.5) -> np.ndarray:
        """The middles of the open eyes."""
        places = np.zeros(self.mask.shape, np.uint8)
        for some in (self.landmarks[36:42], self.landmarks[42:48]):
            middle = some.mean(0)
            corners = np.round(middle + share * (some - middle)).astype(np.int32)
            cv2.fillConvexPoly(places, corners, 1)
        return places > 0


@pytest.mark.parametrize(
    ("source", "target", "minimum"),
    [
        ("dara", "chen", 26.5),
        ("dara", "ada", 25.0),
        ("ada", "dara", 26.0),
        ("ewa", "dara", 26.0),
        ("bruno", "ewa", 29.0),
        ("dara", "bruno", 29.0),
        ("ewa", "chen", 35.0),
    ],
)
def test_skin_takes_the_targets_tone(source: str, target: str, minimum: float) -> None:
    scene = Scene(source, target)
    found = scene.db(scene.matched())
    assert found > minimum
    assert found > scene.db(scene.matched(fit_mkl)) + 1.5


def test_bluish_eyes_keep_their_colour_on_a_darker_skin() -> None:
    scene = Scene("ewa", "dara")
    out, eyes = scene.matched(), scene.eyes()
    cheek = scene.mask * (rgb2lab(scene.painted)[..., 0] > 60) > 0
    darker = scene.painted[cheek].mean() - out[cheek].mean()
    assert darker > 0.3
    assert np.abs(out - scene.truth)[eyes].mean() < 0.06
    # The match of all colours darkens them like skin.
    assert scene.painted[eyes].mean() - scene.matched(fit_mkl)[eyes].mean() > 0.15
    assert abs(scene.painted[eyes].mean() - out[eyes].mean()) < 0.08


def test_eyes_and_highlights_do_not_glow_on_a_lighter_skin() -> None:
    scene = Scene("dara", "chen", replace(STATE, light=1.15))
    out, inside = scene.matched(), scene.mask > 0
    white = (scene.truth.min(-1) > 0.97)[inside].mean()
    assert (out.min(-1) > 0.97)[inside].mean() < white + 0.005
    assert out[scene.eyes()].mean() < scene.truth[scene.eyes()].mean() + 0.05


def test_light_from_elsewhere_is_evened_out() -> None:
    """As a network brings it along; its colour, too."""
    elsewhere = replace(STATE, light_yaw_deg=45, warmth=-0.6)
    scene = Scene("chen", "ada", replace(STATE, light_yaw_deg=-35, warmth=0.6), elsewhere)
    assert scene.db(scene.matched()) > scene.db(scene.matched(fit_mkl)) + 2.5


def test_a_beard_is_not_spread_over_a_clean_face() -> None:
    clean, bearded = Scene("chen", "bruno"), Scene("bruno", "chen")
    for scene in (clean, bearded):
        assert scene.db(scene.matched()) > scene.db(scene.matched(fit_mkl)) + 3


def test_a_hand_before_the_face_changes_little() -> None:
    scene = Scene("ewa", "bruno")
    plain = scene.matched()
    scene.true = scene.true.copy()
    scene.true[80:, 40:85] = (0.35, 0.2, 0.12)
    uncovered = scene.mask * (np.mgrid[:128, :128][0] < 70)
    assert delta_e(scene.matched(), plain, uncovered) < 1.0


class LightCast:
    """A gain a channel in linear light, shaken a little in every frame."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.gain = self.rng.uniform(0.82, 1.18, 3)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        gain = self.gain * (1 + self.rng.normal(0, 0.04, 3))
        return to_coded(np.asarray(to_linear(picture) * gain, np.float32))


@pytest.mark.parametrize(
    ("content", "maximum"), [(lambda face: face, 0.45), (darken_chin, 0.8)], ids=["same", "beard"]
)
def test_an_exposure_and_a_white_balance_are_undone(content: Any, maximum: float) -> None:
    """CIEDE2000 in the mask, and flicker, the mean step of the mean Lab error; steadied."""
    # With headroom: what white cut off, no gain brings back.
    faces = [to_coded(0.7 * to_linear(face)) for face in faces_of_the_astronaut()]
    mask, cast = oval(SIZE), LightCast(1)
    ideals = [content(cv2.GaussianBlur(face, (0, 0), 1.2)).astype(np.float32) for face in faces]
    images = [cast(ideal) for ideal in ideals]
    maps = [fit_skin_gain(image, face, mask) for image, face in zip(images, faces, strict=True)]
    outs = [
        steady_color_map(maps, [1.0] * FRAMES, k).apply(image) for k, image in enumerate(images)
    ]
    pairs = list(zip(outs, ideals, strict=True))
    before = zip(images, ideals, strict=True)
    assert np.mean([delta_e(image, ideal, mask) for image, ideal in before]) > 2
    assert np.mean([delta_e(out, ideal, mask) for out, ideal in pairs]) <= maximum
    drifts = [
        np.average((rgb2lab(a) - rgb2lab(b)).reshape(-1, 3), 0, mask.ravel()) for a, b in pairs
    ]
    assert np.linalg.norm(np.diff(drifts, axis=0), axis=1).mean() <= 0.02


def test_an_exposure_reaches_the_eyes_of_the_same_face_and_hardly_anothers() -> None:
    """Two faces differ by their skins; one face twice differs by the light alone."""
    same = Scene("chen", "chen")
    same.painted = to_coded(np.asarray(0.6 * to_linear(same.painted), np.float32))
    assert np.abs(same.matched() - same.truth)[same.eyes()].mean() < 0.02
    fitted = fit_skin_gain(same.painted, same.true, same.mask)
    assert isinstance(fitted, SkinGain) and fitted.ballot.one_face == 1
    other = Scene("dara", "chen")
    fitted = fit_skin_gain(other.painted, other.true, other.mask)
    assert isinstance(fitted, SkinGain) and fitted.ballot.one_face == 0
    assert np.abs(fitted.rest).max() < 0.4 < fitted.gain.min()


def test_grey_pictures_are_matched_as_a_whole() -> None:
    scene = Scene("chen", "dara")
    for name in ("painted", "true", "truth"):
        grey = cv2.cvtColor(getattr(scene, name), cv2.COLOR_RGB2GRAY)
        setattr(scene, name, np.repeat(grey[..., None], 3, axis=2))
    assert scene.db(scene.painted) < 12
    assert scene.db(scene.matched()) > 22


def test_neighbours_steady_the_votes_and_nothing_lags() -> None:
    scenes = [Scene("ewa", "bruno", replace(STATE, yaw_deg=12 + k)) for k in range(5)]
    maps = [fit_skin_gain(scene.painted, scene.true, scene.mask) for scene in scenes]
    dark = scenes[2]
    dark.painted = to_coded(np.asarray(0.5 * to_linear(dark.painted), np.float32))
    maps[2] = fit_skin_gain(dark.painted, dark.true, dark.mask)
    steady: Any = steady_color_map(maps, [1.0] * 5, 2)
    fitted: list[Any] = list(maps)
    np.testing.assert_allclose(steady.gain, fitted[2].gain, atol=0.05)
    assert (fitted[2].gain - fitted[1].gain).min() > 0.4
    grids = np.stack([one.ballot.grid for one in fitted])
    inside = (grids[..., 5] > 0).all(0)
    np.testing.assert_allclose(steady.ballot.grid[inside], grids.mean(0)[inside], atol=1e-5)


@pytest.mark.parametrize("source", ["chen", "bruno"])
def test_brown_eyes_do_not_turn_blue_on_dark_skin(source: str) -> None:
    scene = Scene(source, "dara")
    out, by_statistics, eyes = scene.matched(), scene.matched(fit_mkl), scene.eyes(0.45)
    too_blue = (out - scene.truth)[eyes]
    assert abs(float((too_blue[:, 2] - too_blue[:, 0]).mean())) < 0.03
    assert np.abs(too_blue).mean() < 0.75 * np.abs(by_statistics - scene.truth)[eyes].mean()


@pytest.mark.parametrize("side", [32, 64, 300])
def test_any_size_and_any_picture_give_colours(side: int) -> None:
    scene = Scene("dara", "chen")
    painted, true, mask = (
        cv2.resize(picture, (side, side)) for picture in (scene.painted, scene.true, scene.mask)
    )
    white = np.ones_like(painted)
    for pair in ((painted, true), (white, true), (painted, white), (0 * white, true)):
        out = fit_skin_gain(*pair, mask).apply(pair[0])
        assert np.isfinite(out).all() and 0 <= out.min() <= out.max() <= 1
        assert out.shape == painted.shape and out.dtype == np.float32


def test_frames_that_say_nothing_have_no_part_in_steadying() -> None:
    scene = Scene("ewa", "bruno")
    fitted: Any = fit_skin_gain(scene.painted, scene.true, scene.mask)
    nothing = fit_skin_gain(scene.painted, scene.true, 0 * scene.mask)
    assert nothing is KEEP
    steady: Any = steady_color_map([nothing, fitted, None, fitted], [1.0] * 4, 1)
    np.testing.assert_allclose(steady.gain, fitted.gain, atol=1e-5)
    assert steady_color_map([fitted, nothing], [1.0, 1.0], 1) is KEEP


@pytest.mark.parametrize(("source", "target"), [("dara", "chen"), ("ada", "bruno")])
def test_a_blink_does_not_make_the_colours_jump(source: str, target: str) -> None:
    """The white of eyes comes and goes, and with it what the rest of the face goes by."""
    blink = [*np.zeros(8), *np.linspace(0, 1, 6), *np.linspace(1, 0, 6), *np.zeros(8)]
    maps: list[Any] = []
    for closed in blink:
        scene = Scene(source, target, replace(STATE, mouth=0, blink=float(closed)))
        maps.append(fit_skin_gain(scene.painted, scene.true, scene.mask))
    rests = []
    for frame in range(len(maps)):
        weights = neighbour_weights(np.arange(len(maps)) - float(frame), 3.0)
        near = np.flatnonzero(weights)
        window = [maps[k] for k in near]
        steady: Any = steady_color_map(window, weights[near].tolist(), int(frame - near[0]))
        rests.append(steady.rest)
    alone = np.abs(np.diff([one.rest for one in maps], axis=0)).max()
    assert np.abs(np.diff(rests, axis=0)).max() < 0.065 < alone
