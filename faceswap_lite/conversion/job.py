"""One conversion's files: what it may write, what a killed one left, what became of each frame.

Nothing is overwritten or removed but what a sidecar, or a hash noted before a kill, says this
command wrote.
"""

import re
import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.journal import append_lines, read_lines
from ..media.clips import IMAGE_SUFFIXES, TIMES_NAME, ClipInfo, Span, clip_fingerprint
from ..media.marks import SyntheticMark
from ..media.pieces import PICTURES, check_fillable
from ..media.reader import ClipReader
from ..media.sidecar import output_name, sidecar_path
from ..outputs import claim, found_job, read_json, short_name, write_text
from .composite import Composite

_OUR_PICTURE = re.compile(r"frame_\d{6,}\.png")


@dataclass(frozen=True)
class ConvertJob:
    """A conversion: its id, and where lies what it writes and reads.

    Nothing but the id, of contents alone, says which job it is: folders may be moved and copied.
    """

    id: str
    outputs: dict[str, Path]
    """By their names; "swap" is the swapped clip."""
    clip: Path
    beside: list[Path]
    """What else is read."""

    @property
    def swap(self) -> Path:
        """The swapped clip."""
        return self.outputs["swap"]

    @property
    def work(self) -> Path:
        """Where pieces lie until the outputs are whole."""
        return self.swap.with_name(f".{short_name(self.swap.name)}.{self.id}.work")

    @property
    def before(self) -> dict[str, Any]:
        """What a finished conversion to the same name says of itself; empty when there is none."""
        return found_job(sidecar_path(self.swap))

    def begin(self, overwrite: bool) -> dict[str, Any] | None:
        """What this very conversion said when it had finished; None: there is work to do.

        Raises: FaceswapError when an output is another job's and `overwrite` is off, is an input,
        or is a folder with files that are not ours.
        """
        self._check_names()
        before = self.before
        sidecar, there = sidecar_path(self.swap), before.get("job")
        claim(sidecar, self.id, there, finished=True, overwrite=overwrite)
        finished = self.finished()
        for name, path in self.outputs.items():
            named = there if self._is_told(before, name, path) else None
            made_by = self.id if name in finished else named
            if name not in finished and self._may_fill(name, path):
                continue
            claim(path, self.id, made_by, finished=True, overwrite=overwrite)
            if path.is_dir() and (overwrite or name not in finished):
                _check_folder(path, ours=made_by is not None)
        same = there == self.id and not overwrite
        told = all(isinstance(before.get(count), int) for count in ("frames", "swapped"))
        return before if same and told and not self.missing() else None

    def finished(self) -> set[str]:
        """The outputs of this very job that are whole under their final names."""
        before = self.before
        told = before.get("job") == self.id
        return {
            name
            for name, path in self.outputs.items()
            if path.exists()
            and ((told and self._is_told(before, name, path)) or self._is_in_place(name, path))
        }

    def missing(self) -> dict[str, Path]:
        """The outputs that are still to be written."""
        finished = self.finished()
        return {name: path for name, path in self.outputs.items() if name not in finished}

    def note_whole(self, name: str, made: Path) -> None:
        """Remember a complete output that is about to get its name: a later call knows it by it."""
        write_text(self.work / f"{name}.sha256", clip_fingerprint(made))

    def restart(self) -> None:
        """Forget outputs that are to be replaced; `begin` has said that they may be."""
        sidecar_path(self.swap).unlink(missing_ok=True)
        # A file gives way when the new one is whole; a folder cannot: it is filled anew.
        for path in self.missing().values():
            if path.is_dir():
                # The times, which name them, come last.
                for name in _own_names(path):
                    (path / name).unlink(missing_ok=True)

    def clean_up(self) -> None:
        """Remove the work folder, and those that killed conversions to this name left."""
        # At once: half a work folder would say the wrong things of what is done.
        gone = self.work.with_suffix(".gone.work")
        shutil.rmtree(gone, ignore_errors=True)
        with suppress(OSError):
            self.work.rename(gone)
        name = re.escape(short_name(self.swap.name))
        ours = re.compile(rf"\.{name}\.[0-9a-f]{{16}}(\.gone)?\.work")
        for path in [p for p in self.swap.parent.iterdir() if ours.fullmatch(p.name)]:
            shutil.rmtree(path, ignore_errors=True)

    def _may_fill(self, name: str, path: Path) -> bool:
        """Whether pictures go into a folder that is there: an empty one, or one half filled."""
        if path.suffix or not path.is_dir():
            return False
        with suppress(FaceswapError):
            check_fillable(path, self.work / name / PICTURES)
            return True
        return False

    def _is_told(self, before: dict[str, Any], name: str, path: Path) -> bool:
        """Whether the sidecar of an earlier conversion says that it wrote this output here."""
        # A sidecar lies beside the swap, and tells of no other.
        return bool(before) and (
            name == "swap" or output_name(before, sidecar_path(self.swap), path) == name
        )

    def _is_in_place(self, name: str, path: Path) -> bool:
        # Not by the writer's folder, which goes later, nor by a mark, which not all outputs have.
        noted = self.work / f"{name}.sha256"
        return noted.is_file() and noted.read_text(errors="replace") == clip_fingerprint(path)

    def _check_names(self) -> None:
        paths = [path.resolve() for path in self.outputs.values()]
        for path in self.outputs.values():
            if not path.name:
                raise FaceswapError(f"{path}: is not a name for an output; name a file or a folder")
        for path in paths:
            if any(path in other.parents for other in paths):
                raise FaceswapError(f"{path}: holds another output; choose another name")
        if len(set(paths)) < len(paths):
            raise FaceswapError("two outputs have the same name; choose another")
        for given in (self.clip, *self.beside):
            for path in paths:
                read = given.resolve()
                if path == read:
                    raise FaceswapError(f"{path}: is what this command reads; choose another name")
                if path in read.parents:
                    raise FaceswapError(f"{path}: holds {given}, which is read; choose another")
                is_picture = path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES
                if path.parent == read and is_picture:
                    raise FaceswapError(f"{path}: lies in {given}, which is read; choose another")


def _check_folder(path: Path, *, ours: bool) -> None:
    own = _own_names(path)
    strangers = sorted(p.name for p in path.iterdir() if p.name not in own)
    if not ours or strangers:
        what = f"holds {strangers[0]}, which" if strangers else "is a folder that"
        raise FaceswapError(
            f"{path}: {what} this command did not write; empty it, or choose another name"
        )


def _own_names(folder: Path) -> list[str]:
    """The files that the writer of a folder of pictures left in it, as it says itself."""
    with suppress(FaceswapError, KeyError, TypeError):
        pictures = read_json(folder / TIMES_NAME)["pts"]
        return [*(name for name in pictures if _OUR_PICTURE.fullmatch(name)), TIMES_NAME]
    return []


@runtime_checkable
class Outputs(Protocol):
    """What a conversion writes; into files: `FileOutputs` in `writers.py`."""

    @property
    def paths(self) -> dict[str, Path]:
        """Where each goes, by its name; first the swapped clip, "swap"."""
        ...

    def check(self, job: ConvertJob, reader: ClipReader, config: ConvertConfig) -> list[str]:
        """What they will not keep, or the disk may not hold: a line on each.

        Raises: FaceswapError now, where one would be refused after the work.
        """
        ...

    def open(
        self,
        job: ConvertJob,
        info: ClipInfo,
        config: ConvertConfig,
        mark: SyntheticMark | None,
        span: Span | None,
    ) -> AbstractContextManager["OpenOutputs"]:
        """Those that the job misses; `info` is of the clip that it converts."""
        ...


@runtime_checkable
class OpenOutputs(Protocol):
    """Outputs that are written in step. `notes`: what they could not keep."""

    @property
    def done(self) -> int:
        """The frames that all of them have, of an earlier call."""
        ...

    @property
    def notes(self) -> list[str]:
        """A line on each thing that is not kept."""
        ...

    def keep(self, frames: int) -> None:
        """Drop what is done beyond this number of frames; before any `write`."""
        ...

    def write(self, made: Composite) -> None:
        """One more frame."""
        ...


@dataclass
class FrameTally:
    """What became of each frame; a journal, so that a conversion that goes on knows of its past."""

    path: Path
    job: str
    layers: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    def read(self) -> None:
        """Take in what a killed call left; a line that was cut short is of a frame to come."""
        lines = read_lines(self.path, self._head, repair=True)
        if lines is None:
            with append_lines(self.path, self._head):
                pass
        for line in lines or ():
            self._take(**line)

    @property
    def _head(self) -> dict[str, Any]:
        return {"version": 1, "job": self.job}

    def add(self, frame: int, layers: int, failed: str | None) -> None:
        """Note a frame: how many faces were laid over it, or why none could be."""
        self._take(frame, layers, failed)
        with append_lines(self.path) as append:
            append({"frame": frame, "layers": layers, "failed": failed})

    def _take(self, frame: int, layers: int, failed: str | None) -> None:
        self.layers[frame] = layers
        self.failed.pop(frame, None)
        if failed is not None:
            self.failed[frame] = failed

    def counts(self) -> dict[str, int]:
        """Frames in all, with a painted face, without one, and of these the failed ones."""
        swapped = sum(count > 0 for count in self.layers.values())
        return {
            "frames": len(self.layers),
            "swapped": swapped,
            "passed_through": len(self.layers) - swapped,
            "failed": len(self.failed),
        }
