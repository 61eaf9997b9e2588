"""What is done of a clip that is being written, in a folder that outlives a killed process."""

import filecmp
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import FaceswapError
from ..outputs import file_sha256, is_broken, read_json, sealed, write_json

PICTURES = "pictures"
"""In the folder where a clip is put together: where those of a folder of pictures wait."""


@dataclass(frozen=True)
class Piece:
    """Some frames on end, whole and on the disk."""

    pts: list[int]
    """When each frame is shown, in ticks of the clip's time base."""
    delay: int = 0
    """By how many frames, at most, a frame is decoded later than its place in the order shown."""
    last_ticks: int | None = None
    """How long the last frame is shown, in the same ticks; None: as long as is usual."""
    numbers: list[int] = field(default_factory=list)
    """What pictures of the frames are called by; empty for a video's."""


class PieceShelf:
    """The whole pieces of a clip, in order, each known by a record (JSON) in `folder`.

    A piece counts only when its record is there, so the record is written last and removed first.
    Records of another `recipe` do not count: their frames were encoded in another way; nor does a
    damaged record or piece, nor what comes after it.
    """

    def __init__(self, folder: Path, recipe: str):
        self._folder, self._recipe = folder, recipe
        self.pieces: list[Piece] = []
        while (piece := self._read(len(self.pieces))) is not None:
            self.pieces.append(piece)

    @property
    def frames(self) -> int:
        """How many frames the pieces hold."""
        return sum(len(piece.pts) for piece in self.pieces)

    @property
    def pts(self) -> list[int]:
        """When each of their frames is shown."""
        return [pts for piece in self.pieces for pts in piece.pts]

    def end(self, usual: int) -> int:
        """When the last of them is shown no longer; `usual`: the usual length, in ticks."""
        return self.pieces[-1].pts[-1] + (self.pieces[-1].last_ticks or usual)

    @property
    def numbers(self) -> list[int]:
        """What their pictures are called by."""
        return [number for piece in self.pieces for number in piece.numbers]

    @property
    def last_pts(self) -> int | None:
        """When the last of them is shown; None without pieces."""
        return self.pieces[-1].pts[-1] if self.pieces else None

    def file(self, number: int) -> Path:
        """Where the frames of a piece lie, if it is a video."""
        return self._folder / f".{number:06d}.mkv"

    def files(self) -> list[Path]:
        """Where the frames of all pieces lie, if they are videos."""
        return [self.file(number) for number in range(len(self.pieces))]

    def add(self, piece: Piece) -> None:
        """Count a piece whose frames are safe on the disk.

        Raises: FaceswapError when the disk refuses.
        """
        record = {"schema": 2, "recipe": self._recipe, **asdict(piece)}
        file = self.file(len(self.pieces))
        if file.exists():
            record["sha256"] = file_sha256(file)
        write_json(self._record(len(self.pieces)), sealed(record))
        self.pieces.append(piece)

    def keep(self, frames: int) -> None:
        """Drop the pieces that reach beyond this number of frames."""
        while self.frames > frames:
            self.pieces.pop()
            self._record(len(self.pieces)).unlink()
            self.file(len(self.pieces)).unlink(missing_ok=True)

    def _record(self, number: int) -> Path:
        return self._folder / f".{number:06d}.json"

    def _read(self, number: int) -> Piece | None:
        """The piece, if it is there as it was written; else it is to be made again."""
        with suppress(FaceswapError, OSError, AttributeError, KeyError):
            said = read_json(self._record(number))
            # Those of schema 1 had no sums.
            known = said.get("schema") in (1, 2)
            if not known or said["recipe"] != self._recipe or is_broken(said):
                return None
            if "sha256" in said and file_sha256(self.file(number)) != said["sha256"]:
                return None
            return Piece(said["pts"], said["delay"], said["last_ticks"], said["numbers"])
        return None


def check_fillable(path: Path, made: Path) -> None:
    """Raises: FaceswapError unless `path` is a folder of nothing but files of `made`.

    Such a folder is empty, or a killed call was filling it.
    """
    if not path.is_dir():
        raise FaceswapError(f"{path}: exists already")
    for file in path.iterdir():
        twin = made / file.name
        if not (file.is_file() and twin.is_file() and filecmp.cmp(file, twin, shallow=False)):
            raise FaceswapError(
                f"{path}: exists already and holds {file.name}, which this command did not write; "
                "empty it, or choose another name"
            )
