"""The figures of a report: each one's name, how it is read, and how it comes from a clip's series.

A figure is a function of some of the clip's frames, so that the same function, on frames drawn
anew, gives its confidence interval, and on two runs' series the interval of their difference.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..metrics.clips import correlation, spread_ratio
from ..metrics.distributions import series_noise
from ..metrics.intervals import Interval, block_length, draw_blocks, interval
from .walk import Series

Better = Literal["higher", "lower", "one", "zero"]
Columns = Mapping[str, Float[np.ndarray, " m"]]

FAULTS: dict[Better, Callable[[float], float]] = {
    "higher": lambda value: -value,
    "lower": lambda value: value,
    "one": lambda value: abs(value - 1),
    "zero": abs,
}
"""How far a figure is from the best: less is better."""

DRAWS = 1000
"""Resamplings behind an interval of 95 %."""


@dataclass(frozen=True)
class Metric:
    """One figure. `of`: from the columns of some frames, or None where they do not allow it.

    `better`: which way is good; None: neither by itself.
    """

    title: str
    unit: str
    better: Better | None
    group: str
    note: str
    of: Callable[[Columns], float | None]


def _finite(values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " k"]:
    return values[np.isfinite(values)]


def _mean(name: str) -> Callable[[Columns], float | None]:
    def of(columns: Columns) -> float | None:
        known = _finite(columns[name])
        return float(known.mean()) if len(known) else None

    return of


def _median(name: str) -> Callable[[Columns], float | None]:
    def of(columns: Columns) -> float | None:
        known = _finite(columns[name])
        return float(np.median(known)) if len(known) else None

    return of


def _ratio(name: str, over: str) -> Callable[[Columns], float | None]:
    """Mean over mean, of the frames that have both."""

    def of(columns: Columns) -> float | None:
        both = np.isfinite(columns[name]) & np.isfinite(columns[over])
        below = columns[over][both].mean() if both.any() else 0.0
        return float(columns[name][both].mean() / below) if below > 0 else None

    return of


def _difference(name: str, minus: str) -> Callable[[Columns], float | None]:
    def of(columns: Columns) -> float | None:
        known = _finite(columns[name] - columns[minus])
        return float(known.mean()) if len(known) else None

    return of


def _error(name: str, reference: str) -> Callable[[Columns], float | None]:
    def of(columns: Columns) -> float | None:
        known = _finite(np.abs(columns[name] - columns[reference]))
        return float(known.mean()) if len(known) else None

    return of


def _pose_error(columns: Columns) -> float | None:
    names = ("yaw_deg", "pitch_deg", "roll_deg")
    gaps = np.stack([columns[name] - columns[f"target_{name}"] for name in names])
    known = _finite(np.linalg.norm(gaps, axis=0))
    return float(known.mean()) if len(known) else None


def _correlation(name: str, reference: str) -> Callable[[Columns], float | None]:
    return lambda columns: correlation(columns[name], columns[reference])


def _spread(name: str, reference: str) -> Callable[[Columns], float | None]:
    return lambda columns: spread_ratio(columns[name], columns[reference])


def _nearer(columns: Columns) -> float | None:
    known = np.isfinite(columns["to_source"])
    nearer = columns["to_source"] < columns["to_target"]
    return float(nearer[known].mean()) if known.any() else None


def _normalised(columns: Columns) -> float | None:
    distance, spread = _finite(columns["to_source"]), _finite(columns["own_spread"])
    return float(np.median(distance) / spread[0]) if len(distance) and len(spread) else None


METRICS: dict[str, Metric] = {
    "seen_psnr_db": Metric(
        "Rebuilt, seen in training", "dB", "higher", "reconstruction",
        "faces of the training set, unwarped; what the unseen ones are compared with",
        _mean("seen_psnr_db"),
    ),
    "heldout_psnr_db": Metric(
        "Rebuilt, unseen", "dB", "higher", "reconstruction",
        "the target's face through its own decoder, inside the mask, at the model's size",
        _mean("psnr_db"),
    ),
    "heldout_ssim": Metric(
        "SSIM, unseen", "", "higher", "reconstruction", "at most 1", _mean("ssim")
    ),
    "heldout_ms_ssim": Metric(
        "MS-SSIM, unseen", "", "higher", "reconstruction",
        "at most 1; as many of the five scales as the model's size allows", _mean("ms_ssim"),
    ),
    "generalization_gap_db": Metric(
        "Generalisation gap", "dB", "zero", "reconstruction",
        "seen minus unseen; near 0: what was learned holds. The interval is of the unseen alone",
        _difference("seen_psnr_db", "psnr_db"),
    ),
    "detected": Metric(
        "Face found in the swap", "share", "higher", "identity",
        "of the frames in which a face was painted", _mean("detected"),
    ),
    "identity_to_source": Metric(
        "Distance to the source", "", "lower", "identity",
        "of the judge's vectors: lower is nearer", _median("to_source"),
    ),
    "identity_to_target": Metric(
        "Distance to the target", "", None, "identity",
        "should be the larger one", _median("to_target"),
    ),
    "identity_to_source_normalised": Metric(
        "Distance to the source, in its own spread", "", "lower", "identity",
        "1: as far from the source's mean as 95 % of its own faces keep within", _normalised,
    ),
    "identity_margin_positive": Metric(
        "Nearer to the source", "share", "higher", "identity",
        "frames nearer to the source's mean than to the target's", _nearer,
    ),
    "identity_top1": Metric(
        "Nearest of all known faces", "share", "higher", "identity",
        "frames whose nearest face among all known sets is one of the source", _mean("top1"),
    ),
    "yaw_correlation": Metric(
        "Yaw follows", "", "higher", "pose", "correlation with the target's; at most 1",
        _correlation("yaw_deg", "target_yaw_deg"),
    ),
    "yaw_spread_ratio": Metric(
        "Yaw's spread", "", "one", "pose",
        "standard deviation over the target's: below 1, turns are held back",
        _spread("yaw_deg", "target_yaw_deg"),
    ),
    "yaw_error_deg": Metric(
        "Yaw error", "°", "lower", "pose", "read it beside the estimator's own noise",
        _error("yaw_deg", "target_yaw_deg"),
    ),
    "pose_error_deg": Metric(
        "Pose error", "°", "lower", "pose", "length of the yaw, pitch and roll errors together",
        _pose_error,
    ),
    "yaw_noise_deg": Metric(
        "The estimator's own noise, yaw", "°", None, "pose",
        "standard deviation, from the target's own trembling: errors near it say nothing",
        lambda columns: series_noise(columns["target_yaw_deg"]),
    ),
    "mouth_correlation": Metric(
        "Mouth follows", "", "higher", "expression", "correlation of the lips' gap; at most 1",
        _correlation("mouth", "target_mouth"),
    ),
    "mouth_spread_ratio": Metric(
        "Mouth's spread", "", "one", "expression",
        "below 1, the mouth opens less than the target's", _spread("mouth", "target_mouth"),
    ),
    "eyes_correlation": Metric(
        "Eyes follow", "", "higher", "expression", "correlation of the lids' gap; at most 1",
        _correlation("eyes", "target_eyes"),
    ),
    "eyes_spread_ratio": Metric(
        "Eyes' spread", "", "one", "expression",
        "below 1, the eyes open and close less than the target's",
        _spread("eyes", "target_eyes"),
    ),
    "landmark_nme": Metric(
        "Landmark error", "eye distances", "lower", "expression",
        "mean distance of the points; another person's face has other proportions, so never 0",
        _mean("nme"),
    ),
    "seam_delta_e": Metric(
        "Seam", "ΔE", "zero", "blending",
        "colour step across the mask's edge, beyond that of the untouched frame; below 0: smoother",
        _difference("seam_delta_e", "target_seam_delta_e"),
    ),
    "sharpness_ratio": Metric(
        "Sharpness", "", "one", "blending", "below 1: softer than the target",
        _median("sharpness"),
    ),
    "flicker_ratio": Metric(
        "Colour flicker", "", "one", "time",
        "mean step of the face's mean Lab colour, over the target's",
        _ratio("lab_step", "target_lab_step"),
    ),
    "warp_error_ratio": Metric(
        "Movement that tears", "", "one", "time",
        "warp error over the target's; blur lowers it: read it beside the sharpness",
        _ratio("warp", "target_warp"),
    ),
    "truth_psnr_db": Metric(
        "To the true swap", "dB", "higher", "truth", "without colour matching",
        _mean("truth_psnr_db"),
    ),
    "truth_ssim": Metric(
        "SSIM to the true swap", "", "higher", "truth", "at most 1", _mean("truth_ssim")
    ),
    "unswapped_psnr_db": Metric(
        "Doing nothing scores", "dB", None, "truth", "the untouched clip against the true swap",
        _mean("unswapped_psnr_db"),
    ),
    "truth_matched_psnr_db": Metric(
        "To the true swap, colours matched", "dB", "higher", "truth",
        "the finished frame against the true swap in the target's skin tone",
        _mean("truth_matched_psnr_db"),
    ),
    "truth_yaw_error_deg": Metric(
        "Yaw error to the true swap", "°", "lower", "truth", "both read by one instrument",
        _error("yaw_deg", "truth_yaw_deg"),
    ),
    "truth_mouth_correlation": Metric(
        "Mouth follows the true swap's", "", "higher", "truth", "at most 1",
        _correlation("mouth", "truth_mouth"),
    ),
    "truth_landmark_nme": Metric(
        "Landmark error to the true swap", "eye distances", "lower", "truth",
        "the same person's face: 0 is possible here", _mean("truth_nme"),
    ),
    "truth_sharpness_ratio": Metric(
        "Sharpness of the true swap reached", "", "one", "truth", "below 1: softer",
        _median("truth_sharpness"),
    ),
    "heldout_lpips": Metric(
        "LPIPS, unseen", "", "lower", "perceptual", "rebuilt against true; 0: alike",
        _mean("lpips"),
    ),
    "truth_lpips": Metric(
        "LPIPS to the true swap", "", "lower", "perceptual", "0: alike", _mean("truth_lpips")
    ),
}  # fmt: skip


class _Frames(Mapping[str, np.ndarray]):
    """The columns of some frames; one that was never measured is NaN throughout.

    `asked`: the columns that somebody looked at.
    """

    def __init__(self, series: Series, frames: Int[np.ndarray, " m"]) -> None:
        self._series, self._frames = series, frames
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.asked.add(name)
        return self._series.get(name)[self._frames]

    def __iter__(self) -> Iterator[str]:
        return iter(self._series.columns)

    def __len__(self) -> int:
        return len(self._series.columns)


def figures(series: Series, seed: int) -> dict[str, Interval | None]:
    """Every metric with its interval; None where the clip does not allow it."""
    resample = _Resampling([series], seed)
    return {
        name: interval(_statistic(metric, series), resample.draws(metric))
        if np.isfinite(_statistic(metric, series)(np.arange(len(series))))
        else None
        for name, metric in METRICS.items()
    }


class Difference(NamedTuple):
    """Two runs by one metric, on the same frames of one clip."""

    gap: Interval
    """How far `b` lies above `a`."""
    worse: Interval | None
    """How much further `b` is from the best than `a`; None where neither way is good by itself."""


def differences(a: Series, b: Series, seed: int) -> dict[str, Difference]:
    """Every metric that both series allow."""
    resample, found = _Resampling([a, b], seed), {}
    everywhere = np.arange(len(a))
    for name, metric in METRICS.items():
        of_a, of_b = _statistic(metric, a), _statistic(metric, b)
        if not (np.isfinite(of_a(everywhere)) and np.isfinite(of_b(everywhere))):
            continue
        draws = resample.draws(metric)
        worse = None
        if metric.better is not None:
            fault = FAULTS[metric.better]
            worse = interval(_less(_then(of_b, fault), _then(of_a, fault)), draws)
        found[name] = Difference(interval(_less(of_b, of_a), draws), worse)
    return found


def difference_json(found: Difference) -> dict[str, Any]:
    """A difference as the report says it: how large, whether it is real, and who is better."""
    better = None
    if found.worse is not None and _leaves_out_zero(found.worse):
        better = "a" if found.worse.value > 0 else "b"
    return {
        "difference": plain(found.gap.value),
        "low": plain(found.gap.low),
        "high": plain(found.gap.high),
        "real": _leaves_out_zero(found.gap),
        "better": better,
    }


def _leaves_out_zero(bounds: Interval) -> bool:
    # Bounds without width are those of a number that the clip's frames have no part in.
    known = bool(np.isfinite([bounds.low, bounds.high]).all()) and bounds.high > bounds.low
    return known and not bounds.low <= 0 <= bounds.high


def plain(value: float | None) -> float | None:
    """A number as JSON can hold it, with the digits that mean something."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.5g}")


def _statistic(metric: Metric, series: Series) -> Callable[[Int[np.ndarray, " m"]], float]:
    def of(frames: Int[np.ndarray, " m"]) -> float:
        value = metric.of(_Frames(series, frames))
        return float("nan") if value is None else value

    return of


_Statistic = Callable[[Int[np.ndarray, " m"]], float]


def _less(b: _Statistic, a: _Statistic) -> _Statistic:
    """`b` less `a` on the same frames."""
    return lambda frames: b(frames) - a(frames)


def _then(statistic: _Statistic, change: Callable[[float], float]) -> _Statistic:
    return lambda frames: change(statistic(frames))


class _Resampling:
    """Frames drawn anew, in blocks as long as a metric's columns need."""

    def __init__(self, series: Sequence[Series], seed: int) -> None:
        self._series, self._seed = series, seed
        self._known: dict[int, np.ndarray] = {}

    def draws(self, metric: Metric) -> Int[np.ndarray, "draws n"]:
        """For one metric."""
        frames = np.arange(len(self._series[0]))
        block = 1
        for series in self._series:
            columns = _Frames(series, frames)
            metric.of(columns)
            for name in columns.asked:
                block = max(block, block_length(series.get(name)))
        if block not in self._known:
            rng = np.random.default_rng([self._seed, block])
            self._known[block] = draw_blocks(len(frames), block, DRAWS, rng)
        return self._known[block]
