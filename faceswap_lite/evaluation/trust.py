"""How far a model can be trusted on a face it was never trained on, before anybody sees the swap.

Three signs are read of a face, none of which looks at how well it is rebuilt: how far its code is
from the codes of seen faces, how far its picture (seen small) is from theirs, and how much the
answer shakes when the input is moved by a pixel. What error they stand for is learned from faces
whose error is known: the run's held-out faces, and the same ones disturbed.

Codes alone are blind to light: a darkened face's code shrinks toward the middle of all codes, and
lies nearer to seen ones than many a good face's. Its picture does not. Beside the picture's
distance the code's got no weight on any of four real sides (benchmarks/trust.py): it is kept as
a figure, and for models whose codes say more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.optimize import isotonic_regression, nnls

from ..config import Side
from ..errors import FaceswapError
from ..metrics.distributions import principal_axes
from ..metrics.pictures import as_float
from ..models.crops import AT_ONCE, as_pictures, as_pixels
from ..models.tta import View, answers
from ..runs.known import KnownFaces, spread_evenly
from ..runs.trained import TrainedRun

SIGNS = ("distance", "look_distance", "view_spread")

BOUND_FACTOR = 2.0
"""A face is trusted up to this many times the usual (median) error of held-out faces. Those lie
close in time to seen ones: the 95th percentile of their errors was exceeded by 20 to 100 % of the
frames of four real clips of the same people."""

NEIGHBOURS = 3

# Directions of the codes in which seen faces hardly differ are given this much of the widest one's
# spread: enough to see what leaves their plane, without making noise of it.
_MIN_SPREAD = 0.01
# Pictures are compared at this size, less a border that is mostly background.
_LOOK_PX, _LOOK_BORDER = 8, 1
# Below this part of its usual size a sign says nothing more.
_FLOOR = 0.1

_PLAIN_FACES, _DISTURBED_FACES = 60, 10
# Of the fit: the plain faces, against one kind of disturbance.
_PLAIN_WEIGHT = 5.0

Pictures = UInt8[np.ndarray, "n s s 3"]
Masks = UInt8[np.ndarray, "n s s"] | Float[np.ndarray, "n s s"]
_Rng = np.random.Generator
_Looks = Pictures | Float[np.ndarray, "n s s 3"]
_Values = Float[np.ndarray, " n"]
_Signs = Float[np.ndarray, "n signs"]
_Usual = Float[np.ndarray, " signs"]
_Knots = Float[np.ndarray, " knots"]


@dataclass(frozen=True)
class TrustScores:
    """One number a face. Errors are root mean squares inside the mask, in [0, 1]."""

    distance: _Values
    """To the nearest seen codes, in their spreads."""
    look_distance: _Values
    """To the nearest seen pictures, made small: a root mean square difference, in [0, 1]."""
    view_spread: _Values
    """How much the answer changes with inputs moved by a pixel, moved back: as errors are."""
    expected_error: _Values
    blame: Float[np.ndarray, "n 3"]
    """What each of SIGNS adds to the logarithm of the error, against a usual held-out face."""
    trusted: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.distance)

    @property
    def expected_db(self) -> _Values:
        """The expected error as a PSNR, dB."""
        return as_db(self.expected_error)

    @property
    def leading(self) -> list[str]:
        """The sign of SIGNS that speaks most against each face."""
        return [SIGNS[i] for i in self.blame.argmax(1)]


@dataclass(frozen=True)
class Calibration:
    """From signs to the error they stand for: a weighted sum of logarithms, then a rising curve."""

    usual: _Usual
    """Medians over undisturbed held-out faces."""
    weights: _Usual
    """At least 0: no sign of strangeness makes a face better."""
    curve_x: _Knots
    curve_y: _Knots
    """Logarithms of errors; rising."""

    def blame(self, signs: _Signs) -> _Signs:
        """What each sign adds to the sum, against a usual face."""
        return self.weights * (_logs(signs, self.usual) - _logs(self.usual[None], self.usual))

    def errors(self, signs: _Signs) -> _Values:
        """The expected error of each row of signs."""
        return np.exp(read_rising(self.blame(signs).sum(1), self.curve_x, self.curve_y))


@dataclass(frozen=True)
class _Seen:
    """What faces that a run has seen are like."""

    mean: Float[np.ndarray, " d"]
    whiten: Float[np.ndarray, "d k"]
    codes: Float[np.ndarray, "m k"]
    looks: Float[np.ndarray, "m l"]

    def signs(self, crops: Pictures, given: "Answers") -> Float[np.ndarray, "n 3"]:
        """Of SIGNS, how far each face is from them, and what its answers say."""
        distance = neighbour_distance((given.codes - self.mean) @ self.whiten, self.codes)
        looks = neighbour_distance(small_looks(crops), self.looks)
        return np.stack([distance, looks / np.sqrt(self.looks.shape[1]), given.spread], 1)


@dataclass(frozen=True)
class Trust:
    """What is needed to judge faces of one side of a run. `bound`: errors up to it are trusted."""

    side: Side
    seen: _Seen
    calibration: Calibration
    bound: float
    heldout_within: float
    """The share of the held-out faces whose true error is within the bound."""

    @property
    def bound_db(self) -> float:
        """The bound as a PSNR, dB."""
        return float(as_db(np.array([self.bound]))[0])

    def judge(self, run: TrainedRun, crops: Pictures, masks: Masks) -> TrustScores:
        """How far the run can be trusted on crops at the model's size."""
        # Part by part: of a long clip's faces, the answers alone would be many gigabytes.
        signs = []
        for start in range(0, len(crops), AT_ONCE):
            some, inside = crops[start : start + AT_ONCE], masks[start : start + AT_ONCE]
            given = answers_when_moved(run, self.side, some, inside)
            signs.append(self.seen.signs(some, given))
        together = np.concatenate(signs)
        expected = self.calibration.errors(together)
        blame = self.calibration.blame(together)
        distance, looks, spread = together.T
        return TrustScores(distance, looks, spread, expected, blame, expected <= self.bound)


@dataclass(frozen=True)
class Answers:
    """What a run answers to some faces and to the same ones moved by a pixel."""

    codes: Float[np.ndarray, "n d"]
    rebuilt: Float[np.ndarray, "n s s 3"]
    spread: _Values


def fit_trust(run: TrainedRun, known: KnownFaces) -> Trust:
    """Learn from the known faces of one side how far the run can be trusted on others.

    Raises: FaceswapError when the run has seen, or held out, no face of them.
    """
    if not known.seen.any() or known.seen.all():
        lacks = "held-out" if known.seen.all() else "seen"
        raise FaceswapError(f"{run.path}: no {lacks} {known.side} face to judge others by")
    seen, heldout = known.only(known.seen), known.only(~known.seen)
    mean, whiten = whitening(seen.codes.astype(np.float64))
    like = _Seen(mean, whiten, (seen.codes - mean) @ whiten, small_looks(seen.crops))

    def measure(crops: Pictures, masks: Masks) -> tuple[np.ndarray, np.ndarray]:
        given = answers_when_moved(run, known.side, crops, masks)
        return like.signs(crops, given), rms_inside(given.rebuilt, crops, masks)

    places, counts = np.arange(len(heldout)), (_PLAIN_FACES, _DISTURBED_FACES)
    some = (spread_evenly(len(heldout), count) for count in counts)
    plain, few = (heldout.only(np.isin(places, chosen)) for chosen in some)
    rng = np.random.default_rng(0)
    signs, errors = zip(
        measure(plain.crops, plain.masks),
        *(measure(disturb(few.crops, few.masks, rng), few.masks) for disturb in DISTURBANCES),
        strict=True,
    )
    weights = [np.full(len(e), 1 / len(e)) for e in errors]
    weights[0] *= _PLAIN_WEIGHT
    usual, every_weight = np.median(signs[0], axis=0), np.concatenate(weights)
    calibration = calibrate(np.concatenate(signs), np.concatenate(errors), every_weight, usual)
    bound = BOUND_FACTOR * float(np.median(errors[0]))
    return Trust(known.side, like, calibration, bound, float((errors[0] <= bound).mean()))


def calibrate(signs: _Signs, errors: _Values, weights: _Values, usual: _Usual) -> Calibration:
    """The map from signs to errors that fits best; by logarithms, so that small errors count too.

    Source: non-negative least squares (Lawson and Hanson 1974), then isotonic regression.
    """
    logs = _logs(signs, usual) - _logs(usual[None], usual)
    ones = np.ones((len(logs), 1))
    root = np.sqrt(weights)[:, None]
    wanted = np.log(np.maximum(errors, 1e-6))
    # Two columns of ones: the constant may have either sign.
    found, _ = nnls(np.hstack([logs, ones, -ones]) * root, wanted * root[:, 0])
    by_sign = found[: logs.shape[1]]
    return Calibration(usual, by_sign, *fit_rising(logs @ by_sign, wanted, weights))


def fit_rising(x: _Values, y: _Values, weights: _Values) -> tuple[_Knots, _Knots]:
    """Knots of the rising curve through the isotonic regression's steps, at their middles."""
    order = np.argsort(x, kind="stable")
    x, y, weights = x[order], y[order], weights[order]
    steps = isotonic_regression(y, weights=weights)
    starts = steps.blocks[:-1]
    heavy = np.add.reduceat(weights, starts)
    middles = np.add.reduceat(weights * x, starts) / heavy
    # Equal places: one knot, the mean.
    places, which = np.unique(middles, return_inverse=True)
    summed = np.bincount(which, heavy * steps.x[starts])
    return places, summed / np.bincount(which, heavy)


def read_rising(x: _Values, curve_x: _Knots, curve_y: _Knots) -> _Values:
    """The curve's height at `x`, straight between its knots; beyond them it rises one for one."""
    inside = np.clip(x, curve_x[0], curve_x[-1])
    return np.interp(inside, curve_x, curve_y) + (x - inside)


def whitening(
    codes: Float[np.ndarray, "m d"],
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d k"]]:
    """The mean of codes, and what makes their principal directions equally wide."""
    axes, spreads = principal_axes(codes)
    widened = np.hypot(spreads, _MIN_SPREAD * spreads[0])
    return codes.mean(0), axes / np.maximum(widened, 1e-12)


def neighbour_distance(
    points: Float[np.ndarray, "n d"], seen: Float[np.ndarray, "m d"], count: int = NEIGHBOURS
) -> _Values:
    """The mean distance of each point to the `count` nearest of `seen` (to all, if fewer)."""
    count = min(count, len(seen))
    squared = (points**2).sum(1)[:, None] + (seen**2).sum(1)[None] - 2 * points @ seen.T  # (n, m)
    nearest = np.partition(squared, count - 1, axis=1)[:, :count]
    return np.sqrt(np.maximum(nearest, 0)).mean(1)


def small_looks(crops: Pictures) -> Float[np.ndarray, "n l"]:
    """The middle of each crop, seen small, as a row of numbers in [0, 1]."""
    size = (_LOOK_PX, _LOOK_PX)
    inner = slice(_LOOK_BORDER, -_LOOK_BORDER)
    small = np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in crops])
    return small[:, inner, inner].reshape(len(crops), -1) / 255.0


def answers_when_moved(run: TrainedRun, side: Side, crops: Pictures, masks: Masks) -> Answers:
    """What the run answers to faces, and how much the answers change by moving them a pixel."""
    step = max(1, round(crops.shape[1] / 64))
    moves = [(0, 0), (step, step), (-step, -step), (step, -step), (-step, step)]
    views = [View(*move, False) for move in moves]
    codes, rebuilt, squares = [], [], []
    for start in range(0, len(crops), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        given = answers(run.model, as_pixels(run.model, crops[part]), views, [side])
        codes_of, painted = zip(*given, strict=True)
        codes.append(codes_of[0].float().cpu().numpy())
        looks = [as_pictures(faces[0][0].float()) for faces in painted]
        rebuilt.append(looks[0])
        changes = [rms_inside(moved, looks[0], masks[part]) ** 2 for moved in looks[1:]]
        squares.append(np.mean(changes, axis=0))
    return Answers(np.concatenate(codes), np.concatenate(rebuilt), np.sqrt(np.concatenate(squares)))


def pick_worst(errors: _Values, frames: Int[np.ndarray, " n"], count: int) -> list[int]:
    """Places of the largest errors, largest first, none of them near another in time.

    How near is near: so that `count` of them could fill half of the time.
    """
    apart = max(1, int(np.ptp(frames)) // (2 * count)) if len(frames) else 1
    worst: list[int] = []
    for place in np.argsort(-errors, kind="stable").tolist():
        if all(abs(int(frames[place] - frames[other])) >= apart for other in worst):
            worst.append(place)
        if len(worst) == count:
            break
    return worst


def rms_inside(a: _Looks, b: _Looks, masks: Masks) -> _Values:
    """Root mean square difference of each pair in its mask; in all of it where that is empty.

    In shares of the full range, as floats in [0, 1] are.
    """
    found = []
    for one, other, mask in zip(a, b, masks, strict=True):
        squared = np.square(as_float(one) - as_float(other)).mean(2)
        found.append(np.average(squared, weights=as_float(mask) if mask.any() else None))
    return np.sqrt(np.array(found))


def as_db(errors: _Values) -> _Values:
    """Root mean square errors in [0, 1] as PSNR, dB."""
    return -20 * np.log10(np.maximum(errors, 1e-6))


def _logs(signs: _Signs, usual: _Usual) -> _Signs:
    return np.log(signs + np.maximum(_FLOOR * usual, 1e-9))


# What a model meets in clips and has not learned, from a little to far too much.

Disturbance = Callable[[Pictures, Masks, _Rng], Pictures]


def _lit(gains: tuple[float, ...], crops: Pictures, masks: Masks, rng: _Rng) -> Pictures:
    """Brighter, darker or tinted; one gain for all channels, or one for each."""
    return np.clip(np.round(crops * np.array(gains)), 0, 255).astype(np.uint8)


def _moved(
    turn_deg: float, zoom: float, right: float, crops: Pictures, masks: Masks, rng: _Rng
) -> Pictures:
    """Badly placed in its crop; `right` in sides of it."""
    size = crops.shape[1]
    middle = (size - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), turn_deg, zoom)
    matrix[0, 2] += right * size
    border = cv2.BORDER_REFLECT
    moved = [cv2.warpAffine(crop, matrix, (size, size), borderMode=border) for crop in crops]
    return np.stack(moved).astype(np.uint8)


def _blurred(sigma: float, crops: Pictures, masks: Masks, rng: _Rng) -> Pictures:
    """Out of focus; `sigma` in sides of the crop."""
    sigma_px = sigma * crops.shape[1]
    return np.stack([cv2.GaussianBlur(crop, (0, 0), sigma_px) for crop in crops])


def _covered(share: float, crops: Pictures, masks: Masks, rng: _Rng) -> Pictures:
    """A mottled blot over that share of the face, anywhere on it."""
    covered = crops.copy()
    rows, columns = np.mgrid[: crops.shape[1], : crops.shape[2]]
    for picture, mask in zip(covered, masks, strict=True):
        inside = mask > mask.max() / 2
        if not inside.any():
            continue
        middle = np.argwhere(inside)[rng.integers(inside.sum())]
        long = rng.uniform(0.6, 1.7)
        away = np.hypot((rows - middle[0]) * long, (columns - middle[1]) / long)
        blot = away <= np.quantile(away[inside], share)
        mottled = rng.uniform(0, 255, 3) + 40 * rng.standard_normal((8, 8, 3))
        spots = cv2.resize(mottled, crops.shape[1:3], interpolation=cv2.INTER_CUBIC)
        picture[blot] = np.clip(spots, 0, 255)[blot].astype(np.uint8)
    return covered


DISTURBANCES: tuple[Disturbance, ...] = (
    *(partial(_lit, (gain,)) for gain in (0.9, 0.75, 0.5, 0.25, 1.1, 1.3)),
    partial(_lit, (1.08, 1.0, 0.92)),
    *(partial(_moved, turn_deg, 1.0, 0.0) for turn_deg in (4.0, -8.0, 13.0, -22.0, 40.0)),
    *(partial(_moved, 0.0, zoom, 0.0) for zoom in (1.05, 0.92)),
    partial(_moved, 0.0, 1.0, 0.03),
    *(partial(_covered, share) for share in (0.03, 0.07, 0.14, 0.25)),
    *(partial(_blurred, sigma) for sigma in (0.016, 0.03)),
)
"""Those of the calibration. Without the least misplacements, which training makes itself, shares of
trusted faces were no better on one of four real clips and much worse on another."""
