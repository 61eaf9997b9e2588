"""How the mask network's base is made: rendered people, occluders before them, a camera after both.

The network is asked for what of a given outline is seen. Outlines are moved, too: landmarks beside
an occluder are.
"""

import copy
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from ..actors.cast import FIRST_OF_CROWD
from ..errors import FaceswapError
from ..faces.landmarkers import Landmarker, build_mesh
from ..models.mask_network import MASK_SIZE, MaskNetwork
from ..occluders.planting import KINDS, cover
from ..outputs import TOOL, found_job, job_id, write_json
from ..runs.checkpoints import (
    RunState,
    as_state,
    checkpoint_facts,
    drop_old,
    latest_valid_checkpoint,
    load_weights,
    restore_optimizer,
    save_checkpoint,
)
from ..runs.mask_weights import MaskWeights, read_mask, write_mask
from ..training.mask_refinement import mask_loss
from .crowd import random_camera
from .mask_faces import PEOPLE, render_masked_faces
from .pool import end_with_parent

BATCH = 16
RATE, WARM_UP, DECAY = 3e-3, 100, 1e-3
EMA = 0.995
SAVE_EVERY = 100
SAMPLERS, AHEAD = 2, 8
"""Processes that draw batches, and how many batches before they are wanted."""

HANDS = 3
"""How many times as often as any other kind a hand is planted; before faces, hands are most."""

_PULLED = 0.15
_DECOYS = [name for name, kind in KINDS.items() if kind.decoy]
_STRIP = np.ones((5, 5), np.uint8)


class MaskBatch(NamedTuple):
    """Crops, outlines as the network is given them, and what of these is seen."""

    pixels: Float[Tensor, "b 3 s s"]
    outline: Float[Tensor, "b 1 s s"]
    visible: Float[Tensor, "b 1 s s"]


def make_mask_base(
    out: Path,
    work: Path,
    *,
    steps: int,
    groups: int,
    kinds: Sequence[str] = tuple(KINDS),
    disturbed: float = 0.0,
    creased: float = 0.0,
    hidden_weight: float = 1.0,
    start: MaskWeights | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Train the mask network on `groups` groups of people; go on with what `work` holds.

    `disturbed`: share of the faces that are made harder (`_disturbed`). `creased`: share of those
    that are bent and wrinkled. `hidden_weight`: how much more a hidden pixel counts than a seen
    one. `start`: weights to begin with.

    Raises: FaceswapError when `out` or `work` is another job's, or the mesh cannot be had.
    """
    recipe: dict[str, Any] = {
        "tool": TOOL, "steps": steps, "batch": BATCH, "rate": RATE, "seed": seed,
        "kinds": sorted(kinds), "disturbed": disturbed, "hidden_weight": hidden_weight,
        "people": groups * PEOPLE,
        "start": start and start.fingerprint(), **({"creased": creased} if creased else {}),
        "seeds": [FIRST_OF_CROWD, FIRST_OF_CROWD + groups * PEOPLE - 1],
    }  # fmt: skip
    job = job_id(**recipe)
    if out.exists():
        if read_mask(out).recipe.get("job") != job:
            raise FaceswapError(f"{out}: exists and is another's; choose another file")
        say(f"{out}: already done")
        return
    file = work / "mask_base.json"
    if file.is_file() and found_job(file).get("job") != job:
        raise FaceswapError(f"{work}: holds a mask base of other settings; choose another --work")
    work.mkdir(parents=True, exist_ok=True)
    write_json(file, {"job": job})
    folder = work.parent / "mask_faces"
    rendered_faces(folder, groups)
    draw = (folder, groups, list(kinds), disturbed, creased, seed)
    with ProcessPoolExecutor(
        SAMPLERS, multiprocessing.get_context("spawn"), _begin, draw
    ) as samplers:
        network, seconds = _trained(work, samplers, steps, hidden_weight, seed, start, say)
    write_mask(out, network, recipe | {"job": job, "minutes": round(seconds / 60, 1)})


def rendered_faces(
    folder: Path, groups: int, first: int = FIRST_OF_CROWD
) -> UInt8[np.ndarray, "n 5 m m"]:
    """The faces of so many groups; those that `folder` has are read, the others rendered."""
    folder.mkdir(parents=True, exist_ok=True)
    mesh: Landmarker | None = None
    rows = []
    for group in tqdm(range(groups), desc="render", unit="group", disable=None):
        file = folder / f"{first}_{group:04d}.npy"
        if not file.is_file():
            mesh = mesh or build_mesh()
            partial = file.with_suffix(".partial.npy")
            np.save(partial, render_masked_faces(group, MASK_SIZE, mesh, first))
            partial.replace(file)
        rows.append(np.load(file))
    return np.concatenate(rows)


def _trained(
    work: Path,
    samplers: Executor,
    steps: int,
    hidden_weight: float,
    seed: int,
    begun: MaskWeights | None,
    say: Callable[[str], None],
) -> tuple[MaskNetwork, float]:
    """The averaged network after all steps, and the seconds that they took."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MaskNetwork()
    if begun:
        network.load_state_dict(begun.network().state_dict())
    network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    state = RunState()
    start, _ = latest_valid_checkpoint(work)
    drop_old(work, keep=1)
    if start is not None:
        stored = checkpoint_facts(work, start)
        state = as_state(stored)
        network.load_state_dict(load_weights(work, start, "model"))
        average.load_state_dict(load_weights(work, start, "ema"))
        restore_optimizer(optimizer, load_weights(work, start, "optimizer"), stored["optimizer"])
        say(f"going on from step {start}")
    began, losses = time.monotonic() - state.seconds, list[float]()
    network.train()
    for step, batch in enumerate(_in_order(samplers, range(state.step, steps)), state.step):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM_UP, 1) * _cosine(step / steps)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(
                batch.pixels.contiguous(memory_format=torch.channels_last), batch.outline
            )
        loss = mask_loss(logits.float(), batch.visible, batch.outline, hidden_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        _follow(average, network, min(EMA, (1 + step) / (10 + step)))
        losses.append(loss.item())
        done = step + 1
        if done % SAVE_EVERY == 0 or done == steps:
            seconds = time.monotonic() - began
            state = RunState(done, seconds)
            weights = {"model": network.state_dict(), "ema": average.state_dict()}
            save_checkpoint(work, state, weights, optimizer, [], keep=1)
            say(f"step {done}  {seconds:.0f} s  loss {np.mean(losses):.4f}")
            losses = []
    return average.eval(), state.seconds


_drawn_from: tuple[UInt8[np.ndarray, "n 5 m m"], list[str], float, float, int] | None = None


def _begin(
    folder: Path, groups: int, kinds: list[str], disturbed: float, creased: float, seed: int
) -> None:
    global _drawn_from
    threading.Thread(target=end_with_parent, daemon=True).start()
    # There are as many of these as there is time for.
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _drawn_from = rendered_faces(folder, groups), kinds, disturbed, creased, seed


def _draw(step: int) -> tuple[np.ndarray, ...]:
    assert _drawn_from is not None, "the sampler has begun"
    # Tensors would go through files of their own.
    return tuple(part.numpy() for part in sample_masked(*_drawn_from, step))


def _in_order(samplers: Executor, steps: range) -> Iterator[MaskBatch]:
    waiting: deque[Future[tuple[np.ndarray, ...]]] = deque()
    for step in steps:
        waiting.append(samplers.submit(_draw, step))
        if len(waiting) > AHEAD:
            yield MaskBatch(*map(torch.from_numpy, waiting.popleft().result()))
    while waiting:
        yield MaskBatch(*map(torch.from_numpy, waiting.popleft().result()))


def _cosine(share: float) -> float:
    return 0.5 * (1 + float(np.cos(np.pi * share)))


@torch.no_grad()
def _follow(average: MaskNetwork, network: MaskNetwork, decay: float) -> None:
    for kept, given in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        # Statistics of the normalisations, too; the count of batches is no average's.
        if kept.is_floating_point():
            kept.lerp_(given, 1 - decay)
        else:
            kept.copy_(given)


def sample_masked(
    faces: UInt8[np.ndarray, "n 5 m m"],
    kinds: Sequence[str],
    disturbed: float,
    creased: float,
    seed: int,
    step: int,
) -> MaskBatch:
    """The batch of a step: a function of (seed, step)."""
    rng = np.random.default_rng([seed, step, 0x0CC1])
    often = [*kinds, *(["hand"] * (HANDS - 1) if "hand" in kinds else [])]
    rows = [
        masked_face(
            rng, faces[int(rng.integers(len(faces)))], often, disturbed=disturbed, creased=creased
        )
        for _ in range(BATCH)
    ]
    pixels, outline, visible = (np.stack(part) for part in zip(*rows, strict=True))
    return MaskBatch(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255,
        torch.from_numpy(outline)[:, None],
        torch.from_numpy(visible)[:, None],
    )


class MaskedFace(NamedTuple):
    """A crop, an outline as the network is given it, and what of that is seen."""

    pixels: UInt8[np.ndarray, "s s 3"]
    outline: Float[np.ndarray, "s s"]
    visible: Float[np.ndarray, "s s"]


def masked_face(
    rng: np.random.Generator,
    row: UInt8[np.ndarray, "5 m m"],
    kinds: Sequence[str],
    planted: float = 0.8,
    moved: float = 0.6,
    disturbed: float = 0.0,
    low: float = 0.5,
    creased: float = 0.0,
) -> MaskedFace:
    """A rendered face, in `planted` of the cases with something of `kinds` before it.

    In `moved` of the cases the outline is not where it belongs, in `disturbed` the face is none
    that a renderer makes (and `creased` of those have other features and lines), in `low` it is
    enlarged from a few dozen pixels.
    """
    size, edge = MASK_SIZE, row.shape[-1]
    view = _turn(rng, edge, size, 0.12, 8.0, 0.05)
    if rng.random() < 0.5:
        view = view @ np.array([[-1, 0, edge - 1], [0, 1, 0], [0, 0, 1]])
    pixels, masks = (
        cv2.warpAffine(
            np.ascontiguousarray(part.transpose(1, 2, 0)), view[:2], (size, size),
            borderMode=cv2.BORDER_REPLICATE,
        )
        for part in (row[:3], row[3:])
    )  # fmt: skip
    outline, not_hair = masks.astype(np.float32).transpose(2, 0, 1) / 255
    # Outlines end in the hair line, and conversion softens their edges: a strip there is no matter.
    hair = outline * (1 - not_hair)
    broad = cv2.dilate(cv2.morphologyEx(hair, cv2.MORPH_OPEN, _STRIP), _STRIP)
    pixels, seen = _recolored(rng, pixels), 1 - np.minimum(hair, broad)
    if disturbed and rng.random() < disturbed:
        if creased and rng.random() < creased:
            pixels, outline, seen = _bent(rng, pixels, outline, seen)
            pixels = _lined(rng, pixels, outline)
        pixels = _disturbed(rng, pixels, outline)
    if rng.random() < planted:
        pixels, before = cover(rng, pixels, outline, kinds)
        seen = seen * before
    given = outline
    if rng.random() < moved:
        pulled = rng.random() < _PULLED
        move = _turn(rng, size, size, *((0.1, 8.0, 0.06) if pulled else (0.03, 3.0, 0.015)))
        given = cv2.warpAffine(outline, move[:2], (size, size))
        # What is far outside the face is no face, whatever an outline says.
        seen = seen * cv2.dilate(outline, np.ones((9, 9), np.uint8))
    return MaskedFace(_photographed(rng, pixels, low), given, given * seen)


def _turn(
    rng: np.random.Generator, edge: int, size: int, scale: float, angle_deg: float, shift: float
) -> Float[np.ndarray, "3 3"]:
    """A map from a picture's middle to a crop's, a little larger or smaller, turned, shifted."""
    angle, zoom = np.deg2rad(rng.normal(0, angle_deg / 2)), np.exp(rng.normal(0, scale / 2))
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.full(2, (size - 1) / 2) + size * rng.normal(0, shift / 2, 2)
    return np.block([
        [turn, (middle - turn @ np.full(2, (edge - 1) / 2))[:, None]], [np.zeros((1, 2)), 1],
    ])  # fmt: skip


def _recolored(
    rng: np.random.Generator, pixels: UInt8[np.ndarray, "s s 3"]
) -> UInt8[np.ndarray, "s s 3"]:
    """The actor in other colours: saturation, hue, contrast; now and then grey."""
    mix = np.eye(3) + rng.normal(0, 0.05, (3, 3))
    grey = np.outer(np.ones(3), [0.299, 0.587, 0.114])
    saturation = 0.0 if rng.random() < 0.07 else rng.uniform(0.4, 1.5)
    mix = grey + saturation * (mix - grey)
    contrast = np.exp(rng.normal(0, 0.2))
    offset = (1 - contrast) * 128 + rng.normal(0, 12)
    turned = cv2.transform(
        pixels.astype(np.float32), np.column_stack([contrast * mix, np.full(3, offset)])
    )
    return np.asarray(np.clip(turned, 0, 255), np.uint8)


def _disturbed(
    rng: np.random.Generator, pixels: UInt8[np.ndarray, "s s 3"], outline: Float[np.ndarray, "s s"]
) -> UInt8[np.ndarray, "s s 3"]:
    """A face as real ones are: beards, spectacles, hard shadows, uneven skin, marked features."""
    for _ in range(int(rng.integers(1, 3))):
        pixels, _ = cover(rng, pixels, outline, _DECOYS)
    picture, size = pixels.astype(np.float32), len(pixels)
    if rng.random() < 0.5:
        for cells in (4, 12, 36):
            spots = rng.standard_normal((cells, cells, 1), np.float32)
            color = 1 + 0.3 * rng.standard_normal(3).astype(np.float32)
            spread = cv2.resize(spots, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
            picture *= 1 + float(rng.uniform(0, 0.09)) * spread * color
    if rng.random() < 0.5:
        # Wrinkles, sockets and lids stand out.
        sigma = float(rng.uniform(1, 6))
        blurred = cv2.GaussianBlur(picture, (0, 0), sigma)
        picture += float(rng.uniform(0.3, 1.5)) * (picture - blurred)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _bent(
    rng: np.random.Generator, pixels: UInt8[np.ndarray, "s s 3"], *masks: Float[np.ndarray, "s s"]
) -> list[np.ndarray]:
    """The face with other proportions, and moved as no actor moves: brows, mouth, chin."""
    size, reach = len(pixels), rng.uniform(0, 0.03)
    spots = rng.standard_normal((2, *rng.integers(3, 7, 2)), np.float32) * np.float32(reach * size)
    shifts = [cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in spots]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return [
        cv2.remap(
            one, x + shifts[0], y + shifts[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for one in (pixels, *(mask.astype(np.float32) for mask in masks))
    ]


def _lined(
    rng: np.random.Generator, pixels: UInt8[np.ndarray, "s s 3"], outline: Float[np.ndarray, "s s"]
) -> UInt8[np.ndarray, "s s 3"]:
    """Wrinkles and folds: of a forehead, between brows, beside a mouth; and veins of light."""
    size = len(pixels)
    x, y, width, height = cv2.boundingRect((outline > 0.5).astype(np.uint8))
    light = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        start = np.array([x + width * rng.random(), y + height * rng.random()])
        angle, long = rng.uniform(0, np.pi), width * rng.uniform(0.1, 0.6)
        along = np.linspace(-0.5, 0.5, 9)[:, None] * long
        toward = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-toward[1], toward[0]])
        bow = rng.normal(0, 0.6) * long * (along / long) ** 2
        sigma = float(rng.uniform(0.5, 3.0)) * size / 128
        apart = across * sigma * rng.uniform(3, 6)
        lines = np.zeros((size, size), np.float32)
        for copy_ in range(int(rng.integers(1, 5)) if rng.random() < 0.4 else 1):
            points = start + along * toward + bow * across + copy_ * apart
            cv2.polylines(
                lines, [np.round(16 * points).astype(np.int32)], False, 1.0, 1, cv2.LINE_AA, 4
            )
        # A valley and the ridge beside it, in the light from one side.
        blurred = cv2.GaussianBlur(lines, (0, 0), sigma)
        dark: np.ndarray = blurred / max(float(blurred.max()), 1e-3)
        shift = across * sigma * float(rng.choice([-2, 2]))
        ridge = cv2.warpAffine(dark, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (size, size))
        light += float(rng.uniform(0.05, 0.4)) * (float(rng.uniform(0, 0.7)) * ridge - dark)
    shaded = pixels * (1 + np.clip(light, -0.7, 0.5))[..., None]
    return np.asarray(np.clip(shaded, 0, 255), np.uint8)


def _photographed(
    rng: np.random.Generator, pixels: UInt8[np.ndarray, "s s 3"], low: float
) -> UInt8[np.ndarray, "s s 3"]:
    """The crop as a camera would have stored it, in `low` from a face of a few dozen pixels."""
    size = len(pixels)
    pixels = random_camera(rng, size)(pixels)
    if rng.random() < low:
        small = max(24, round(size * rng.uniform(0.25, 0.8)))
        pixels = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))]
            stored = cv2.imencode(".jpg", pixels, quality)[1]
            pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)
        how = cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(pixels, (size, size), interpolation=how), np.uint8)
    noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(0, 7))
    return np.asarray(np.clip(pixels + noise, 0, 255), np.uint8)
