"""The outputs of a conversion: what each shows of a frame, and how it is written."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from ..config import ConvertConfig, OutputConfig
from ..errors import FaceswapError
from ..media.clips import IMAGE_SUFFIXES, ClipInfo, Span, gaps_closed, list_images
from ..media.encoding import alpha_holders, with_alpha
from ..media.label import draw_label
from ..media.marks import Signing, SyntheticMark
from ..media.reader import ClipReader
from ..media.sinks import WRITTEN_SUFFIXES, check_suffix
from ..media.stills import image_size
from ..media.writing import BT709_TAGS, PIECE_FRAMES, ClipWriter, holds_alpha
from ..outputs import VERSION, check_space
from .blend import layer_mask, layer_rgba
from .composite import Composite
from .job import ConvertJob

SURE_FACTOR = 20
"""By how much an estimate of bytes may be too high."""


@dataclass(frozen=True)
class Tracks:
    """What else to write, for compositors and for a look: each a clip or a folder of PNG."""

    mask: Path | None = None
    """Grey: how much of the painted face each pixel shows."""
    layer: Path | None = None
    """The painted face alone, with straight alpha."""
    compare: Path | None = None
    """The clip and the swap beside one another."""

    def named(self) -> dict[str, Path]:
        """Those that are wanted."""
        every = {"mask": self.mask, "layer": self.layer, "compare": self.compare}
        return {name: path for name, path in every.items() if path is not None}


@dataclass(frozen=True)
class Output:
    """One kind of output: from a frame and its swap, the label on it, to a picture.

    `copies`: also what the clip has beside its pictures (sound, subtitles, chapters).
    `keeps_alpha`: the clip's own alpha is laid beside the colours, where the file holds any.
    """

    draw: Callable[[Composite, np.ndarray], np.ndarray]
    frames_wide: int = 1
    alpha: bool = False
    copies: bool = False
    keeps_alpha: bool = False


OUTPUTS: dict[str, Output] = {
    "swap": Output(lambda made, swap: swap, copies=True, keeps_alpha=True),
    "mask": Output(lambda made, swap: layer_mask(swap.shape[:2], made.layers, swap.dtype.type)),
    "layer": Output(
        lambda made, swap: layer_rgba(swap.shape[:2], made.layers, swap.dtype.type), alpha=True
    ),
    "compare": Output(
        lambda made, swap: np.concatenate([made.frame.image, swap], axis=1),
        frames_wide=2,
        copies=True,
    ),
}
"""By their names in a job."""


@dataclass(frozen=True)
class FileOutputs:
    """A conversion's outputs as files: the swapped clip, and what else is to be written.

    `signing`: what seals the swap, where `convert.output.c2pa` wants it.
    Raises: FaceswapError when one has a name of which nothing is ever written.
    """

    swap: Path
    tracks: Tracks = field(default_factory=Tracks)
    signing: Signing | None = None

    def __post_init__(self) -> None:
        for path in self.paths.values():
            check_suffix(path)

    @property
    def paths(self) -> dict[str, Path]:
        """By their names in a job."""
        return {"swap": self.swap, **self.tracks.named()}

    def check(self, job: ConvertJob, reader: ClipReader, config: ConvertConfig) -> list[str]:
        """As `Outputs.check`."""
        info = reader.info
        if config.output.c2pa and self.signing is None:
            raise ValueError("convert.output.c2pa needs something that signs (signing_for)")
        if self.signing is not None:
            self.signing.check(job.swap)
        draw_label(np.zeros((info.height, info.width, 3), np.uint8), config.output.label)
        mark = SyntheticMark(version=VERSION, run=None)
        notes: list[str] = []
        needed = 0
        for name, path in job.missing().items():
            _check_pictures(path, job.clip, info, config)
            if not path.exists():
                # In the job's own folder: what a kill leaves there is found again.
                work = job.work / f"{name}.check"
                # When a part begins is not known yet; that it is one says what its sound becomes.
                part = (Fraction(0), None) if config.start or config.end is not None else None
                writer = output_writer(
                    name, job, info, config.output, mark, None, work=work, span=part
                )
                writer.check()
                notes += told(writer)
                needed += writer.expected_bytes(_frames(info, config))
        alone = [path for path in job.missing().values() if path.suffix.lower() in IMAGE_SUFFIXES]
        # The number before which two frames were written, if there are two.
        second = min(config.start + 2, config.end or config.start + 2)
        if alone and len(list(islice(reader, config.start, second))) > 1:
            raise FaceswapError(f"{alone[0]}: holds one picture; name a video, or a folder")
        is_video = any(path.suffix.lower() in WRITTEN_SUFFIXES for path in job.missing().values())
        wanted = (info.numbers or ())[config.start : config.end]
        if is_video and (line := gaps_closed(wanted)):
            notes.append(line)
        return notes + check_space(job.work, needed, needed // SURE_FACTOR)

    @contextmanager
    def open(
        self,
        job: ConvertJob,
        info: ClipInfo,
        config: ConvertConfig,
        mark: SyntheticMark | None,
        span: Span | None,
    ) -> Iterator["OpenFiles"]:
        """As `Outputs.open`."""
        output = config.output
        with ExitStack() as stack:
            writers = {}
            for name in job.missing():
                writer = output_writer(
                    name, job, info, output, mark, self.signing, work=job.work / name, span=span
                )
                writers[name] = stack.enter_context(writer)
            yield OpenFiles(writers, output.label)


@dataclass(frozen=True)
class OpenFiles:
    """Files that are written in step. `label`: burnt into the swapped frames; "": nothing."""

    writers: dict[str, ClipWriter]
    label: str

    @property
    def done(self) -> int:
        """The frames that all of them have, of an earlier call."""
        return min(writer.done for writer in self.writers.values())

    @property
    def notes(self) -> list[str]:
        """What they could not keep."""
        return [line for writer in self.writers.values() for line in told(writer)]

    def keep(self, frames: int) -> None:
        """As `ClipWriter.keep`."""
        for writer in self.writers.values():
            writer.keep(frames)

    def write(self, made: Composite) -> None:
        """One more frame into each."""
        frame, swap = made.frame, _labelled(made, self.label)
        for name, writer in self.writers.items():
            kind = OUTPUTS[name]
            picture = kind.draw(made, swap)
            if kind.keeps_alpha and writer.alpha:
                picture = frame.with_alpha(picture)
            writer.write(picture, frame.pts, ticks=frame.ticks, number=frame.number)


def _labelled(made: Composite, label: str) -> np.ndarray:
    """The swapped frame, the label burnt into it."""
    image = made.image
    if label:
        image = image.copy() if image is made.frame.image else image
        draw_label(image, label)
    return image


def output_writer(
    name: str,
    job: ConvertJob,
    info: ClipInfo,
    config: OutputConfig,
    mark: SyntheticMark | None,
    signing: Signing | None,
    *,
    work: Path,
    span: Span | None = None,
) -> ClipWriter:
    """The writer of one of a job's outputs; `info` is of the clip that the job converts."""
    kind, path = OUTPUTS[name], job.outputs[name]

    def finish(made: Path) -> None:
        if signing is not None and name == "swap" and mark is not None:
            signing.sign(made, mark, path.name, job.clip)
        job.note_whole(name, made)

    suffix = path.suffix.lower()
    codec = with_alpha(config.codec, suffix) if kind.alpha else config.codec
    wanted, held = kind.keeps_alpha and info.alpha, holds_alpha(suffix, codec)
    writer = ClipWriter(
        path,
        # A mask's greys are no colours.
        like=replace(info, icc=None, calibration=(), color=BT709_TAGS) if name == "mask" else info,
        width=info.width * kind.frames_wide,
        codec=codec,
        quality=config.quality,
        copy_from=job.clip if kind.copies and info.kind == "video" else None,
        span=span,
        mark=mark,
        alpha=kind.alpha or (wanted and held),
        work=work,
        piece_frames=PIECE_FRAMES,
        finish=finish,
    )
    if wanted and not held:
        what = codec if suffix in WRITTEN_SUFFIXES else f"a {suffix}"
        writer.notes.append(
            f"the clip's alpha is left out: {what} holds none; {alpha_holders()} do"
        )
    if name == "swap" and info.exif:
        writer.notes.append("EXIF (camera, date, place) is not kept")
    return writer


def told(writer: ClipWriter) -> list[str]:
    """A writer's notes, with the name of what it writes; each once, of how many streams it is."""
    return [
        f"{writer.path.name}: {note}" + f" ({count} streams)" * (count > 1)
        for note, count in Counter(writer.notes).items()
    ]


def _check_pictures(path: Path, clip: Path, info: ClipInfo, config: ConvertConfig) -> None:
    """Refuse a video of pictures that differ in size."""
    if not clip.is_dir() or path.suffix.lower() not in WRITTEN_SUFFIXES:
        return
    sizes: list[tuple[str, tuple[int, int]]] = []
    for file in list_images(clip):
        # What cannot be read is passed over.
        with suppress(FaceswapError):
            sizes.append((file.name, image_size(file)))
    for name, (width, height) in sizes[config.start : config.end]:
        if (width, height) != (info.width, info.height):
            raise FaceswapError(
                f"{path}: {name} is {width}x{height}, the first picture {info.width}x{info.height};"
                " name a folder (no suffix), whose pictures may mix sizes"
            )


def _frames(info: ClipInfo, config: ConvertConfig) -> int:
    """How many are to be written, as far as the container says; else 0."""
    ends = [end for end in (config.end, info.frame_count) if end is not None]
    return max(0, min(ends) - config.start) if ends else 0
