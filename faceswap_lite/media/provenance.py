"""Where a file comes from, as far as it tells: its mark, and whether its bytes are as written."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import av
from PIL import Image

from ..outputs import found_job
from .clips import IMAGE_SUFFIXES, clip_fingerprint, ffmpeg_url, list_images
from .marks import IPTC, MAX_WORDS, SyntheticMark, as_words
from .sidecar import output_name, sidecar_path

MAX_SIDECAR_BYTES = 1 << 20
"""Bytes. Larger JSON files beside an output are no sidecars."""


@dataclass(frozen=True)
class FileCheck:
    """Whether an output has the bytes that were written; `facts` are its sidecar's."""

    state: Literal["unaltered", "altered", "unknown"]
    sidecar: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The verdict in words."""
        if self.state == "unaltered":
            return "not altered since"
        if self.state == "altered":
            return "bytes changed since"
        if self.sidecar is None:
            return "no sidecar beside it: whether it was altered cannot be told"
        return f"{self.sidecar.name} holds no hash: whether it was altered cannot be told"


def check_output(path: Path, mark: SyntheticMark | None = None) -> FileCheck:
    """Whether a file, or a folder's pictures, are the bytes that a conversion wrote.

    The sidecar is PATH.json; for a renamed copy or a remux, any JSON file beside it of the job
    that the mark names. `mark`: what `read_synthetic_mark` said, when that is known already.
    Raises: FaceswapError when the output cannot be read.
    """
    mark = mark or read_synthetic_mark(path)
    sidecar, facts = _find_sidecar(path.absolute(), mark.job if mark else None)
    if sidecar is None or "output_sha256" not in facts:
        return FileCheck("unknown", sidecar, facts)
    tracks, written = facts.get("tracks_sha256"), facts["output_sha256"]
    if isinstance(tracks, dict):
        # Of a track beside the clip.
        written = tracks.get(output_name(facts, sidecar, path), written)
    same = written == clip_fingerprint(path)
    return FileCheck("unaltered" if same else "altered", sidecar, facts)


def _find_sidecar(path: Path, job: str | None) -> tuple[Path | None, dict[str, Any]]:
    own = sidecar_path(path)
    facts = found_job(own)
    if job is not None and facts.get("job") != job:
        # A renamed copy; or a file that took another's place, and whose mark knows better.
        for file in sorted(path.parent.glob("*.json")):
            if file != own and file.is_file() and file.stat().st_size <= MAX_SIDECAR_BYTES:
                beside = found_job(file)
                if beside.get("job") == job:
                    return file, beside
    return (own, facts) if facts else (None, {})


def read_synthetic_mark(path: Path) -> SyntheticMark | None:
    """The mark of a clip or picture (of a folder: of its first picture), or None."""
    if path.is_dir():
        pictures = list_images(path)
        return read_synthetic_mark(pictures[0]) if pictures else None
    text = _picture_text(path) if path.suffix.lower() in IMAGE_SUFFIXES else _clip_text(path)
    # Editors of metadata write XMP's values as elements, where this module writes attributes.
    source = re.search(r"DigitalSourceType(?:=\"?|>)" + re.escape(IPTC) + r"(\w+)", text)
    if source is None:
        return None
    tool = re.search(r"(?:tool=|CreatorTool(?:=\"|>))(\S+?)(?:; version=| )([^;\"<]+)", text)
    run = re.search(r"\brun[=:]([0-9a-z]+)", text)
    job = re.search(r"\bjob[=:]([0-9a-f]{16})\b", text)
    return SyntheticMark(
        # A mark is anybody's text: it shall not write lines of its own on a terminal.
        tool=as_words(tool[1]) if tool else "unknown",
        version=as_words(tool[2]) if tool else "unknown",
        run=run[1][:MAX_WORDS] if run and run[1] != "none" else None,
        digital_source_type=source[1],
        job=job[1] if job else None,
    )


def _clip_text(path: Path) -> str:
    # FFmpeg hands on the comment of any container, and with this option the XMP box of an mp4.
    try:
        with av.open(
            ffmpeg_url(path), container_options={"export_xmp": "1"}, metadata_errors="replace"
        ) as container:
            found = container.metadata
    except (av.FFmpegError, OSError):
        return ""
    # Matroska spells it COMMENT, and programs of Apple's com.apple.quicktime.comment.
    comments = [value for key, value in found.items() if key.lower().endswith("comment")]
    comment = "\n".join(comments)
    return comment if "DigitalSourceType" in comment else found.get("xmp", "")


def _picture_text(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            found = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or ""
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
