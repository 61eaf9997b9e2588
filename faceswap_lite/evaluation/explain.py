"""Why a result is as good as it is: what the run knows, what the clip asks, and the verdict."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ..config import ConvertConfig, Side
from ..curation.pose_coverage import Attributes, Coverage, coverage
from ..errors import FaceswapError
from ..faces.attributes import Reader, Readings, joined
from ..faces.embed import Embedder, build_embedder
from ..faces.finding import one_opencv_thread
from ..metrics.distributions import spearman
from ..metrics.intervals import Interval, block_length, draw_blocks, interval
from ..metrics.pictures import psnr_db
from ..models.autoencoder import SIDES
from ..models.crops import rebuild
from ..outputs import plain
from ..runs.known import KnownFaces, known_faces, spread_evenly
from ..runs.log import History, read_history
from ..runs.trained import TrainedRun
from .bias import AttributeBias, attribute_bias
from .held_back import held_back
from .keeper import ClipFaces
from .memorisation import Memorisation, MontageRow, crop_embedder, memorisation, montage
from .metric import Series
from .out_of_distribution import (
    brightness_of,
    clip_attributes,
    find_out_of_distribution,
    known_attributes,
)
from .trust import Trust, TrustScores, as_db, fit_trust, pick_worst, rms_inside
from .verdict import Evidence, is_augmented, verdict

SAMPLED_FACES = 200
"""That are rebuilt of them, and that are read of a clip's faces for bias."""
WORST_FRAMES = 12
_DRAWS = 500


@dataclass(frozen=True)
class Background:
    """What is known of a run, whatever the clip. `troubles`: why something is not, by its name."""

    run: TrainedRun
    shown: Side
    painted: Side
    known: dict[Side, KnownFaces]
    history: History
    seen_db: dict[Side, Interval]
    heldout_db: dict[Side, Interval]
    heldout_outside: dict[Side, float]
    trust: Trust | None
    embedder: Embedder | None
    troubles: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """The report's words and numbers on one clip; pictures; and columns for the clip's series."""

    report: dict[str, Any]
    montage: list[MontageRow]
    columns: dict[str, Float[np.ndarray, " n"]]


def study_run(run: TrainedRun, convert: ConvertConfig) -> Background:
    """What a run knows. A face set that is gone costs what would have come from it."""
    history = read_history(run.path)
    troubles: dict[str, str] = {}
    known: dict[Side, KnownFaces] = {}
    with ThreadPoolExecutor(len(SIDES)) as pool:
        going = {side: pool.submit(known_faces, run, side) for side in SIDES}
        for side, future in going.items():
            try:
                known[side] = future.result()
            except FaceswapError as error:
                troubles[side] = str(error)
    shown = convert.shown_side
    trust = embedder = None
    if shown in known:
        try:
            trust = fit_trust(run, known[shown])
        except FaceswapError as error:
            troubles["trust"] = str(error)
        name = known[shown].faces[0].record.embedder
        try:
            embedder = build_embedder(name) if name else None
        except FaceswapError as error:
            troubles["embedder"] = str(error)
    return Background(
        run=run,
        shown=shown,
        painted=convert.painted_side,
        known=known,
        history=history,
        seen_db=_rebuilt_db(run, {side: of.only(of.seen) for side, of in known.items()}),
        heldout_db=_rebuilt_db(run, {side: of.only(~of.seen) for side, of in known.items()}),
        heldout_outside={side: _heldout_outside(faces) for side, faces in known.items()},
        trust=trust,
        embedder=embedder,
        troubles=troubles,
    )


def explain(
    background: Background,
    faces: ClipFaces,
    series: Series,
    readers: Sequence[Reader],
    truth: Float[np.ndarray, "frames 68 2"] | None,
    *,
    moved: Collection[str],
    memory: bool,
    seed: int,
) -> Explanation:
    """What holds the result on one clip back.

    `readers`: one a worker. `truth`: a rendered actor's landmarks by frame. `moved`: what of the
    painted faces was moved as the clip's. `memory`: look for training faces that outputs repeat.
    """
    rng = np.random.default_rng(seed)
    run = background.run
    light = brightness_of(faces.crops, faces.masks)
    shown = clip_attributes(faces.placements, run.manifest.landmarks_pack, light, truth)
    known = {side: own for side, own in background.known.items() if own.seen.any()}
    seen = {side: known_attributes(own) for side, own in known.items()}
    covers = {side: coverage(attributes, shown) for side, attributes in seen.items()}
    errors = rms_inside(faces.rebuilt, faces.crops, faces.masks)
    columns: dict[str, Float[np.ndarray, " n"]] = {}
    scores = None
    if background.trust is not None:
        scores = background.trust.judge(run, faces.crops, faces.masks)
        columns["expected_error_db"] = _along(series, faces, scores.expected_db)
        columns["trusted"] = _along(series, faces, scores.trusted.astype(np.float64))
    remembered = None
    if memory and background.shown in background.known:
        remembered = _remember(background, faces, covers.get(background.shown), truth, rng)
    rows: list[MontageRow] = []
    if remembered is not None:
        rows = montage(remembered, faces.rebuilt, faces.crops, series.index[faces.rows].tolist())
    rebuilt, swapped = _biases(faces, readers)
    painted = background.painted
    held = held_back(rebuilt, swapped, seen.get(painted), shown, covers.get(painted), moved)
    found = verdict(evidence_of(background, _mean(as_db(errors)), covers, scores)).to_json()
    report = {
        "verdict": {**found, "evidence": [*found["evidence"], *(one.sentence for one in held)]},
        "trust": _trust_json(background, seen, shown, scores, errors, series, faces),
        "memorisation": None if remembered is None else remembered.to_json(),
        "bias": {
            "rebuilt": {name: asdict(bias) for name, bias in rebuilt.items()},
            "swapped": {name: asdict(bias) for name, bias in swapped.items()},
        },
        "held_back": [asdict(one) for one in held],
        "coverage": covers[painted].to_json() if painted in covers else None,
        "missing": background.troubles,
    }
    return Explanation(report, rows, columns)


def _rebuilt_db(run: TrainedRun, known: Mapping[Side, KnownFaces]) -> dict[Side, Interval]:
    """PSNR of some faces through their own decoder, unwarped, in their masks; of sides with any."""
    found = {}
    for side, faces in known.items():
        if not len(faces):
            continue
        some = spread_evenly(len(faces), SAMPLED_FACES)
        rebuilt = rebuild(run.model, faces.crops[some], side)
        trios = zip(rebuilt, faces.crops[some], faces.masks[some], strict=True)
        values = np.array([psnr_db(*trio) for trio in trios])
        if np.isfinite(values).any():
            found[side] = _mean(values)
    return found


def _mean(values: Float[np.ndarray, " n"]) -> Interval:
    """The mean of faces in order of time, with its interval; NaN is left out."""
    values = values[np.isfinite(values)]
    draws = draw_blocks(len(values), block_length(values), _DRAWS, np.random.default_rng(0))
    return interval(lambda faces: float(values[faces].mean()), draws)


def _heldout_outside(known: KnownFaces) -> float:
    """The share of held-out faces that show what the seen ones do not."""
    if not known.seen.any() or known.seen.all():
        return 0.0
    of_all = known_attributes(known, everybody=True)
    return float(coverage(of_all.only(known.seen), of_all.only(~known.seen)).outside.mean())


def _remember(
    background: Background,
    faces: ClipFaces,
    of_shown: Coverage | None,
    truth: Float[np.ndarray, "frames 68 2"] | None,
    rng: np.random.Generator,
) -> Memorisation | None:
    known = background.known[background.shown]
    if not known.seen.any() or not (faces.masks.mean(0) > 127).any():
        return None
    # Actors are no identities to a face network.
    embedder = background.embedder if truth is None else None
    others = [of.crops for side, of in background.known.items() if side != background.shown]
    return memorisation(
        background.run,
        known,
        faces.rebuilt,
        faces.crops,
        faces.masks,
        None if of_shown is None else ~of_shown.outside,
        None if embedder is None else crop_embedder(embedder, background.run.manifest.coverage),
        "cosine" if embedder is None else embedder.metric,
        others=others,
        rng=rng,
    )


def evidence_of(
    background: Background,
    clip_db: Interval,
    covers: Mapping[Side, Coverage],
    scores: TrustScores | None,
) -> Evidence:
    """What the verdict on one clip is made from. `covers`: the clip's faces by each side's seen."""
    trust = background.trust
    return Evidence(
        history=background.history,
        seen_faces={side: int(known.seen.sum()) for side, known in background.known.items()},
        augmented=is_augmented(background.run.config.training.augment),
        seen_db=background.seen_db,
        heldout_db=background.heldout_db,
        heldout_outside=background.heldout_outside,
        clip_db=clip_db,
        shown=background.shown,
        source_clip=covers.get(background.painted),
        target_clip=covers.get(background.shown),
        trusted=None if scores is None else float(scores.trusted.mean()),
        trust_bound="" if trust is None else f"expected at {trust.bound_db:.1f} dB or better",
    )


def _trust_json(
    background: Background,
    seen: Mapping[Side, Attributes],
    shown: Attributes,
    scores: TrustScores | None,
    errors: Float[np.ndarray, " n"],
    series: Series,
    faces: ClipFaces,
) -> dict[str, Any] | None:
    if background.trust is None or scores is None:
        return None
    frames = series.index[faces.rows]
    outside = [
        {"words": one.words, "person": side, "share": plain(float(one.faces.mean()))}
        for side, attributes in seen.items()
        for one in find_out_of_distribution(attributes, shown, side)
    ]
    worst = pick_worst(scores.expected_error, frames, WORST_FRAMES)
    return {
        "share": plain(float(scores.trusted.mean())),
        "bound_db": plain(background.trust.bound_db),
        "heldout_within": plain(background.trust.heldout_within),
        "within_bound_share": plain(float((errors <= background.trust.bound).mean())),
        "spearman": plain(spearman(scores.expected_error, errors)),
        "outside": outside,
        "worst": frames[worst].tolist(),
    }


def _biases(
    faces: ClipFaces, readers: Sequence[Reader]
) -> tuple[dict[str, AttributeBias], dict[str, AttributeBias]]:
    """What becomes of each attribute, rebuilt and swapped: read by one instrument, at one size."""
    count = len(faces.rows)
    some = spread_evenly(count, SAMPLED_FACES)
    parts = np.array_split(np.arange(len(some)), len(readers))
    inside = [faces.masks[some][part] for part in parts]

    def read(pictures: UInt8[np.ndarray, "n s s 3"]) -> Readings:
        some = [pictures[part] for part in parts]
        with one_opencv_thread(), ThreadPoolExecutor(len(readers)) as pool:
            return joined(list(pool.map(lambda reader, *of: reader(*of), readers, some, inside)))

    inputs = read(faces.crops[some])
    rebuilt = attribute_bias(inputs, read(faces.rebuilt[some]))
    return rebuilt, attribute_bias(inputs, read(faces.swapped[some]))


def _along(
    series: Series, faces: ClipFaces, values: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " n"]:
    """Values of the kept faces as a column of the series."""
    column = np.full(len(series), np.nan)
    column[faces.rows] = values
    return column
