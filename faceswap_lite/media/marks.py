"""The mark that says, to machines, that a picture or clip is synthetic.

IPTC's digital source type, in a video container's comment and in a picture's XMP packet.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MAX_WORDS = 80
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


@dataclass(frozen=True)
class Signing:
    """What seals finished files beside their marks; the one kind is in `credentials.py`.

    `check`: refuses now what `sign` would refuse after the work.
    `sign`: of a file in place, with its mark, title and clip.
    """

    check: Callable[[Path], None]
    sign: Callable[[Path, SyntheticMark, str, Path], None]


def as_words(text: str, maximum: int | None = None) -> str:
    """A text of somebody else's as one printable line, cut after `maximum` characters."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())[: MAX_WORDS if maximum is None else maximum]


def append_xmp(path: Path, mark: SyntheticMark) -> None:
    """Add the mark's XMP packet to a finished mp4 or mov, as the box that the XMP standard names.

    Source: Adobe, "XMP Specification Part 3: Storage in Files": a top-level uuid box.
    """
    packet = XMP_BOX + mark.xmp().encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(packet), b"uuid") + packet)
