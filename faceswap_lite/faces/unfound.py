"""Why so few faces were found: frames without one, looked at again for any size and confidence."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import UInt8

from ..config import ExtractConfig
from ..errors import FaceswapError
from ..media.clips import as_uint8
from .candidates import Footage
from .pack import DETECTORS

LOOKS = 12
"""Frames that are looked at again, of all clips together."""
FIRST_FRAMES = 2000
"""Of a clip; so that nobody waits for an hour to be decoded again."""
_MIN_PX = 8
_MIN_CONFIDENCE = 0.3


def why_so_few(
    clips: Sequence[Footage],
    with_face: Collection[tuple[int, int]],
    config: ExtractConfig,
    detector_name: str,
) -> str:
    """One line on what frames without a face show instead; "" when there are none.

    `with_face`: place of the clip and number of the frame, of all frames that gave a face.
    """
    detector = DETECTORS[detector_name](_MIN_PX, config.max_edge_px)
    nothing = others = 0
    sizes, confidences = list[float](), list[float]()
    for image in _without_face(clips, with_face, config.every):
        faces = detector(image, _MIN_CONFIDENCE)
        edges = [float(max(face.box_xyxy[2:] - face.box_xyxy[:2])) for face in faces]
        pairs = zip(faces, edges, strict=True)
        large = [face.confidence for face, edge in pairs if edge >= config.min_face_px]
        if not faces:
            nothing += 1
        elif not large:
            sizes.append(max(edges))
        elif max(large) < config.high_confidence:
            confidences.append(max(large))
        else:
            others += 1
    looked = nothing + len(sizes) + len(confidences) + others
    small = f"extract.min_face_px={config.min_face_px}, the largest {max(sizes, default=0):.0f} px"
    surest = max(confidences, default=0)
    weak = f"extract.high_confidence={config.high_confidence:g}, the surest {surest:.2f}"
    parts = {
        "nothing like a face": nothing,
        f"only faces that are too small ({small})": len(sizes),
        f"only faces that have too low a confidence ({weak})": len(confidences),
        "a face that was dropped": others,
    }
    shown = "; ".join(f"{what} in {count}" for what, count in parts.items() if count)
    return f"{looked} frames without a face, looked at again: {shown}" if looked else ""


def _without_face(
    clips: Sequence[Footage], with_face: Collection[tuple[int, int]], every: int
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Some frames that gave no face, spread over the clips."""
    places = np.unique(np.linspace(0, len(clips) - 1, LOOKS).round().astype(int)).tolist()
    for place in places:
        # A clip that cannot be read was told of.
        with suppress(FaceswapError), clips[place].open() as reader:
            count = min(reader.info.frame_count or FIRST_FRAMES, FIRST_FRAMES)
            without = [i for i in range(0, count, every) if (place, i) not in with_face]
            if not without:
                continue
            picks = np.linspace(0, len(without) - 1, LOOKS // len(places)).round().astype(int)
            wanted = {without[pick] for pick in picks}
            for frame in reader:
                if frame.index in wanted:
                    yield as_uint8(frame.image)
                if frame.index >= max(wanted):
                    break
