"""The mark that says, to machines, that a picture or clip is synthetic.

IPTC's digital source type, in a video container's comment and in a picture's XMP packet.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from .clips import IMAGE_SUFFIXES, ffmpeg_url, list_images

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MOST_WORDS = 80
"""Characters of a mark that are shown."""
SOURCE_TYPE = "compositeWithTrainedAlgorithmicMedia"

XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 Iptc4xmpExt:DigitalSourceType="{source}" xmp:CreatorTool="{tool} {version}"
 dc:source="run:{run} job:{job}"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


@dataclass(frozen=True)
class SyntheticMark:
    """Who made it synthetic: tool, version, the fingerprint of the run, the conversion's job."""

    version: str
    run: str | None
    tool: str = "faceswap_lite"
    digital_source_type: str = SOURCE_TYPE
    job: str | None = None
    """16 hex digits, the ones in the sidecar: it finds the sidecar of a renamed copy."""

    def comment(self) -> str:
        """The mark as one line of `key=value` pairs for a container's comment."""
        return (
            f"DigitalSourceType={IPTC}{self.digital_source_type}; tool={self.tool}; "
            f"version={self.version}; run={self.run or 'none'}; job={self.job or 'none'}"
        )

    def xmp(self) -> str:
        """The mark as an XMP packet for a picture."""
        return _XMP.format(
            source=IPTC + self.digital_source_type,
            tool=self.tool,
            version=self.version,
            run=self.run or "none",
            job=self.job or "none",
        )


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
        run=run[1][:MOST_WORDS] if run and run[1] != "none" else None,
        digital_source_type=source[1],
        job=job[1] if job else None,
    )


def as_words(text: str, most: int | None = None) -> str:
    """A text of somebody else's as one printable line, cut after `most` characters."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())[: MOST_WORDS if most is None else most]


def append_xmp(path: Path, mark: SyntheticMark) -> None:
    """Add the mark's XMP packet to a finished mp4 or mov, as the box that the XMP standard names.

    Source: Adobe, "XMP Specification Part 3: Storage in Files": a top-level uuid box.
    """
    packet = XMP_BOX + mark.xmp().encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(packet), b"uuid") + packet)


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
