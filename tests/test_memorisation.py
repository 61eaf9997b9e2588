"""Planted models, one that remembers and one that paints what it sees, and figures by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from jaxtyping import Float
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional

from _montage import COLUMNS, montage_sheet
from faceswap_lite.config import Config, Side
from faceswap_lite.evaluation.memorisation import (
    Memorisation,
    crop_embedder,
    diversity,
    l1_distances,
    memorisation,
    montage,
    retrieval_top1,
    vector_distances,
)
from faceswap_lite.faces.embed import DistanceMetric, embedding_distance
from faceswap_lite.faces.face_set import StoredFace
from faceswap_lite.faces.records import FaceRecord
from faceswap_lite.metrics.landmarks import CANONICAL_FIVE
from faceswap_lite.models.autoencoder import Painted, SwapAutoencoder
from faceswap_lite.models.crops import encode, rebuild
from faceswap_lite.runs.known import KnownFaces, known_faces
from faceswap_lite.runs.manifest import IdentityFacts, RunManifest
from faceswap_lite.runs.trained import TrainedRun

EDGE_PX = 32
FACTS = IdentityFacts(path="", faces=1, fingerprint="", clips=[], embedder=None, centroid=None)
# Inside it everything is compared.
MASK = np.zeros((EDGE_PX, EDGE_PX), np.uint8)
MASK[4:28, 4:28] = 255
# Sums of thousands of single-precision numbers.
SINGLE = 1e-5


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def faces_of(
    seed: int, count: int, person: int = 0, spread: float = 25.0, noise: float = 4.0
) -> np.ndarray:
    """Crops of one person: soft shapes that come and go, and noise that never repeats."""
    shapes = rng(1000 + person).normal(size=(6, 4, 4, 3)).astype(np.float32)
    big = [cv2.resize(s, (EDGE_PX, EDGE_PX), interpolation=cv2.INTER_CUBIC) for s in shapes]
    weights = rng(seed).normal(size=(count, 5)) * spread
    grain = rng(seed + 1).normal(size=(count, EDGE_PX, EDGE_PX, 3)) * noise
    soft = 128 + 40 * big[5] + np.tensordot(weights, np.stack(big[:5]), 1)
    return np.clip(soft + grain, 0, 255).round().astype(np.uint8)


class Sees(SwapAutoencoder):
    """Paints what it is shown, averaged over `blur` x `blur` pixels; a code is the picture."""

    def __init__(self, blur: int = 1) -> None:
        super().__init__()
        self.blur = blur
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        soft = functional.avg_pool2d(faces, self.blur)
        return functional.interpolate(soft, faces.shape[-1]).flatten(1)

    def decode(self, code: Float[Tensor, "b n"], side: Side) -> Painted:
        size = round((code.shape[1] / 3) ** 0.5)
        return code.reshape(len(code), 3, size, size), None

    def forward(self, source: Any, target: Any) -> Any:
        raise NotImplementedError


class Remembers(Sees):
    """Paints the picture of its memory whose code is nearest."""

    def __init__(self, memory: np.ndarray) -> None:
        super().__init__()
        self.memory = torch.from_numpy(memory).permute(0, 3, 1, 2).float().flatten(1) / 255

    def decode(self, code: Float[Tensor, "b n"], side: Side) -> Painted:
        return super().decode(self.memory[torch.cdist(code, self.memory).argmin(1)], side)


def run_of(model: SwapAutoencoder) -> TrainedRun:
    facts = RunManifest(
        job="", landmarks_pack="mesh", detector="", coverage="full", source=FACTS, target=FACTS
    )
    return TrainedRun(Path(), model, Config(), facts, step=1, fingerprint="")


def known_of(run: TrainedRun, crops: np.ndarray, heldout: int = 0) -> KnownFaces:
    """The crops as a run's faces; the first `heldout` of them were not seen."""
    count = len(crops)
    # Nobody reads these records.
    blank: Any = FaceRecord.model_construct
    return KnownFaces(
        side="target",
        faces=[StoredFace(Path(str(i)), blank()) for i in range(count)],
        seen=np.arange(count) >= heldout,
        crops=crops,
        masks=np.repeat(MASK[None], count, 0),
        codes=encode(run.model, crops),
    )


def embed(crop: np.ndarray) -> np.ndarray:
    return cv2.resize(crop, (4, 4), interpolation=cv2.INTER_AREA).ravel().astype(np.float32)


def asked(model: SwapAutoencoder, seen: np.ndarray, crops: np.ndarray, **more: Any) -> Memorisation:
    run = run_of(model)
    options: dict[str, Any] = {"covered": None, "embed": embed, "metric": "euclidean", "rng": rng()}
    return memorisation(
        run,
        known_of(run, seen),
        rebuild(run.model, crops, "target"),
        crops,
        np.repeat(MASK[None], len(crops), 0),
        **{**options, **more},
    )


SEEN, UNSEEN = faces_of(1, 40), faces_of(2, 30)


def test_who_sees_generalises_and_who_remembers_does_not() -> None:
    sees = asked(Sees(), SEEN, UNSEEN)
    assert sees.generalises.mean() == 1 and sees.novelty_rebuilt == pytest.approx(1)
    assert sees.to_json()["distance_ratio"] == pytest.approx(1) and sees.verdict == "generalises"
    remembers = asked(Remembers(SEEN), SEEN, UNSEEN)
    assert remembers.generalises.mean() == 0 and remembers.to_seen.max() < 1e-6
    assert remembers.to_json()["distance_ratio"] == pytest.approx(0, abs=1e-5)
    # The nearest by code is not always the nearest by pixels: at best it does as the look-up.
    assert remembers.score is not None and -0.3 < remembers.score <= 0.01
    assert remembers.verdict == "memorises"
    assert remembers.suspicion().min() > 1 > sees.suspicion().max()


def test_a_soft_picture_beside_close_training_faces_is_no_memory() -> None:
    # Faces so near to each other that no soft output is nearest to its own.
    seen, unseen = faces_of(1, 400, spread=3.0), faces_of(2, 60, spread=3.0)
    soft = asked(Sees(blur=8), seen, unseen)
    assert soft.generalises.mean() < 0.5
    assert soft.verdict == "generalises"
    assert asked(Remembers(seen), seen, unseen).verdict == "memorises"


def test_half_of_the_way_to_the_memory_is_half_of_the_novelty() -> None:
    run = run_of(Sees())
    nearest = SEEN[cdist(masked(UNSEEN), masked(SEEN), "cityblock").argmin(1)]
    outputs = (nearest.astype(np.float32) + UNSEEN) / 2 / 255
    masks = np.repeat(MASK[None], len(UNSEEN), 0)
    found = memorisation(
        run, known_of(run, SEEN), outputs, UNSEEN, masks, None, None, "cosine", rng=rng()
    )
    assert found.novelty_rebuilt == pytest.approx(0.5, abs=0.03)
    assert found.verdict == "between"
    outputs = (0.6 * nearest + 0.4 * UNSEEN).astype(np.float32) / 255
    found = memorisation(
        run, known_of(run, SEEN), outputs, UNSEEN, masks, None, None, "cosine", rng=rng()
    )
    assert found.generalises.mean() == 0 and (found.to_own < found.truth_to_seen).all()


def masked(crops: np.ndarray) -> np.ndarray:
    return crops[:, MASK > 0].reshape(len(crops), -1) / 255.0


def test_distances_and_nearest_faces_are_those_of_scipy() -> None:
    found = asked(Sees(blur=2), SEEN, UNSEEN)
    run = run_of(Sees(blur=2))
    outputs = rebuild(run.model, UNSEEN, "target")
    out = outputs[:, MASK > 0].reshape(len(outputs), -1)
    to_seen = cdist(out, masked(SEEN), "cityblock") / out.shape[1]
    np.testing.assert_allclose(found.to_seen, to_seen.min(1), atol=SINGLE)
    assert found.by_pixels.tolist() == to_seen.argmin(1).tolist()
    np.testing.assert_allclose(found.to_own, np.abs(out - masked(UNSEEN)).mean(1), atol=SINGLE)
    truth = cdist(masked(UNSEEN), masked(SEEN), "cityblock").min(1) / out.shape[1]
    np.testing.assert_allclose(found.truth_to_seen, truth, atol=SINGLE)
    codes = cdist(encode(run.model, outputs), encode(run.model, SEEN))
    assert found.by_code.tolist() == codes.argmin(1).tolist()
    np.testing.assert_allclose(found.code_distance, codes.min(1), rtol=1e-4)
    painted = np.stack([embed(np.round(o * 255).astype(np.uint8)) for o in outputs])
    vectors = cdist(painted, np.stack([embed(c) for c in SEEN]))
    assert found.by_embedding.tolist() == vectors.argmin(1).tolist()
    np.testing.assert_allclose(found.embedding_distance, vectors.min(1), rtol=1e-5)


def test_what_was_held_out_is_no_training_face() -> None:
    run = run_of(Remembers(SEEN))
    # The unseen faces themselves are in the run's set, held out.
    known = known_of(run, np.concatenate([UNSEEN, SEEN]), heldout=len(UNSEEN))
    masks = np.repeat(MASK[None], len(UNSEEN), 0)
    outputs = rebuild(run.model, UNSEEN, "target")
    found = memorisation(run, known, outputs, UNSEEN, masks, None, None, "cosine", rng=rng())
    assert len(found.seen) == len(SEEN) and found.truth_to_seen.min() > 0.01
    assert found.generalises.mean() == 0


def test_the_score_is_that_of_frames_inside_the_training_range() -> None:
    covered = np.arange(60) < 40
    crops = faces_of(5, 60)
    run = run_of(Sees())
    outputs = rebuild(run.model, crops, "target")
    # Outside, memory; inside, what was shown.
    outputs[~covered] = rebuild(run_of(Remembers(SEEN)).model, crops[~covered], "target")
    masks = np.repeat(MASK[None], 60, 0)
    known = known_of(run, SEEN)

    def ask(inside: np.ndarray) -> Memorisation:
        return memorisation(run, known, outputs, crops, masks, inside, None, "cosine", rng=rng())

    found = ask(covered)
    assert found.score == pytest.approx(1) and found.generalises.mean() == pytest.approx(40 / 60)
    told = found.to_json()
    assert told["inside_training_range"]["generalising_share"] == 1
    assert told["outside_training_range"]["generalising_share"] == 0
    assert told["outside_training_range"]["novelty_rebuilt"] < 0.1
    assert told["inside_training_range"]["frames"] == 40
    # Of too few frames there is no score of their own.
    few = ask(np.arange(60) < 19)
    assert few.score == few.novelty_rebuilt == found.novelty_rebuilt != found.score


def test_the_report_holds_no_nan_and_says_why() -> None:
    bare = asked(Sees(), SEEN, UNSEEN, embed=None).to_json()
    json.dumps(bare, allow_nan=False)
    assert bare["retrieval"] is None and bare["inside_training_range"] is None
    assert {"retrieval", "by_embedding", "inside_training_range"} <= set(bare["reasons"])
    assert set(bare["per_frame"]["by_embedding"]) == {-1}
    known_clip = asked(Sees(), SEEN, SEEN[:25])
    assert known_clip.verdict == "unknown" and known_clip.to_json()["distance_ratio"] is None
    told = known_clip.to_json()
    json.dumps(told, allow_nan=False)
    assert told["reasons"]["novelty_rebuilt"] == "the true faces are training faces"


def test_a_person_is_found_among_others() -> None:
    others = [faces_of(7, 20, person=1), faces_of(8, 20, person=2)]
    found = asked(Sees(), SEEN, UNSEEN, others=others)
    assert found.retrieval == 1 and found.retrieval_by_pixels == 1
    # Of somebody else's clip, none.
    wrong = asked(Sees(), SEEN, faces_of(9, 30, person=1), others=others)
    assert wrong.retrieval == 0 and wrong.retrieval_by_pixels == 0
    queries = np.eye(4)[[0, 0, 1, 2]]
    assert retrieval_top1(queries, [np.eye(4)[:1], np.eye(4)[1:]], "cosine") == 0.5


def test_midpoints_of_a_memory_are_training_faces() -> None:
    sees, remembers = (asked(m, SEEN, UNSEEN).interpolation for m in (Sees(), Remembers(SEEN)))
    # In a flat space the spread of a mean of two is 1 / sqrt(2); pairs of equal faces widen it.
    assert sees.diversity == pytest.approx(0.5**0.5, abs=0.05)
    assert remembers.near_seen_share == 0  # at 0, like its outputs: not nearer
    run = run_of(Remembers(SEEN))
    masks = np.repeat(MASK[None], len(UNSEEN), 0)
    known = known_of(run, SEEN)
    true = UNSEEN.astype(np.float32) / 255
    found = memorisation(run, known, true, UNSEEN, masks, None, embed, "euclidean", rng=rng())
    assert found.interpolation.near_seen_share == 1
    assert found.interpolation.same_person_share is not None
    assert found.interpolation.same_person_share > 0.8


def test_diversity_of_one_picture_is_none() -> None:
    ends = masked(SEEN).astype(np.float32)
    assert diversity(ends, ends) == pytest.approx(1)
    assert diversity(np.repeat(ends[:1], 5, 0), ends) == 0
    assert np.isnan(diversity(ends, np.repeat(ends[:1], 5, 0)))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_in_rows_are_those_of_pairs(metric: DistanceMetric) -> None:
    a, b = rng(1).normal(size=(5, 8)), rng(2).normal(size=(7, 8))
    by_pair = [[embedding_distance(x, y, metric) for y in b] for x in a]
    np.testing.assert_allclose(vector_distances(a, b, metric), by_pair, atol=1e-9)
    single = a.astype(np.float32), b.astype(np.float32)
    np.testing.assert_allclose(l1_distances(*single), cdist(a, b, "cityblock") / 8, atol=SINGLE)


def test_larger_crops_are_compared_at_one_size() -> None:
    big = [np.repeat(np.repeat(c, 4, 1), 4, 2) for c in (SEEN, UNSEEN)]
    run, masks = run_of(Sees()), np.full((40, 128, 128), 255, np.uint8)
    known = replace(known_of(run, SEEN), crops=big[0], masks=masks, codes=encode(run.model, big[0]))
    outputs = big[1].astype(np.float32)[::-1] / 255
    found = memorisation(run, known, outputs, big[1], masks[:30], None, None, "cosine", rng=rng())
    small = np.abs(UNSEEN[::-1] / 255.0 - UNSEEN / 255.0).mean((1, 2, 3))
    np.testing.assert_allclose(found.to_own, small, atol=SINGLE)


def test_nothing_to_compare_is_refused() -> None:
    run = run_of(Sees())
    outputs, nowhere = (
        rebuild(run.model, UNSEEN, "target"),
        np.zeros((30, EDGE_PX, EDGE_PX), np.uint8),
    )
    known = known_of(run, SEEN)
    none = outputs[:0], UNSEEN[:0], nowhere[:0]
    with pytest.raises(ValueError, match="outputs and seen faces"):
        memorisation(run, known, *none, None, None, "cosine", rng=rng())
    with pytest.raises(ValueError, match="outputs and seen faces"):
        unseen = known.only(~known.seen)
        memorisation(run, unseen, outputs, UNSEEN, nowhere, None, None, "cosine", rng=rng())
    with pytest.raises(ValueError, match="no place of the crop"):
        memorisation(run, known, outputs, UNSEEN, nowhere, None, None, "cosine", rng=rng())


class Marks:
    """An embedder whose vector is the colours under the five points."""

    name = "marks"
    metric: DistanceMetric = "euclidean"
    same_person = 1.0

    def __call__(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
        x, y = five.round().astype(int).T
        return image[y, x].astype(np.float32).ravel()


@pytest.mark.parametrize("size", [64, 256])
def test_a_crops_points_are_where_alignment_put_them(size: int) -> None:
    crop = np.zeros((size, size, 3), np.uint8)
    # coverage full: 3.3 eye distances a side, around a point 0.54 below the eyes.
    where = (CANONICAL_FIVE - [0, 0.54]) / 3.3 * size + (size - 1) / 2
    for i, (x, y) in enumerate(where.round().astype(int)):
        cv2.circle(crop, (int(x), int(y)), size // 16, (50 + 40 * i,) * 3, -1)
    vector = crop_embedder(Marks(), "full")(crop).reshape(5, 3)
    np.testing.assert_allclose(vector[:, 0], 50 + 40 * np.arange(5), atol=6)


def test_the_montage_shows_the_most_suspicious_first() -> None:
    run = run_of(Sees())
    outputs = rebuild(run.model, UNSEEN, "target")
    outputs[[7, 21]] = SEEN[[3, 11]].astype(np.float32) / 255
    masks = np.repeat(MASK[None], len(UNSEEN), 0)
    known = known_of(run, SEEN)
    found = memorisation(run, known, outputs, UNSEEN, masks, None, None, "cosine", rng=rng())
    rows = montage(found, outputs, UNSEEN, frames=list(range(100, 130)), worst=2, middle=1)
    assert {rows[0].frame, rows[1].frame} == {107, 121} and len(rows) == 3
    row = next(row for row in rows if row.frame == 107)
    assert (row.pictures["by pixels"] == SEEN[3]).all()
    assert (row.pictures["by code"] == SEEN[3]).all()
    assert (row.pictures["output"] == SEEN[3]).all()
    assert (row.pictures["true face"] == UNSEEN[7]).all()
    assert "by embedding" not in row.pictures and " 0.0 from the nearest" in row.words
    sheet = montage_sheet(rows)
    assert sheet.shape[1] == 8 + len(COLUMNS) * 136
    # Each output stands in the first column.
    shown = cv2.resize(sheet[28:156, 8:136], (EDGE_PX, EDGE_PX), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - rows[0].pictures["output"]).mean() < 4
    # Neighbours in time look alike: frame 8 is passed over, however suspicious.
    outputs[8] = SEEN[5].astype(np.float32) / 255
    found = memorisation(run, known, outputs, UNSEEN, masks, None, embed, "cosine", rng=rng())
    rows = montage(found, outputs, UNSEEN)
    assert len(rows) == 6 and len({7, 8} & {row.frame for row in rows[:4]}) == 1
    assert all(list(row.pictures) == list(COLUMNS) for row in rows)
    few = memorisation(
        run, known, outputs[:3], UNSEEN[:3], masks[:3], None, None, "cosine", rng=rng()
    )
    assert len(montage(few, outputs[:3], UNSEEN[:3])) == 3


def test_a_trained_run_is_asked(run: TrainedRun) -> None:
    known = known_faces(run, "target")
    heldout = known.only(~known.seen)
    outputs = rebuild(run.model, heldout.crops, "target")
    found = memorisation(
        run, known, outputs, heldout.crops, heldout.masks, None, None, "cosine", rng=rng()
    )
    json.dumps(found.to_json(), allow_nan=False)
    assert 0 < found.interpolation.diversity < 2
