"""The default colour match: the target's light and skin tone, and nothing else of its face.

Both crops show a head from the same side, so at the same place the light cancels: what is left of
true / painted is one gain a channel, skin tone over skin tone, in linear light (von Kries 1902).
Equal means and spreads, by contrast, stretch one face over the other's beard.

Three things do not follow the gain of skin. Eyes, teeth, brows and hair keep their own colour, and
take what the pale ones among them show to have changed, exposure and white balance; as far as these
tell nothing, half of the colour that skin's gain has beyond its tone. Highlights have the lamp's
colour, and lie on a darker skin as they lie on a lighter one. And a network brings along the light
that its person was filmed in: faces are symmetric and light is not, so what grows from one side to
the other is light, and is evened out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32

from .color_map import (
    KEEP,
    MIN_COLOR_PIXELS,
    ColorMap,
    Colors,
    Image,
    Mask,
    PixelWeights,
    Samples,
    enlarged,
    spread_out,
    take_samples,
)
from .skin import BLACK, Linear, linear_ramp, skin_parts, to_coded, to_linear, upper_median

Curves = Float[np.ndarray, "3 n"]
Gain = Float[np.ndarray, " 3"]
"""Logarithms of what linear light is multiplied by, by channel."""

# Of the grid that pictures are matched on, at most.
EDGE_PX = 80
# No gain is larger, as a logarithm. The darkest of the rendered actors onto the lightest take 16.
MAX_LOG_GAIN = np.log(30)
# Above its linear foot sRGB's coded value, plus this, is a power of light.
FOOT = 0.055
# Beyond the mask factors go on as at its edge: a blur, in sides of the picture.
EDGE_SIGMA = 0.03

# A vote is down to half at this share of the median difference: what counts is where the skins
# differ by their tones, and not by a beard, a blush, make-up.
VOTE_MEDIANS = 0.4
VOTING_ROUNDS = 4
# So unlike, in the median, are one face under two lights, and two faces in one light.
ONE_FACE, TWO_FACES = 0.07, 0.11

# Chance makes so much of a slope and of a bow of two faces' light, and so much of their colour.
CHANCE_SLOPE, CHANCE_BOW = 0.3, 1.5
CHANCE_TINT = 0.05
# What else the light does is looked for this near, in sides of the grid, and believed by half when
# this share of the skin there agrees.
LOCAL_SIGMA, LOCAL_DOUBT = 0.04, 0.3

# Pale places agree about their gain this closely, or show different things. They are believed by
# half when this share of the face agrees.
PALE_SPREAD, PALE_DOUBT = 0.3, 0.005
# So near to the mask's edge, in sides of the grid, what is pale is a wall.
PALE_MARGIN = 0.06
# A skin that is lighter by one (in logarithms) is by so much more so in red, green and blue. What
# its gain has beyond that is undertone or white balance: this share of it is taken for the latter.
LIGHTER_SKIN = np.array([-0.2, 0.0, 0.2])
CAST_SHARE = 0.5


class Ballot(NamedTuple):
    """What a frame has to say of the gains; the mean of several says it more steadily."""

    grid: Float32[np.ndarray, "gh gw 6"]
    """`light`, `skin`, `pale` and `seen` of every place, in this order; 0 outside the mask."""
    one_face: float
    """1: the pictures differ by a gain alone, which all of the face follows; 0: two faces."""
    belief: float
    """How far the pale places are believed, 0 to 1."""

    @property
    def light(self) -> Float32[np.ndarray, "gh gw 3"]:
        """What the light's logarithm gains there."""
        return self.grid[..., :3]

    @property
    def skin(self) -> Float32[np.ndarray, "gh gw"]:
        """How much the place counts for skin's gain: skin in both pictures that agrees."""
        return self.grid[..., 3]

    @property
    def pale(self) -> Float32[np.ndarray, "gh gw"]:
        """How much it counts for the gain of the rest: pale in both that agrees."""
        return self.grid[..., 4]

    @property
    def seen(self) -> Float32[np.ndarray, "gh gw 1"]:
        """1 inside the mask; of several frames, in how many of them the place is, as a share."""
        return self.grid[..., 5:]


@dataclass(frozen=True)
class SkinGain:
    """A gain of skin, one of the rest, and a light that differs from place to place.

    Rows are of the samples' places.
    """

    gain: Gain
    """Of skin."""
    rest: Gain
    """Of what is no skin."""
    painted: Linear
    """The painted face's light."""
    over: Float32[np.ndarray, "n 1"]
    """Of that light, the highlights that skin's gain leaves alone."""
    wanted: Linear
    """The true face's light without its own such highlights, its slope and bow taken off."""
    skin: Float32[np.ndarray, "n 1"]
    """How much each place is skin."""
    samples: Samples
    ballot: Ballot

    def apply(self, image: Image) -> Float32[np.ndarray, "h w 3"]:
        """The picture that it was fitted to, at any size, with its colours changed.

        Float32 in [0, 1].
        """
        aside = self.ballot.light[self.samples.inside] + np.float32(self.rest)
        own = np.exp(aside + self.skin * np.float32(self.gain - self.rest))
        matched = (self.painted - self.over) * own + self.over * np.exp(aside)
        # Light's factors are the coded values', so a coarse grid of them keeps the fine detail.
        more = (to_coded(matched) + FOOT) / (np.float32(self.samples.image) + FOOT) - 1
        field = spread_out(more, self.samples, EDGE_SIGMA)
        field[self.samples.inside] = more
        image = image.astype(np.float32)
        return np.clip(image + (image + FOOT) * enlarged(field, image.shape[:2]), 0, 1)

    def steady(self, near: Sequence[tuple["SkinGain", float | int]]) -> "SkinGain":
        """The ballots averaged, and the frame's own pixels counted by them.

        So nothing lags where a swap's colours do jump.
        """
        total = sum(weight for _, weight in near)
        grid, one_face, belief = np.zeros_like(self.ballot.grid), 0.0, 0.0
        for other, weight in near:
            share = weight / total
            grid = cv2.scaleAdd(other.ballot.grid, share, grid)
            one_face += share * other.ballot.one_face
            belief += share * other.ballot.belief
        ballot = Ballot(grid, one_face, belief)
        ballot = ballot._replace(grid=grid / np.maximum(ballot.seen, 1e-6))
        own = self.painted - self.over
        gain, rest = _gains(ballot, own, self.wanted, self.samples)
        return replace(self, gain=gain, rest=rest, ballot=ballot)


def fit_skin_gain(image: Image, reference: Image, mask: Mask) -> ColorMap:
    """The map that gives `image` the light and the skin tone of `reference`.

    `image` is what was painted, `reference` the true face that it replaces, at the same places.
    """
    samples = take_samples(image, reference, mask, EDGE_PX)
    if samples is None:
        return KEEP
    weights = samples.weights
    pair = to_linear(np.stack([samples.image, samples.reference]))
    parts = skin_parts(pair, samples)
    on_skin = weights * parts.skin.prod(0)
    # Where hardly anything looks like skin, all is taken for it.
    on_skin += weights * linear_ramp(on_skin.sum(), 2 * MIN_COLOR_PIXELS, MIN_COLOR_PIXELS)
    curves, changes = _curves(samples), _changes(pair)
    vote = _vote(changes, on_skin, curves)
    one_face = float(linear_ramp(vote.spread, TWO_FACES, ONE_FACE))
    broad = curves[1:].T @ _beyond_chance(vote.shares[1:])
    pale, belief = _pale_votes(changes - broad, samples, weights * parts.pale.prod(0))
    # How much brighter skin gets than the light does: by so much highlights must not.
    brighter = _mean(changes - broad, vote.votes) - belief * _mean(changes - broad, pale)
    left_alone = (1 - one_face) * np.clip(brighter.mean(), 0, 1)
    over = np.float32(left_alone) * parts.highlight[..., None]
    own, wanted = pair[0] - over[0], (pair[1] - over[1]) * np.exp(-np.float32(broad))
    light = broad + _local_light(_changes(pair - over) - broad, vote.votes, on_skin, samples)
    rows = np.column_stack([light, vote.votes, pale, np.ones_like(pale)])
    ballot = Ballot(samples.on_grid(rows), one_face, belief)
    gain, rest = _gains(ballot, own, wanted, samples)
    skin = parts.skin[0][:, None]
    return SkinGain(gain, rest, pair[0], over[0], wanted, skin, samples, ballot)


def _gains(ballot: Ballot, own: Linear, wanted: Linear, samples: Samples) -> tuple[Gain, Gain]:
    """The gains of skin and of the rest, as the ballot has them."""
    gain, pale_gain = (
        _gain(own, wanted, votes[samples.inside].astype(np.float64))
        for votes in (ballot.skin, ballot.pale)
    )
    # What of skin's gain is likely to be the light's colour, as long as nothing pale tells.
    lighter = gain.mean()
    cast = CAST_SHARE * (gain - lighter - lighter * LIGHTER_SKIN)
    rest = cast + ballot.belief * (pale_gain - cast)
    return gain, rest + ballot.one_face * (gain - rest)


def _gain(own: Linear, wanted: Linear, votes: PixelWeights) -> Gain:
    # A ratio of sums and no mean of ratios: a painted face is softer than a true one.
    gain = np.log((votes @ wanted + 1e-6) / (votes @ own + 1e-6))
    return np.clip(gain, -MAX_LOG_GAIN, MAX_LOG_GAIN)


def _changes(pair: Float32[np.ndarray, "2 n 3"]) -> Colors:
    """Logarithm of the second picture's light over the first's."""
    painted, true = np.log(pair + BLACK)
    return (true - painted).astype(np.float64)


def _curves(samples: Samples) -> Curves:
    """Across the face, from side to side: level, slope and bow; the last two have no mean.

    In units of the root of the mask's area, which is about a face's width.
    """
    columns, total = np.nonzero(samples.inside)[1], samples.weights.sum()
    across = (columns - samples.weights @ columns / total) / np.sqrt(total)
    bow = np.square(across)
    return np.stack([np.ones_like(across), across, bow - samples.weights @ bow / total])


class _Vote(NamedTuple):
    votes: PixelWeights
    """How much each place counts and agrees with the curves."""
    shares: Float[np.ndarray, "3 3"]
    """How much of each curve the changes have, by channel."""
    spread: float
    """How far places lie off the curves, in the median."""


def _vote(changes: Colors, weights: PixelWeights, curves: Curves) -> _Vote:
    """Curves through changes: least squares, reweighted (Cauchy), so that a majority decides."""
    core = weights > 0.5 * weights.max()
    inner, inner_weights, inner_curves = changes[core], weights[core], curves[:, core]
    off = inner - upper_median(inner)
    for _ in range(VOTING_ROUNDS):
        squares = np.einsum("ij,ij->i", off, off)
        unit = VOTE_MEDIANS**2 * float(upper_median(squares)) + 1e-8
        counted = inner_curves * (inner_weights / (1 + squares / unit))
        shares = np.linalg.solve(counted @ inner_curves.T + 1e-6 * np.eye(3), counted @ inner)
        off = inner - inner_curves.T @ shares
    spread = np.sqrt(float(upper_median(np.einsum("ij,ij->i", off, off))))
    off = changes - curves.T @ shares
    votes = weights / (1 + np.einsum("ij,ij->i", off, off) / unit)
    return _Vote(votes, shares, spread)


def _beyond_chance(shares: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """What is left of a slope and a bow, less what chance makes; brightness and colour apart."""
    brightness = np.repeat(shares.mean(1, keepdims=True), 3, axis=1)
    chance = np.array([CHANCE_SLOPE, CHANCE_BOW])
    return _shrunk(brightness, chance) + _shrunk(shares - brightness, np.full(2, CHANCE_TINT))


def _shrunk(
    shares: Float[np.ndarray, "2 3"], chance: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "2 3"]:
    """Rows no larger than chance become 0, much larger ones stay (James and Stein 1961)."""
    size = np.sqrt(np.square(shares).mean(1))
    kept = np.maximum(0, 1 - np.square(chance / np.maximum(size, 1e-9)))
    return shares * kept[:, None]


def _local_light(
    changes: Colors, votes: PixelWeights, on_skin: PixelWeights, samples: Samples
) -> Colors:
    """How the skin near each place changes beyond the gain, as far as it agrees with it."""
    off = changes - _mean(changes, votes)
    grid = samples.on_grid(np.column_stack([votes[:, None] * off, votes + LOCAL_DOUBT * on_skin]))
    sigma = LOCAL_SIGMA * max(samples.inside.shape)
    near = cv2.GaussianBlur(grid, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)[samples.inside]
    return near[:, :3].astype(np.float64) / (near[:, 3:] + 1e-3)


def _pale_votes(
    changes: Colors, samples: Samples, weights: PixelWeights
) -> tuple[PixelWeights, float]:
    """How much each pale place counts and agrees with the others; how far they are believed."""
    margin = max(1, round(PALE_MARGIN * max(samples.inside.shape)))
    kernel = np.ones((2 * margin + 1,) * 2, np.uint8)
    core = cv2.erode(samples.inside.astype(np.uint8), kernel, borderValue=0)
    weights = weights * core[samples.inside]
    votes, some = np.zeros_like(weights), weights > 0
    if not some.any():
        return votes, 0.0
    changes, level = changes[some], _mean(changes, weights)
    for _ in range(3):
        off = (changes - level) / PALE_SPREAD
        votes[some] = weights[some] / (1 + np.einsum("ij,ij->i", off, off))
        level = _mean(changes, votes[some])
    return votes, float(votes.sum() / (votes.sum() + PALE_DOUBT * samples.weights.sum()))


def _mean(changes: Colors, votes: PixelWeights) -> Gain:
    return votes @ changes / max(float(votes.sum()), 1e-9)
