"""Which movements a swap holds back, and why: what a spread below the target's comes from."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..curation.pose_coverage import Attributes, Coverage
from .bias import AttributeBias

WITHIN = (0.8, 1.2)
"""A spread (SD of outputs over that of inputs) within these follows."""

OUTSIDE = 0.1
"""Share of the clip beyond the source's range from which that is the reason."""

SELDOM = 0.1
"""Below this share of the source's faces, what the clip often shows is seldom learned."""

OFTEN = 75
"""The percentile of the clip's values from which on they count as its large ones."""


WATCHED = {
    "yaw_deg": ("The head turns", "turn as far"),
    "mouth": ("The mouth opens", "open the mouth as wide"),
    "eyes": ("The eyes open and close", "open the eyes as wide"),
}
"""By the names of readings and of curation's attributes: what a person sees first; and its large
values, as what faces do."""

REMEDIED = ("mouth", "eyes")
"""What `convert` can move as the clip's, by an option of that name."""


@dataclass(frozen=True)
class HeldBack:
    """One movement whose spread is not the target's."""

    attribute: str
    swapped: float
    rebuilt: float | None
    sentence: str


def held_back(
    rebuilt: Mapping[str, AttributeBias],
    swapped: Mapping[str, AttributeBias],
    source: Attributes | None,
    clip: Attributes,
    covered: Coverage | None,
    moved: Collection[str] = (),
) -> list[HeldBack]:
    """The movements whose spread in the swap is outside WITHIN, each with its likeliest reason.

    In this order: the clip goes beyond the source's range; the source shows it, but seldom; not
    even the target's own decoder follows; else the code does not carry it across. `source`: what
    its seen faces show; `covered`: the clip's faces by the source's; `moved`: what was moved as the
    clip's, for which there is no remedy left to name.
    """
    found = []
    for name, (moves, large) in WATCHED.items():
        swap, own = swapped[name].spread_ratio, rebuilt[name].spread_ratio
        if swap is None or WITHIN[0] <= swap <= WITHIN[1]:
            continue
        if swap > WITHIN[1]:
            said = f"{moves} {swap:.2f} times as much as the target's: the swap exaggerates"
        else:
            reason = _reason(name, large, own, source, clip, covered)
            said = f"{moves} {100 * swap:.0f} % as much as the target's: {reason}"
        if name in REMEDIED and name not in moved:
            said += f"; --set convert.{name}=target moves the painted ones as in the clip"
        found.append(HeldBack(name, swap, own, f"{said}."))
    return found


def _reason(
    name: str,
    large: str,
    own: float | None,
    source: Attributes | None,
    clip: Attributes,
    covered: Coverage | None,
) -> str:
    beyond = 0.0
    if covered is not None and name in covered.attributes:
        attribute = covered.attributes[name]
        beyond = attribute.below_share + attribute.above_share
    if beyond >= OUTSIDE:
        return f"{100 * beyond:.0f} % of the clip's faces are beyond the source's range"
    seldom = None if source is None else seldom_share(getattr(source, name), getattr(clip, name))
    if seldom is not None and seldom < SELDOM:
        return (
            f"only {100 * seldom:.0f} % of the source's faces {large} as the largest quarter "
            "of the clip's do"
        )
    if own is not None and own < WITHIN[0]:
        return (
            f"not even the target's own decoder follows ({100 * own:.0f} %); it is not learned yet"
        )
    return "the target's own decoder follows, the source's does not: the code does not carry it"


def seldom_share(source: Float[np.ndarray, " m"], clip: Float[np.ndarray, " n"]) -> float | None:
    """The share of the source's faces as far from the clip's median as its largest quarter is.

    On the side to which the clip's tail is longer. None when either is unknown.
    """
    source, clip = source[np.isfinite(source)], clip[np.isfinite(clip)]
    if not len(source) or not len(clip):
        return None
    low, middle, high = np.percentile(clip, [100 - OFTEN, 50, OFTEN])
    # Openings have their tail above; an angle's may be on either side.
    if middle - low > 1.1 * (high - middle):
        return float((source <= low).mean())
    return float((source >= high).mean())
