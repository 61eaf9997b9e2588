"""What a video frame says beside its pixels: how it is turned, its light, and what is not read."""

from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from jaxtyping import Int32

from .clips import Light

UNREAD = {
    SideDataType.A53_CC: "closed captions inside the picture (CEA-608/708)",
    SideDataType.DYNAMIC_HDR_PLUS: "light by scenes (HDR10+)",
    SideDataType.DYNAMIC_HDR_VIVID: "light by scenes (HDR Vivid)",
    SideDataType.DOVI_METADATA: "light by scenes (Dolby Vision)",
    SideDataType.AMBIENT_VIEWING_ENVIRONMENT: "the light of the room it is made for",
    SideDataType.SPHERICAL: "that it is a spherical picture",
    SideDataType.STEREO3D: "that it is stereoscopic",
    SideDataType.ICC_PROFILE: "an ICC profile",
}
"""What no output carries, in words."""


def display_matrix(frame: av.VideoFrame) -> Int32[np.ndarray, " 9"] | None:
    """How the frame is to be turned to be shown; None: as it is."""
    found = _side_data(frame, SideDataType.DISPLAYMATRIX)
    return None if found is None else np.frombuffer(found, np.int32)


def light_of(frame: av.VideoFrame) -> Light | None:
    """The light that a frame says it was mastered for.

    Source: FFmpeg's mastering_display_metadata.h: rationals of x, y of red, green, blue and white,
    of the least and the most light, then whether colours and light are known.
    """
    mastering = content = None
    found = _side_data(frame, SideDataType.MASTERING_DISPLAY_METADATA)
    if found is not None:
        *numbers, has_colors, has_light = np.frombuffer(found, np.int32)[:22].tolist()
        above, below = np.array(numbers).reshape(10, 2).T
        if has_colors and has_light and below.all():
            units = np.array([50_000] * 8 + [10_000] * 2)
            mastering = tuple(np.round(above / below * units).astype(int).tolist())
    found = _side_data(frame, SideDataType.CONTENT_LIGHT_LEVEL)
    if found is not None:
        most, average = np.frombuffer(found, np.uint32)[:2].tolist()
        content = (most, average)
    return Light(mastering, content) if mastering or content else None


def unread(frame: av.VideoFrame) -> list[str]:
    """What the frame says that no output carries."""
    return [words for kind, words in UNREAD.items() if _side_data(frame, kind) is not None]


def _side_data(frame: av.VideoFrame, kind: SideDataType) -> bytes | None:
    # PyAV types this mapping by the one key that it adds itself.
    side_data = cast(SideDataContainer, frame.side_data)
    try:
        return bytes(side_data[kind])
    except KeyError:
        return None
