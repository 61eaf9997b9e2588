"""Is the named person swapped, and nobody else? On clips of several people, losslessly.

    python benchmarks/who.py --run RUN --media FOLDER [--out docs/conversion/who.json]

Each person of a clip is named in turn by a photo cut from one of its frames. A pass without
swapping, written by the same lossless codec, says which pixels changed; where each person is in
each shot was read off the pictures. Any run serves: it is not about the painted face.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from _door import clips_of, enter, keep, line_of, need, parser_of
from faceswap_lite.config import ConvertConfig, OutputConfig
from faceswap_lite.conversion.casting import plan_cast, target_identity
from faceswap_lite.conversion.convert import convert_clip
from faceswap_lite.conversion.detection_pass import build_run_packs, detect_clip
from faceswap_lite.conversion.writers import FileOutputs, Tracks
from faceswap_lite.faces.pack import FacePack
from faceswap_lite.media.images import write_image
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.media.writing import ClipWriter
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun


@dataclass(frozen=True)
class Person:
    """Somebody in a clip: a frame and a face of it (from the left) for the photo, and where he is.

    `shots`: first frame, frame after the last, left, right (pixels of the frame).
    """

    name: str
    frame: int
    face: int
    shots: tuple[tuple[int, int, int, int], ...]


PEOPLE = {
    "twofaces_headpose": (
        Person("woman", 0, 0, ((0, 56, 0, 210),)),
        Person("man", 0, 1, ((0, 56, 230, 480),)),
    ),
    "threefaces_walking": (
        Person("left", 16, 0, ((0, 41, 0, 170),)),
        Person("middle", 16, 1, ((0, 41, 170, 290),)),
        Person("right", 16, 2, ((0, 41, 290, 480),)),
    ),
    "multishot_multiface_dark": (
        Person("singer", 109, 0, ((0, 20, 400, 640), (82, 211, 0, 640))),
        Person("left listener", 274, 0, ((211, 275, 0, 145),)),
        Person("right listener", 274, 2, ((211, 275, 265, 640),)),
    ),
}
# True cuts, read off the pictures.
CUTS = {"multishot_multiface_dark": [20, 82, 211]}


def check(
    run: TrainedRun, clip: Path, person: Person, packs: list[FacePack], out: Path
) -> dict[str, Any]:
    photo, plain = out / f"{person.name}.png", out / "plain.mkv"
    cut_photo(clip, person, packs[0], photo)
    config = ConvertConfig(output=OutputConfig(codec="ffv1"))
    swap, mask = out / "swap.mkv", out / "mask.mkv"
    convert_clip(
        run,
        as_clip(clip),
        FileOutputs(swap, Tracks(mask=mask)),
        config,
        like=photo,
        overwrite=True,
        say=lambda line: None,
    )
    if not plain.exists():
        with open_clip(clip) as reader, ClipWriter(plain, like=reader.info, codec="ffv1") as writer:
            for frame in reader:
                writer.write(frame.image, frame.pts)
    swapped = outside_mask = on_others = 0
    with open_clip(plain) as a, open_clip(swap) as b, open_clip(mask) as m:
        for before, after, shown in zip(a, b, m, strict=True):
            changed = (before.image != after.image).any(2)
            swapped += bool(changed.any())
            outside_mask += bool((changed & ~rectangle(shown.image[..., 0] > 0)).any())
            on_others += bool((changed & ~allowed(person, before.index, changed.shape)).any())
        frames = before.index + 1
    detected = detect_clip(as_clip(clip), run, packs, config, say=lambda line: None)
    plan = plan_cast(
        detected,
        run.manifest.landmarks_pack,
        target_identity(run, packs[0], config, photo),
        config,
        run.config.extract.high_confidence,
    )
    stretches: dict[int, list[int]] = {}
    for frame_index, some in plan.placements.items():
        for placement in some:
            stretches.setdefault(placement.segment, []).append(frame_index)
    cuts = CUTS.get(clip.stem, [])
    crossing = sum(min(some) < cut <= max(some) for some in stretches.values() for cut in cuts)
    there = sum(last - first for first, last, _, _ in person.shots)
    return {
        "clip": clip.stem,
        "person": person.name,
        "frames": frames,
        "in_sight": there,
        "swapped": swapped,
        "frames_changed_outside_the_face": outside_mask,
        "frames_with_a_bystander_touched": on_others,
        "cuts_found": plan.cuts,
        "stretches_across_a_cut": crossing,
    }


def rectangle(shown: np.ndarray) -> np.ndarray:
    """The rectangle about what the mask shows."""
    box = np.zeros_like(shown)
    if shown.any():
        rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def allowed(person: Person, frame: int, shape: tuple[int, ...]) -> np.ndarray:
    """Where this person may be in a frame."""
    where = np.zeros(shape, bool)
    for first, last, left, right in person.shots:
        if first <= frame < last:
            where[:, left:right] = True
    return where


def cut_photo(clip: Path, person: Person, pack: FacePack, out: Path) -> None:
    with open_clip(clip) as reader:
        image = next(frame.image for frame in reader if frame.index == person.frame)
    left, top, right, bottom = pack.find(image)[person.face].detection.box_xyxy.astype(int)
    border = (right - left) // 2
    write_image(
        out, image[max(0, top - border) : bottom + border, max(0, left - border) : right + border]
    )


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("--run", type=Path, required=True)
    given = parser.parse_args()
    clips = clips_of(given.media, *(f"video/robust/{stem}.mp4" for stem in PEOPLE))
    need(given.run)
    run = load_run(given.run)
    packs = build_run_packs(run, ConvertConfig())
    rows = []
    for clip in clips:
        with tempfile.TemporaryDirectory() as folder:
            for person in PEOPLE[clip.stem]:
                rows.append(check(run, clip, person, packs, Path(folder)))
                print(line_of(rows[-1]), flush=True)
    keep(given.out, rows)


if __name__ == "__main__":
    enter(main)
