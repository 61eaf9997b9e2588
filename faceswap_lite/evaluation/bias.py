"""What a model does to the distribution of what faces show: shifts, shrinks, merges, combines.

After Zhao et al. 2018, "Bias and Generalization in Deep Generative Models: An Empirical Study":
faces are projected to a few numbers, and the distributions of inputs and outputs are compared.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..faces.attributes import ATTRIBUTES, Readings
from ..metrics.distributions import slope, spread_ratio, wasserstein_1

MIN_GROUP_FACES = 10
"""Fewer faces that can be read, before and after, say nothing about a distribution."""

BINS = 24
"""Of the shared histograms."""

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


def attribute_bias(inputs: Readings, outputs: Readings) -> dict[str, AttributeBias]:
    """What became of every attribute, by its name: outputs beside the inputs that they are of.

    Raises: ValueError when there are not as many outputs as inputs.
    """
    return {
        name: compare_groups(
            getattr(inputs, name), getattr(outputs, name), circular=name in _CIRCULAR
        )
        for name in ATTRIBUTES
    }


def compare_groups(
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
    if count < MIN_GROUP_FACES:
        reason = f"{count} faces could be read before and after; {MIN_GROUP_FACES} are needed"
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
