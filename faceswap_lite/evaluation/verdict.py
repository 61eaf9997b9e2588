"""When to stop, and what holds a result back: one sentence with its evidence in it.

Thresholds are stated once, below, with their reasons. None is fitted to the runs of
benchmarks/study_verdict.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..config import AugmentConfig, Side
from ..curation.pose_coverage import KINDS, Coverage
from ..metrics.distributions import series_noise
from ..metrics.intervals import Interval
from ..models.autoencoder import SIDES
from ..runs.log import History

FindingKind = Literal[
    "out_of_range", "data_limited", "over_fitting", "still_improving", "plateau", "too_early"
]

ORDER: tuple[FindingKind, ...] = (
    "out_of_range", "data_limited", "over_fitting", "too_early", "still_improving", "plateau",
)  # fmt: skip
"""What is to be mended first comes first: no training helps a clip that the model cannot take, and
none brings back footage that is not there."""

MIN_LOOKS = 8
"""A third of fewer looks has no slope worth the name."""

MATERIAL = 0.03
"""A smaller relative change of the held-out loss is what another seed changes, too."""

NOISES = 2.0
"""A change must stand out of the curve's own scatter by so many standard deviations."""

RISE, RISE_NOISES = 0.05, 3.0
"""Both for a rise since the best look: that one is the least of many, and chance had a hand in it.
"""

HALF_AS_GOOD_DB = 6.0
"""So much fewer dB: twice the error (root mean square)."""

MIN_GAP_DB = 1.0
"""With less between seen and held-out faces, what was learned holds: a rising loss only wanders."""

OUT_OF_RANGE_SHARE = 0.2
"""Of a clip's faces beyond all that either set shows: a fifth of a clip cannot be overlooked."""

DATA_SHARE = 0.1
"""Of a clip's faces that the target's set knows and the source's does not. Less is asked for than
of OUT_OF_RANGE_SHARE: footage can be added, where a clip often cannot be changed."""

TRUSTED_SHARE = 0.5
"""With less than that of a clip trusted, the model fails on most of it."""


@dataclass(frozen=True)
class Evidence:
    """What a verdict is made from. Whatever is not known is left out."""

    history: History
    seen_faces: Mapping[Side, int]
    augmented: bool
    """Training moved or warped its faces: see `is_augmented`."""
    seen_db: Mapping[Side, Interval] = field(default_factory=dict)
    """How well the run rebuilds faces that it trains on, PSNR; where missing, the log's last."""
    heldout_db: Mapping[Side, Interval] = field(default_factory=dict)
    heldout_outside: Mapping[Side, float] = field(default_factory=dict)
    """The share of held-out faces beyond what the seen ones of their side show."""
    clip_db: Interval | None = None
    """How well the target's decoder rebuilds the clip's faces, PSNR."""
    shown: Side = "target"
    """Whom of the run's two the clip shows; the other one is painted."""
    source_clip: Coverage | None = None
    """Of the clip's faces by the seen ones of the person who is painted."""
    target_clip: Coverage | None = None
    """Of the clip's faces by the seen ones of the person whom the clip shows."""
    trusted: float | None = None
    """The share of the clip's faces whose expected error is below the bound."""
    trust_bound: str = ""
    """The bound in words."""

    @property
    def painted(self) -> Side:
        """Whose face is painted."""
        return "source" if self.shown == "target" else "target"


@dataclass(frozen=True)
class Finding:
    """One thing that is true of a run."""

    kind: FindingKind
    sentence: str
    evidence: list[str]
    advice: str


@dataclass(frozen=True)
class Verdict(Finding):
    """What is to be mended first, and what else was found."""

    further: list[Finding]

    def to_json(self) -> dict[str, Any]:
        """As plain lists and texts."""
        further = [vars(finding) for finding in self.further]
        return {**vars(self), "further": further}


@dataclass(frozen=True)
class Trend:
    """How a held-out loss moves. Changes are relative: -0.1 is a tenth less."""

    steps: tuple[int, int]
    """The last third of the steps: from, to."""
    change: float
    """Of the smoothed curve: the best of the last third against the best before it."""
    best_step: int
    """Of the smoothed curve."""
    settled_step: int
    """From here on the smoothed curve gains less than MATERIAL."""
    since_best: float
    """From the smoothed best to the end."""
    noise: float
    """Standard deviation of single looks around the smoothed curve."""

    @property
    def minimum(self) -> float:
        """The smallest change that means something."""
        return max(MATERIAL, NOISES * self.noise)

    @property
    def falls(self) -> bool:
        """More is to be gained."""
        return self.change <= -self.minimum

    @property
    def rises(self) -> bool:
        """The best is behind."""
        return self.since_best >= max(RISE, RISE_NOISES * self.noise)


def is_augmented(options: AugmentConfig) -> bool:
    """Training moves or warps its faces, so that it never sees one twice alike."""
    names = ("rotation_deg", "zoom", "shift", "flip", "warp")
    return any(getattr(options, name) > 0 for name in names)


def verdict(evidence: Evidence) -> Verdict:
    """What holds a run's result back, the first thing to mend first; a plateau if nothing does.

    Several things can be true at once; the others are `further`.
    """
    looks = (_out_of_range, _data_limited, _over_fitting, _progress)
    found = [finding for look in looks if (finding := look(evidence)) is not None]
    kinds = {finding.kind for finding in found}
    if "over_fitting" in kinds:
        # A run that learns its faces by heart has nothing more to gain: that is said already.
        found = [finding for finding in found if finding.kind != "plateau"]
    first, *further = sorted(found, key=lambda finding: ORDER.index(finding.kind))
    return Verdict(**vars(first), further=further)


def trend(
    steps: Sequence[int] | Int[np.ndarray, " n"], losses: Sequence[float] | Float[np.ndarray, " n"]
) -> Trend | None:
    """How a held-out loss moves, by the looks after step 0; None for fewer than MIN_LOOKS.

    Best is compared with best, not the ends of a line: held-out losses wander for some hundred
    steps at a time, and a bump's flank is no trend.
    """
    steps, losses = np.asarray(steps, np.int64), np.asarray(losses, np.float64)
    good = (steps > 0) & np.isfinite(losses) & (losses > 0)
    steps, logs = steps[good], np.log(losses[good])
    if len(steps) < MIN_LOOKS:
        return None
    smooth = _smoothed(logs)
    best = int(smooth.argmin())
    # At least three looks on either side, however the steps between them lie: a log may begin late.
    late = int(np.clip(np.searchsorted(steps, steps[-1] * 2 / 3), 3, len(steps) - 3))
    return Trend(
        steps=(int(steps[late]), int(steps[-1])),
        change=float(np.expm1(smooth[late:].min() - smooth[:late].min())),
        best_step=int(steps[best]),
        settled_step=int(steps[(smooth <= smooth[best] + np.log1p(MATERIAL)).argmax()]),
        since_best=float(np.expm1(smooth[-1] - smooth[best])),
        noise=series_noise(logs[len(logs) // 3 :]) or 0.0,
    )


def _smoothed(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Medians of a tenth of the looks to either side (at least one), which outlast a freak look.

    At the ends there are fewer, never reflected ones.
    """
    reach = max(1, round(len(values) / 10))
    return np.array([
        np.median(values[max(0, place - reach) : place + reach + 1])
        for place in range(len(values))
    ])  # fmt: skip


def _progress(evidence: Evidence) -> Finding:
    history = evidence.history
    moves = trend(history.step, history.heldout)
    looks = int((history.step > 0).sum())
    if moves is None:
        so_far = f"{looks} held-out loss{'es' * (looks != 1)} so far"
        return Finding(
            "too_early",
            f"Too early to tell: {so_far}, and a trend needs {MIN_LOOKS}.",
            _figures(evidence),
            "keep training; a lower training.heldout.every measures more often",
        )
    third = f"the last third (steps {moves.steps[0]:,} to {moves.steps[1]:,})"
    fell = f"the held-out loss fell by {-100 * moves.change:.0f} % over {third}"
    facts = [
        f"change of the held-out loss over {third}: {100 * moves.change:+.1f} %; "
        f"what counts: {100 * moves.minimum:.1f} %",
        *_figures(evidence),
    ]
    if moves.falls:
        return Finding("still_improving", f"Still improving: {fell}.", facts, "keep training")
    if moves.change <= -MATERIAL:
        scatter = f"but single measurements scatter by {100 * moves.noise:.1f} %"
        sentence = f"Too early to tell: {fell}, {scatter}."
        return Finding("too_early", sentence, facts, "keep training")
    best = int(history.step[np.nanargmin(history.heldout)])
    advice = f"stop: step {best:,} has the lowest held-out loss"
    if moves.rises:
        up = f"{100 * moves.since_best:.0f} % since step {moves.best_step:,}"
        sentence = f"the held-out loss is up {up}"
        if not all(_seen_gets_better(history, side, moves) for side in SIDES):
            advice += "; faces it trains on are rebuilt worse, too: a lower training.lr may help"
    else:
        sentence = f"{third} changed the held-out loss by {100 * moves.change:+.1f} %"
    return Finding("plateau", f"Nothing more to gain: {sentence}; stop.", facts, advice)


def _over_fitting(evidence: Evidence) -> Finding | None:
    """The held-out loss rises while seen faces are rebuilt better; or it stands still, and seen
    faces are rebuilt with half the error of held-out ones that show nothing new."""
    history = evidence.history
    both = trend(history.step, history.heldout)
    if both is None:
        return None
    gaps = {side: _gap_db(evidence, side) for side in SIDES}
    of_sides = {side: trend(history.step, getattr(history, f"heldout_{side}")) for side in SIDES}
    # Where one side goes wrong, the sum may still fall.
    rising = [side for side, own in of_sides.items() if own is not None and own.rises]
    rising = [side for side in rising if _seen_gets_better(history, side, of_sides[side])]
    everything = both.rises and all(_seen_gets_better(history, s, both) for s in SIDES)
    apart = [
        side
        for side, own in of_sides.items()
        if own is not None
        and not own.falls
        and gaps[side] >= HALF_AS_GOOD_DB
        and evidence.heldout_outside.get(side, 0.0) < 0.25
    ]
    if everything or rising:
        sides = list(SIDES) if everything else rising
        worst = both if everything else of_sides[rising[0]]
        assert worst is not None
        whose = "" if everything else f"the {rising[0]}'s "
        what = f"{whose}held-out loss up {100 * worst.since_best:.0f} %"
        since = f"since step {worst.best_step:,}"
    elif apart:
        settled = [own.settled_step for side in apart if (own := of_sides[side]) is not None]
        sides, since = apart, f"since step {min(settled):,}"
        whose = "the held-out loss" if len(apart) == 2 else f"the {apart[0]}'s held-out loss"
        what = f"{whose} no longer falls"
    else:
        return None
    known = {side: gaps[side] for side in sides if np.isfinite(gaps[side])}
    if known and max(known.values()) < MIN_GAP_DB:
        return None
    widest = max(known, key=lambda side: known[side], default=None)
    while_seen = "faces it trains on are rebuilt better and better"
    if widest is not None and known[widest] > 0:
        whose = "" if len(sides) > 1 else f"{widest} "
        while_seen = (
            f"{whose}faces it trains on are rebuilt {known[widest]:.1f} dB better than unseen ones"
        )
    moved = "faces are moved and warped in training"
    if not evidence.augmented:
        moved = "no augmentation: faces are neither moved nor warped in training"
    facts = [f"faces trained on: {_faces_line(evidence)}", moved, *_figures(evidence)]
    mend = "more faces from other takes"
    if not evidence.augmented:
        mend += "; training.augment.warp, rotation_deg, zoom, shift above 0"
    return Finding(
        "over_fitting",
        f"Over-fitting {since}: {what} while {while_seen}.",
        facts,
        f"stop, or give it what it has not seen: {mend}; the best weights are kept",
    )


def _seen_gets_better(history: History, side: Side, since: Trend | None) -> bool:
    """From the best look on, seen faces are rebuilt no worse: what rises is no broken training."""
    assert since is not None
    seen = getattr(history, f"seen_{side}_psnr_db")
    known = np.isfinite(seen) & (history.step > 0)
    if known.sum() >= MIN_LOOKS:
        steps, values = history.step[known], _smoothed(seen[known])
        return bool(values[-1] >= values[np.searchsorted(steps, since.best_step)])
    # Runs logged before: the training loss, noisier, says the same.
    before = history.loss[history.loss_step <= since.best_step][-20:]
    after = history.loss[-20:]
    return not len(before) or bool(np.median(after) <= np.median(before))


def _gap_db(evidence: Evidence, side: Side) -> float:
    """How much better seen faces are rebuilt than held-out ones; at least, where that is known."""
    seen, heldout = evidence.seen_db.get(side), evidence.heldout_db.get(side)
    if seen is None or heldout is None:
        one, other = (
            getattr(evidence.history, f"{which}_{side}_psnr_db") for which in ("seen", "heldout")
        )
        return float(one[-1] - other[-1]) if len(one) else float("nan")
    return seen.value - heldout.value


def _out_of_range(evidence: Evidence) -> Finding | None:
    beyond = beyond_both(evidence.source_clip, evidence.target_clip)
    share = float(beyond.flags.mean()) if beyond is not None else 0.0
    heldout, clip = evidence.heldout_db.get(evidence.shown), evidence.clip_db
    worse = heldout.value - clip.value if heldout is not None and clip is not None else 0.0
    trusted, reasons, facts = evidence.trusted, [], []
    if beyond is not None and share >= OUT_OF_RANGE_SHARE:
        what = "; ".join(f"{words} ({100 * part:.0f} %)" for words, part in beyond.what[:3])
        reasons.append(
            f"{100 * share:.0f} % of the clip's faces are beyond anything that either set "
            f"shows: {what}"
        )
    if trusted is not None and trusted < TRUSTED_SHARE:
        bound = f" ({evidence.trust_bound})" if evidence.trust_bound else ""
        reasons.append(f"the model can be trusted on {100 * trusted:.0f} % of it{bound}")
    if worse >= HALF_AS_GOOD_DB:
        reasons.append(
            f"it is rebuilt {worse:.1f} dB worse than held-out faces of the {evidence.shown}"
        )
    if not reasons:
        return None
    if beyond is not None:
        facts.append(f"faces of the clip beyond both sets: {100 * share:.0f} %")
    if trusted is not None:
        facts.append(f"trusted faces of the clip: {100 * trusted:.0f} %")
    if clip is not None:
        facts.append(f"the clip is rebuilt at {_said(clip)}")
    return Finding(
        "out_of_range",
        f"Out of range: {reasons[0]}" + "".join(f", and {more}" for more in reasons[1:]) + ".",
        facts,
        "another clip, or this one relit; or footage of both people that shows the same",
    )


def _data_limited(evidence: Evidence) -> Finding | None:
    if evidence.source_clip is None:
        return None
    painted = evidence.painted
    lacking = lacking_in_source(evidence.source_clip, evidence.target_clip, painted)
    share = float(lacking.flags.mean())
    if share < DATA_SHARE:
        return None
    what = "; ".join(f"{words} ({100 * part:.0f} %)" for words, part in lacking.what[:3])
    known = f"the {evidence.shown}'s set knows" if evidence.target_clip else "the clip shows"
    return Finding(
        "data_limited",
        f"Data-limited: {100 * share:.0f} % of the clip's faces are like nothing that the "
        f"{painted} was seen doing: {what}.",
        [
            f"faces of the clip that {known} and the {painted}'s does not: {100 * share:.0f} %",
            f"faces trained on: {_faces_line(evidence)}",
        ],
        f"footage of the {painted} that shows it; longer training can at best invent it",
    )


class Beyond(NamedTuple):
    """Which faces of a clip, and why: in words, with the share that each concerns.

    Both ends of an attribute stand together; the attribute that concerns most faces comes first.
    """

    flags: Bool[np.ndarray, " n"]
    what: list[tuple[str, float]]


def beyond_both(source: Coverage | None, target: Coverage | None) -> Beyond | None:
    """The clip's faces that are outside of either set by the same attribute, in the same direction.

    Light counts here: what is darker than either set is dark, whoever's skin it is.
    None when either coverage is missing.
    """
    if source is None or target is None:
        return None
    found = []
    for name, direction in _attribute_directions(source):
        if name not in target.attributes:
            continue
        one, other = source.attributes[name], target.attributes[name]
        wider = min if direction == "below" else max
        limit = wider(coverage.limits[direction == "above"] for coverage in (one, other))
        both = getattr(one, direction) & getattr(other, direction)
        found.append((name, _words(name, direction, limit), both))
    return _gather(found, source.target_faces)


def lacking_in_source(
    source: Coverage, target: Coverage | None, painted: Side = "source"
) -> Beyond:
    """The clip's faces that are outside of the set of the painted person alone.

    Light is no lack of footage: two people's skins differ, too. `painted`: what words call them.
    """
    found = []
    for name, direction in _attribute_directions(source):
        if name == "light":
            continue
        own = getattr(source.attributes[name], direction)
        if target is not None and name in target.attributes:
            own = own & ~getattr(target.attributes[name], direction)
        limit = source.attributes[name].limits[direction == "above"]
        found.append((name, f"no {painted} {_words(name, direction, limit)}", own))
    return _gather(found, source.target_faces)


def _gather(found: Sequence[tuple[str, str, Bool[np.ndarray, " n"]]], faces: int) -> Beyond:
    """Attributes, words and flags of both ends of each, put together."""
    flags = np.logical_or.reduce([np.zeros(faces, bool), *(own for _, _, own in found)])
    of_both: dict[str, float] = {}
    for name, _, own in found:
        of_both[name] = of_both.get(name, 0.0) + float(own.mean())
    there = [(name, words, float(own.mean())) for name, words, own in found if own.any()]
    there.sort(key=lambda part: (-of_both[part[0]], part[0], -part[2]))
    return Beyond(flags, [(words, share) for _, words, share in there])


def _attribute_directions(coverage: Coverage) -> list[tuple[str, Literal["below", "above"]]]:
    return [(name, direction) for name in coverage.attributes for direction in ("below", "above")]


def _words(name: str, direction: Literal["below", "above"], limit: float) -> str:
    telling = getattr(KINDS[name], direction)
    return f"{telling.one} {telling.limit(limit)}"


def _figures(evidence: Evidence) -> list[str]:
    """What is known of seen and of held-out faces, a line a side."""
    lines = []
    for side in SIDES:
        seen, heldout = evidence.seen_db.get(side), evidence.heldout_db.get(side)
        if seen is not None and heldout is not None:
            gap = seen.value - heldout.value
            lines.append(
                f"{side}: seen faces {_said(seen)}, held-out ones {_said(heldout)}: "
                f"a gap of {gap:.1f} dB"
            )
        outside = evidence.heldout_outside.get(side, 0.0)
        if outside >= DATA_SHARE:
            lines.append(
                f"{side}: {100 * outside:.0f} % of its held-out faces are beyond what its seen "
                "ones show: part of the gap is missing footage"
            )
    return lines


def _said(figure: Interval) -> str:
    known = np.isfinite(figure.low) and np.isfinite(figure.high)
    interval = f" ({figure.low:.1f} to {figure.high:.1f})" if known else ""
    return f"{figure.value:.1f} dB{interval}"


def _faces_line(evidence: Evidence) -> str:
    return ", ".join(f"{count} of the {side}" for side, count in evidence.seen_faces.items())
