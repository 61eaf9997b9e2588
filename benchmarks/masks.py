"""What is before a face: the mask network's base made again, and how well it sees.

    python benchmarks/masks.py make --work FOLDER --to FILE
    python benchmarks/masks.py make --to dev.safetensors --without cup cutlery scarf fringe
    python benchmarks/masks.py actors --mask dev.safetensors
    python benchmarks/masks.py real --media FOLDER

`make` trains on rendered people and generated occluders; given again after a kill, it goes on.
`actors`: rendered people never seen, each kind of occluder before them. Beside the network's answer
the hull (nothing is hidden) and the mask that a network of swaps learns (the base quick128's).
`real`: frames whose occluders were marked by hand (`benchmarks/masks_marks.json`), some of them
twice, by others: how far their edges lie from one another is what can be asked of a network's.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from _door import enter, keep, line_of, need, need_weights, parser_of
from faceswap_lite.conversion.blend import Layer
from faceswap_lite.conversion.occlusion import find_occlusions, keep_what_is_before, mask_view
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import CROP_COVERAGES, align, cut_crop
from faceswap_lite.faces.detect import Detection, build_yunet
from faceswap_lite.faces.hull import face_mask
from faceswap_lite.faces.landmarkers import Landmarker, build_mesh
from faceswap_lite.geometry import compose, invert_similarity, transform_points
from faceswap_lite.media.clips import as_uint8
from faceswap_lite.media.reading import open_clip
from faceswap_lite.metrics.landmarks import CANONICAL_FIVE
from faceswap_lite.models.architectures import build_model
from faceswap_lite.models.crops import as_pixels
from faceswap_lite.models.mask_network import MaskNetwork, visible_face
from faceswap_lite.occluders.planting import KINDS
from faceswap_lite.pretraining.mask_base import make_mask_base, masked_face, rendered_faces
from faceswap_lite.runs.bases import shipped_bases
from faceswap_lite.runs.mask_weights import MaskWeights, read_mask, shipped_mask, write_mask

STEPS, GROUPS = (2400, 4000, 8000, 600), 44
STAGES: tuple[dict[str, Any], ...] = (
    {},
    {"disturbed": 0.5},
    {"disturbed": 0.5, "hidden_weight": 2.0},
    {"disturbed": 0.7, "creased": 0.6, "hidden_weight": 2.0},
)
"""How `make_mask_base` differs: faces as they are rendered; half of them harder; what is before a
face counting as much as it matters, which is less of a batch than what is seen; and wrinkles."""
UNSEEN_GROUPS, UNSEEN_SEED = 6, 2_000_000
REAL_EDGE = 256
HIDDEN = 0.5
"""Of alpha: what is less than this is not painted."""


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("what", choices=("make", "actors", "real"))
    parser.add_argument("--work", type=Path, default=Path("workspace/masks"))
    parser.add_argument("--to", type=Path, default=Path("workspace/masks/visible.safetensors"))
    parser.add_argument("--without", nargs="*", default=[], help="kinds that training never sees")
    parser.add_argument("--steps", type=int, nargs=len(STAGES), default=STEPS, help="of each stage")
    parser.add_argument("--groups", type=int, default=GROUPS, help="of four people")
    parser.add_argument("--mask", type=Path, help="a file that `make` made (the package's own)")
    parser.add_argument("--look", type=Path, help="for `real`: a folder for pictures of the frames")
    parser.add_argument("--each", type=int, default=96, help="for `actors`: faces of each kind")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if options.what == "real":
        need(options.media)
    need_weights("mesh")
    if options.what == "make":
        unknown = set(options.without) - set(KINDS)
        if unknown:
            raise FaceswapError(f"{', '.join(sorted(unknown))}: no such kind of occluder")
        kinds = [kind for kind in KINDS if kind not in options.without]
        make(options.to, options.work, options.steps, options.groups, kinds)
        return
    weights = read_mask(options.mask) if options.mask else shipped_mask()
    network, seen = weights.network(), weights.recipe.get("kinds", list(KINDS))
    if options.what == "actors":
        rows = of_actors(network, seen, options.work, options.each)
    else:
        rows = of_real_frames(network, options.media, options.look)
    for row in rows:
        print(line_of(row))
    keep(options.out, {"mask": weights.fingerprint(), "rows": rows})


def make(out: Path, work: Path, steps: Sequence[int], groups: int, kinds: list[str]) -> None:
    """Train in stages, each from where the one before ended; a stage of no steps is left out.

    With the fourth stage, the mean of its weights and the third's: it keeps what that knew of
    occluders (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
    """
    made: list[MaskWeights] = []
    for seed, some in enumerate(steps):
        if not some:
            continue
        name = f"{out.stem}_{seed + 1}"
        make_mask_base(
            work / f"{name}.safetensors", work / name,
            steps=some, groups=groups, kinds=kinds, start=made[-1] if made else None,
            seed=seed, **STAGES[seed],
        )  # fmt: skip
        made.append(read_mask(work / f"{name}.safetensors"))
    of = made[-2:] if steps[-1] else made[-1:]
    told = of[-1].recipe | {"mean_of": [one.fingerprint() for one in of]}
    if out.exists() and read_mask(out).recipe != told:
        raise FaceswapError(f"{out}: exists and is another's; choose another file")
    states = [one.network().state_dict() for one in of]
    network = of[-1].network()
    network.load_state_dict({
        name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]
    })  # fmt: skip
    write_mask(out, network, told)


def overlap(answers: np.ndarray, truths: np.ndarray) -> float:
    """Mean intersection over union of masks, of what is at least HIDDEN in them."""
    a, b = answers >= HIDDEN, truths >= HIDDEN
    return float(((a & b).sum((1, 2)) / np.maximum((a | b).sum((1, 2)), 1)).mean())


def of_actors(network: MaskNetwork, seen: list[str], work: Path, each: int) -> list[dict[str, Any]]:
    """Of each kind: IoU of visible face, by the network, the hull and a learned mask."""
    faces = rendered_faces(work / "mask_faces", UNSEEN_GROUPS, UNSEEN_SEED)
    rows: list[dict[str, Any]] = []
    for number, kind in enumerate(["nothing", *KINDS]):
        rng = np.random.default_rng([number, 0xFACE])
        planted = float(kind != "nothing")
        some = [
            masked_face(rng, faces[int(place)], [kind], planted, moved=0.3, low=0.0)
            for place in rng.choice(len(faces), each, replace=False)
        ]
        pixels, outlines, truths = (np.stack(part) for part in zip(*some, strict=True))
        answers = visible_face(network, pixels, outlines)
        learned = learned_masks(pixels) * outlines
        hidden = outlines - truths
        row: dict[str, Any] = {
            "kind": kind,
            "trained": kind in seen,
            "hidden": float((hidden.sum((1, 2)) / outlines.sum((1, 2))).mean()),
            "iou": overlap(answers, truths),
            "iou_hull": overlap(outlines, truths),
            "iou_learned": overlap(learned, truths),
            "iou_outline": overlap(answers, outlines),
            "painted_over": share((answers >= HIDDEN) & (hidden > HIDDEN), hidden > HIDDEN),
            "missed": share((answers < HIDDEN) & (truths > HIDDEN), truths > HIDDEN),
        }
        rows.append(row)
    unseen = [row for row in rows if not row["trained"] and row["kind"] != "nothing"]
    if unseen:
        ious = [row["iou"] for row in unseen]
        print(f"kinds never seen: IoU {np.mean(ious):.3f} in the mean, {min(ious):.3f} the worst")
    return rows


def share(part: np.ndarray, whole: np.ndarray) -> float:
    """How much of `whole`, pooled, is `part`."""
    return float(part.sum() / max(whole.sum(), 1))


@torch.no_grad()
def learned_masks(pixels: np.ndarray) -> Float[np.ndarray, "n s s"]:
    """The masks that the base quick128's decoder gives."""
    base = next(base for base in shipped_bases() if base.name == "quick128")
    model = build_model(base.model, 0).eval()
    model.load_state_dict(base.weights())
    masks = []
    for start in range(0, len(pixels), 16):
        _, mask = model.paint(as_pixels(model, pixels[start : start + 16]), "source")
        assert mask is not None, "quick128 has a mask head"
        masks.append(mask[:, 0].float().numpy())
    return np.concatenate(masks)


def of_real_frames(
    network: MaskNetwork, media: Path, look: Path | None = None
) -> list[dict[str, Any]]:
    """Of each marked frame: how much of the occluder is painted over, how much face is missed."""
    marks = json.loads((Path(__file__).parent / "masks_marks.json").read_text())
    mesh, rows = build_mesh(), []
    for name, clip in marks["clips"].items():
        file = media / name
        need(file)
        if hashlib.sha256(file.read_bytes()).hexdigest() != clip["sha256"]:
            raise FaceswapError(f"{file}: is not the file that was marked")
        frames = frames_of(file, sorted(map(int, clip["frames"])))
        for index, mark in clip["frames"].items():
            file_of = look / f"{Path(name).stem}_{index}.png" if look else None
            row = of_frame(network, mesh, frames[int(index)], mark, file_of)
            rows.append({"frame": f"{Path(name).stem}:{index}", "kind": mark["kind"], **row})
    pooled = {
        key: sum(row[key] for row in rows)
        for key in ("occluder", "over", "face", "miss", "outside")
    }
    edges, marked_twice = (
        [row[name] for row in rows if row[name] is not None] for name in ("edge", "edge_of_marks")
    )
    rows.append({
        "frame": "all", "kind": "pooled", **pooled,
        "painted_over": pooled["over"] / max(pooled["occluder"], 1),
        "missed": pooled["miss"] / max(pooled["face"], 1),
        "missed_by_outline": pooled["outside"] / max(pooled["face"], 1),
        "edge": float(np.mean(edges)),
        "edge_of_marks": float(np.mean(marked_twice)),
    })  # fmt: skip
    return rows


def frames_of(file: Path, wanted: list[int]) -> dict[int, UInt8[np.ndarray, "h w 3"]]:
    """Frames of a clip or a still, by their number in the order of decoding."""
    found = {}
    for number, frame in enumerate(open_clip(file)):
        if number in wanted:
            found[number] = as_uint8(frame.image)
        if number == wanted[-1]:
            break
    return found


def of_frame(
    network: MaskNetwork,
    mesh: Landmarker,
    image: UInt8[np.ndarray, "h w 3"],
    mark: dict[str, Any],
    look: Path | None = None,
) -> dict[str, Any]:
    """Pixels of a crop: of the marked occluder and the visible face, and those taken wrongly."""
    face = np.array(mark["face"])
    points = mesh(image, detected(image, face)).points
    to_crop = align(points, "mesh", CROP_COVERAGES["full"], REAL_EDGE)
    crop, outline = (
        cut_crop(image, to_crop, REAL_EDGE),
        face_mask(points, "mesh", to_crop, REAL_EDGE),
    )
    (found,) = find_occlusions(network, [mask_view(image, points, "mesh")])
    # As a conversion paints it into a frame: here the crop.
    to_view = compose(invert_similarity(to_crop), found.view.frame_to_crop)
    found = replace(found, view=found.view._replace(frame_to_crop=to_view))
    whole = Layer(0, 0, np.zeros_like(crop, np.float32), outline[..., None].astype(np.float32))
    layer = keep_what_is_before(whole, crop, found, found.clear)
    answer = np.zeros(outline.shape, bool) if layer is None else layer.alpha[..., 0] >= HIDDEN
    marked = drawn([face], to_crop)
    before = drawn(mark["occluders"], to_crop) & marked
    seen = marked & ~before
    inside = marked & (outline >= HIDDEN)
    again = drawn(mark["again"]["occluders"], to_crop) & marked if "again" in mark else None
    row = {
        "occluder": int(before.sum()), "over": int((before & answer).sum()),
        "face": int(seen.sum()), "miss": int((seen & ~answer).sum()),
        # Of this, what the outline leaves out: no matter of the network.
        "outside": int((seen & (outline < HIDDEN)).sum()),
        "edge": edge_error(inside & ~answer, before, inside, face, to_crop),
        "edge_of_marks": None
        if again is None
        else edge_error(inside & again, before, inside, face, to_crop),
    }  # fmt: skip
    if look:
        look.parent.mkdir(parents=True, exist_ok=True)
        shown = crop.copy()
        for mask, color in ((answer, (0, 255, 0)), (before, (255, 0, 0)), (marked, (255, 255, 0))):
            edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(shown, edges, -1, color, 1)
        cv2.imwrite(str(look), shown[..., ::-1])
    return row


def detected(image: UInt8[np.ndarray, "h w 3"], face: Float[np.ndarray, "n 2"]) -> Detection:
    """The found face that lies at the marked one; else one where it was marked."""
    low, high = face.min(0), face.max(0)
    middle = (low + high) / 2
    for found in build_yunet(24, 1280)(image, 0.5):
        centre = found.box_xyxy.reshape(2, 2).mean(0)
        if (np.abs(centre - middle) < (high - low) / 4).all():
            return found
    return Detection(
        np.concatenate([low, high]), 1.0, middle + CANONICAL_FIVE * (high - low).min() / 3
    )


def drawn(polygons: list[Any], to_crop: Float[np.ndarray, "2 3"]) -> Bool[np.ndarray, "s s"]:
    """Marked polygons in the crop."""
    canvas = np.zeros((REAL_EDGE, REAL_EDGE), np.uint8)
    for polygon in polygons:
        points = transform_points(np.array(polygon, np.float64), to_crop)
        cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return canvas > 0


def edge_error(
    said: Bool[np.ndarray, "s s"],
    before: Bool[np.ndarray, "s s"],
    inside: Bool[np.ndarray, "s s"],
    face: Float[np.ndarray, "n 2"],
    to_crop: Float[np.ndarray, "2 3"],
) -> float | None:
    """Mean distance of the edges of what hides a face, as said and as marked, both ways, within
    the outline, in shares of the face's width; None where either has no edge.
    """
    inner = cv2.erode(inside.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    edges = []
    for hidden in (before, said):
        grown = cv2.dilate(hidden.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        edges.append(grown & ~hidden & inner)
    if not all(edge.any() for edge in edges):
        return None
    distances = [cv2.distanceTransform((~e).astype(np.uint8), cv2.DIST_L2, 5) for e in edges]
    width = np.ptp(transform_points(face, to_crop)[:, 0])
    both = [distances[1][edges[0]].mean(), distances[0][edges[1]].mean()]
    return float(np.mean(both) / width)


if __name__ == "__main__":
    enter(main)
