"""What a model does to the distribution of what faces show: shifts, shrinks, merges, combines.

After Zhao et al. 2018, "Bias and Generalization in Deep Generative Models: An Empirical Study":
faces are projected to a few numbers, and the distributions of inputs and outputs are compared.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import find_peaks

from ..faces.reading import ATTRIBUTES, Readings
from ..metrics.clips import spread_ratio
from ..metrics.distributions import slope, wasserstein_1

FEWEST_FACES = 10
"""Fewer faces that can be read, before and after, say nothing about a distribution."""

BINS = 24
"""Of the shared histograms."""

PROMINENCE = 0.1
"""A mode stands this far above the valley to the next higher one, in shares of the highest."""

# Angles that turn all the way round; poses do not.
_CIRCULAR = ("hue_deg",)


@dataclass(frozen=True)
class AttributeBias:
    """What became of one attribute. None where it cannot be said; `reason` then says why."""

    faces: int
    """Read both in the input and in the output; all else is about these."""
    mean_shift: float | None
    """Mean of outputs less inputs, in the attribute's unit."""
    spread_ratio: float | None
    """Standard deviation of the outputs in those of the inputs: below 1, they are alike."""
    slope: float | None
    """Of the least-squares line of outputs over their inputs: 1 follows, 0 ignores."""
    wasserstein: float | None
    """How far, on the mean, inputs are moved to become the outputs, order aside; in the unit."""
    edges: list[float]
    inputs: list[int]
    outputs: list[int]
    """Counts between the shared `edges`."""
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For a report; without NaN."""
        return asdict(self)


def attribute_bias(inputs: Readings, outputs: Readings) -> dict[str, AttributeBias]:
    """What became of every attribute, by its name: outputs beside the inputs that they are of.

    Raises: ValueError when there are not as many outputs as inputs.
    """
    return {
        name: compare(getattr(inputs, name), getattr(outputs, name), circular=name in _CIRCULAR)
        for name in ATTRIBUTES
    }


def compare(
    inputs: Float[np.ndarray, " n"], outputs: Float[np.ndarray, " m"], *, circular: bool = False
) -> AttributeBias:
    """One attribute's numbers. `circular`: degrees in which 359 is beside 0.

    Circular inputs are laid out around their mean direction, each output beside its own input, so
    that neither is torn apart; edges may then lie beyond 180.
    Raises: ValueError when there are not as many outputs as inputs.
    """
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs of {len(inputs)} inputs")
    known = np.isfinite(inputs) & np.isfinite(outputs)
    before, after = inputs[known].astype(np.float64), outputs[known].astype(np.float64)
    count = len(before)
    if count < FEWEST_FACES:
        reason = f"{count} faces could be read before and after; {FEWEST_FACES} are needed"
        return AttributeBias(count, None, None, None, None, [], [], [], reason)
    if circular:
        before = around(before, mean_direction(before))
        after = around(after, before)
    low, high = (float(f([f(before), f(after)])) for f in (np.min, np.max))
    # A histogram needs some width.
    edges = np.linspace(low, high if high > low else low + 1e-6, BINS + 1)
    follows = slope(after, before)
    return AttributeBias(
        faces=count,
        mean_shift=float((after - before).mean()),
        spread_ratio=spread_ratio(after, before),
        slope=follows,
        wasserstein=wasserstein_1(before, after),
        edges=edges.tolist(),
        inputs=np.histogram(before, edges)[0].tolist(),
        outputs=np.histogram(after, edges)[0].tolist(),
        reason="the inputs do not vary" if follows is None else None,
    )


def mean_direction(degrees: Float[np.ndarray, " n"]) -> float:
    """The direction of the sum of unit vectors, -180 to 180."""
    radians = np.radians(degrees)
    return float(np.degrees(np.arctan2(np.sin(radians).sum(), np.cos(radians).sum())))


def around(
    degrees: Float[np.ndarray, " n"], middle: Float[np.ndarray, " n"] | float
) -> Float[np.ndarray, " n"]:
    """The same directions, as numbers within 180 of `middle`."""
    return middle + (degrees - middle + 180) % 360 - 180


def cells(
    yaw_deg: Float[np.ndarray, " n"],
    mouth: Float[np.ndarray, " n"],
    edges: tuple[Float[np.ndarray, " a"], Float[np.ndarray, " b"]],
) -> Int[np.ndarray, " n"]:
    """Which combination of yaw and mouth each face shows: row (b + 1) * yaw's bin + mouth's bin.

    `edges`: the inner borders of the bins, rising; the outer bins are open. -1: not readable.
    """
    rows, columns = np.digitize(yaw_deg, edges[0]), np.digitize(mouth, edges[1])
    known = np.isfinite(yaw_deg) & np.isfinite(mouth)
    return np.where(known, rows * (len(edges[1]) + 1) + columns, -1)


@dataclass(frozen=True)
class NovelRate:
    """Of `inputs` faces that show a combination that training never saw; None without any."""

    inputs: int
    absent: float | None
    """The share whose output shows some combination that training never saw."""
    own: float | None
    """The share whose output shows the very combination of its input."""


def novel_combination_rate(
    input_cells: Int[np.ndarray, " n"],
    output_cells: Int[np.ndarray, " n"],
    present: Sequence[int] | Int[np.ndarray, " k"],
) -> NovelRate:
    """How often inputs of absent cells lead to outputs in absent cells.

    `present`: the cells of the training. Inputs that cannot be read (-1) are left out; outputs that
    cannot be read have failed.
    """
    asked = (input_cells >= 0) & ~np.isin(input_cells, present)
    before, after = input_cells[asked], output_cells[asked]
    if not len(before):
        return NovelRate(0, None, None)
    absent = (after >= 0) & ~np.isin(after, present)
    return NovelRate(len(before), float(absent.mean()), float((after == before).mean()))


def histogram(
    values: Float[np.ndarray, " n"], edges: Float[np.ndarray, " b"]
) -> Float[np.ndarray, " c"]:
    """The share of the values in each bin; what lies beyond the edges is in the outermost bins."""
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return counts / len(values)


def kernel_density(
    values: Float[np.ndarray, " n"], at: Float[np.ndarray, " g"], bandwidth: float
) -> Float[np.ndarray, " g"]:
    """Density of the values at given places: the mean of normal bells of SD `bandwidth`."""
    away = (at[:, None] - values[None]) / bandwidth
    return np.exp(-(away**2) / 2).mean(1) / (bandwidth * np.sqrt(2 * np.pi))


def count_modes(
    values: Float[np.ndarray, " n"], bandwidth: float, prominence: float = PROMINENCE
) -> int:
    """How many peaks the kernel density has that stand out.

    A peak counts when it rises above the higher of the valleys beside it by `prominence` of the
    highest peak, so that the ripple of chance does not.
    """
    reach = 4 * bandwidth
    at = np.arange(values.min() - reach, values.max() + reach, bandwidth / 8)
    density = kernel_density(values, at, bandwidth)
    return len(find_peaks(density, prominence=prominence * density.max())[0])
