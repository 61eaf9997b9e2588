"""What a metric is: one figure of a clip's columns, with its interval, for one run or for two."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..config import ConvertConfig
from ..conversion.blend import Layer
from ..conversion.composite import Composite
from ..conversion.painted import PaintedFace
from ..faces.attributes import Reader
from ..faces.pack import FacePack
from ..media.clips import Frame, as_uint8
from ..media.truth import ClipTruth
from ..metrics.intervals import Interval, block_length, draw_blocks, interval
from ..outputs import plain
from ..runs.trained import TrainedRun
from .judge import Judge

Perceptual = Callable[[np.ndarray, np.ndarray], float]
"""A perceptual distance of two pictures, RGB, bytes or floats in [0, 1]."""

Row = dict[str, float]
"""A frame's numbers by their columns' names; one that it does not have is left out."""


@dataclass(frozen=True)
class Instruments:
    """What one worker measures with."""

    pack: FacePack
    reader: Reader
    judge: Judge | None
    lpips: Perceptual | None


@dataclass(frozen=True)
class Moment:
    """A frame with all that is beside it: `swap` and the twins are of clips of the same length.

    `number`: of the face among the clip's; `judged`: the judge is asked about it.
    """

    made: Composite
    swap: Frame | None
    twin_raw: Frame | None
    twin_matched: Frame | None
    number: int
    judged: bool

    @property
    def face(self) -> PaintedFace | None:
        """The leftmost painted face."""
        return self.made.painted.faces[0] if self.made.painted.faces else None

    @property
    def layer(self) -> Layer | None:
        """What shows of it."""
        return self.made.layers[0] if self.made.layers else None

    @property
    def shown(self) -> np.ndarray:
        """The swapped frame, 8 bits."""
        return as_uint8(self.swap.image if self.swap is not None else self.made.image)

    @property
    def target(self) -> np.ndarray:
        """The frame as it was, 8 bits."""
        return as_uint8(self.made.frame.image)


@dataclass(frozen=True)
class Scene:
    """A moment with all that it is measured by. `before`: the one before it, for what moves."""

    moment: Moment
    before: Moment | None
    run: TrainedRun
    convert: ConvertConfig
    tools: Instruments
    truth: ClipTruth | None


FrameMeasure = Callable[[Scene], Row]
"""Some of a frame's columns; it leaves out what the frame does not allow."""


@dataclass(frozen=True)
class Series:
    """One row a frame; a column's value is NaN where a frame has none."""

    index: Int[np.ndarray, " n"]
    time_s: Float[np.ndarray, " n"]
    columns: dict[str, Float[np.ndarray, " n"]]

    def __len__(self) -> int:
        return len(self.index)

    def get(self, name: str) -> Float[np.ndarray, " n"]:
        """A column; all NaN where nothing of the kind was measured."""
        return self.columns.get(name, np.full(len(self), np.nan))


Better = Literal["higher", "lower", "one", "zero"]
Columns = Mapping[str, Float[np.ndarray, " m"]]
Figure = Callable[[Columns], float | None]
"""One number from the columns of some frames, or None where they do not allow it.

So the same function, on frames drawn anew, gives its confidence interval, and on two runs' series
the interval of their difference.
"""

Need = Literal[
    "unseen clip",
    "every frame",
    "seen faces",
    "painted faces",
    "likeness",
    "mesh",
    "twin",
    "lpips",
    "occlusion",
]
"""What a figure cannot do without; `workbench.lacking` says why it is not there."""

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
    """One figure, and all that the report, its page and its table say of it.

    `better`: which way is good; None: neither by itself. `by`: what measures its columns, frame by
    frame. Without one of its `needs` it is null, and the reason is said.
    """

    title: str
    unit: str
    better: Better | None
    group: str
    note: str
    of: Figure
    by: tuple[FrameMeasure, ...] = ()
    needs: tuple[Need, ...] = ()


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


def figures(metrics: Mapping[str, Metric], series: Series, seed: int) -> dict[str, Interval | None]:
    """Every metric with its interval; None where the clip does not allow it."""
    resample = _Resampling([series], seed)
    return {
        name: interval(_statistic(metric, series), resample.draws(metric))
        if np.isfinite(_statistic(metric, series)(np.arange(len(series))))
        else None
        for name, metric in metrics.items()
    }


class Difference(NamedTuple):
    """Two runs by one metric, on the same frames of one clip."""

    gap: Interval
    """How far `b` lies above `a`."""
    worse: Interval | None
    """How much further `b` is from the best than `a`; None where neither way is good by itself."""


def differences(
    metrics: Mapping[str, Metric], a: Series, b: Series, seed: int
) -> dict[str, Difference]:
    """Every metric that both series allow."""
    resample = _Resampling([a, b], seed)
    found = {name: _difference(metric, a, b, resample) for name, metric in metrics.items()}
    return {name: difference for name, difference in found.items() if difference is not None}


def _difference(metric: Metric, a: Series, b: Series, resample: "_Resampling") -> Difference | None:
    of_a, of_b = _statistic(metric, a), _statistic(metric, b)
    if not np.isfinite([of(np.arange(len(a))) for of in (of_a, of_b)]).all():
        return None
    draws = resample.draws(metric)
    gap = interval(lambda frames: of_b(frames) - of_a(frames), draws)
    if metric.better is None:
        return Difference(gap, None)
    fault = FAULTS[metric.better]
    worse = interval(lambda frames: fault(of_b(frames)) - fault(of_a(frames)), draws)
    return Difference(gap, worse)


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


def _statistic(metric: Metric, series: Series) -> Callable[[Int[np.ndarray, " m"]], float]:
    def of(frames: Int[np.ndarray, " m"]) -> float:
        value = metric.of(_Frames(series, frames))
        return float("nan") if value is None else value

    return of


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
