"""Streams that their container says are encrypted: nothing here has the key."""

from pathlib import Path
from typing import Any

TAGS = {"encv": "CENC", "enca": "CENC", "drmi": "FairPlay", "drms": "FairPlay"}
"""An mp4's tags of encrypted streams."""
PACKET = 188
"""Bytes of a transport stream's packet; an .m2ts puts a time of 4 before each."""
SEARCHED = 4 << 20
"""Bytes of a transport stream that are looked at."""


def encryption(path: Path, stream: Any) -> str | None:
    """How a stream is encrypted, by what its container says before the first packet."""
    context = stream.codec_context
    if context is not None and context.codec_tag in TAGS:
        return TAGS[context.codec_tag]
    if "enc_key_id" in stream.metadata:
        return "Matroska's content encryption"
    if stream.container.format.name == "mpegts" and _is_scrambled(path, stream.id):
        return "a scrambled transport stream"
    return None


def _is_scrambled(path: Path, pid: int) -> bool:
    """Source: ISO/IEC 13818-1, 2.4.3.2: transport_scrambling_control, two bits."""
    with path.open("rb") as file:
        start = file.read(SEARCHED)
    before = next((n for n in (0, 4) if start[n : n + 1] == start[n + PACKET + n :][:1] == b"G"), 0)
    for at in range(before, len(start) - PACKET, PACKET + before):
        _, high, low, flags = start[at : at + 4]
        if (high & 0x1F) << 8 | low == pid and flags & 0xC0:
            return True
    return False
