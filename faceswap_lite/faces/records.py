"""What a crop knows about itself: the record inside its file.

PNG: a compressed iTXt chunk; JPEG: the comment. The text is JSON with a version; nothing that runs
code when it is opened.
"""

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
)

from ..errors import FaceswapError
from ..metrics.landmarks import LandmarksPack, Pose
from ..outputs import whole_file
from .align import coverage_eyes

RECORD_KEY = "faceswap_lite"
CROP_SUFFIXES = (".png", ".jpg", ".jpeg")

# Low: the fastest that still shrinks; a higher one costs more time than it saves space.
_PNG_COMPRESSION = 1


def _read_array(dtype: type[np.floating[Any]], *shape: int | None) -> BeforeValidator:
    """How pydantic reads a finite array of that shape (None: any length)."""

    def read(value: Any) -> np.ndarray:
        try:
            array = np.asarray(value, dtype)
        except (TypeError, OverflowError) as error:
            raise ValueError("must hold numbers") from error
        fits = array.ndim == len(shape) and all(
            want is None or want == got for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits or not np.isfinite(array).all():
            raise ValueError(f"must hold finite numbers in the shape {shape}")
        return array

    return BeforeValidator(read)


def _write_array(decimals: int | None) -> PlainSerializer:
    """How pydantic writes an array; None: every decimal."""

    def write(array: np.ndarray) -> list[Any]:
        exact = array.astype(np.float64)
        return (exact if decimals is None else np.round(exact, decimals)).tolist()

    return PlainSerializer(write)


_Box = Annotated[np.ndarray, _read_array(np.float64, 4), _write_array(2)]
_Points = Annotated[np.ndarray, _read_array(np.float32, None, 2), _write_array(2)]
_Five = Annotated[np.ndarray, _read_array(np.float32, 5, 2), _write_array(2)]
_Matrix = Annotated[np.ndarray, _read_array(np.float64, 2, 3), _write_array(None)]
_Vector = Annotated[np.ndarray, _read_array(np.float32, None), _write_array(5)]


class FaceRecord(BaseModel):
    """Where a crop comes from and what is on it. Pixels are the frame's; degrees; see `Pose`.

    `frame_number` is what an image sequence calls the frame (None: nothing); `frame_to_crop` that
    of the stored crop, margin included; `face` counts the faces of the frame from the left; `track`
    those of the clip over time; `job` names the extraction.
    Of faces that another tool cut, time and size of the frame are unknown.
    `true_landmarks`: a rendered actor's iBUG-68 points as the renderer knows them; masks and
    openings come from them, the alignment from `landmarks` as everywhere.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        populate_by_name=True,
    )

    version: Literal[1] = 1
    job: str
    clip_name: str
    clip_fingerprint: str
    frame_index: int
    frame_number: int | None = None
    pts: int | None
    time: str | None
    frame_width: int | None
    frame_height: int | None
    face: int
    track: int
    box_xyxy: _Box
    confidence: float = Field(alias="score")
    """The detector's. `score` in the file, as ever."""
    presence: float | None
    detector: str
    landmarks_pack: LandmarksPack
    landmarks: _Points
    five: _Five
    true_landmarks: _Points | None = None
    embedder: str | None
    embedding: _Vector | None
    coverage: str
    margin: float
    size: int
    frame_to_crop: _Matrix
    sharpness: float
    pose: Pose | None
    mouth_opening: float | None
    eye_opening: float | None
    missing: dict[str, str]

    @property
    def number(self) -> int:
        """What masks of the frame are called by."""
        return self.frame_index + 1 if self.frame_number is None else self.frame_number

    @property
    def outline(self) -> tuple[Float[np.ndarray, "n 2"], LandmarksPack]:
        """The points that show the face's outline best, in pixels of the frame, and their pack."""
        if self.true_landmarks is not None:
            return self.true_landmarks.astype(np.float64), "ibug68"
        return self.landmarks.astype(np.float64), self.landmarks_pack

    @property
    def edge_eyes(self) -> float:
        """The crop's side, margin included, in eye distances of the canonical face."""
        return coverage_eyes(self.coverage) * (1 + 2 * self.margin)

    @field_validator("time")
    @classmethod
    def _is_fraction(cls, text: str | None) -> str | None:
        try:
            Fraction(text or 0)
        except ZeroDivisionError as error:
            raise ValueError("must be a fraction") from error
        return text

    @field_validator("coverage")
    @classmethod
    def _is_known(cls, name: str) -> str:
        coverage_eyes(name)
        return name


def recorded(records: Sequence[FaceRecord], name: str) -> Float[np.ndarray, " n"]:
    """One of yaw_deg, pitch_deg, mouth, eyes as the records know it; NaN where they do not."""
    values: list[float | None]
    if name in ("yaw_deg", "pitch_deg"):
        values = [None if r.pose is None else getattr(r.pose, name) for r in records]
    else:
        values = [r.mouth_opening if name == "mouth" else r.eye_opening for r in records]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def record_text(record: FaceRecord) -> str:
    """The record as compact JSON."""
    unsaid = {"frame_number"} if record.frame_number is None else set()
    content = record.model_dump(mode="json", exclude=unsaid, by_alias=True)
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def parse_record(text: str) -> FaceRecord:
    """The record of its JSON. Raises: ValueError when it is none, or of another version."""
    try:
        return FaceRecord.model_validate(json.loads(text))
    except RecursionError:
        raise ValueError("is not the JSON of a record") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from None


def write_crop(path: Path, crop: UInt8[np.ndarray, "s s 3"], record: FaceRecord) -> None:
    """Write the crop with its record inside, whole or not at all; the suffix chooses the format."""
    text = record_text(record)
    options: dict[str, Any]
    if path.suffix.lower() == ".png":
        info = PngInfo()
        info.add_itxt(RECORD_KEY, text, zip=True)
        options = {"format": "PNG", "pnginfo": info, "compress_level": _PNG_COMPRESSION}
    else:
        options = {"format": "JPEG", "comment": text.encode(), "quality": 95, "subsampling": 0}
    with whole_file(path) as partial:
        Image.fromarray(crop).save(partial, **options)


def read_record(path: Path) -> FaceRecord | None:
    """The record inside a crop; None when the picture carries none.

    Raises: FaceswapError when the file is no readable picture, its record is broken or of another
    version, or the picture has another size than its record says.
    """
    text, size = _read_picture(path, _text_of_head)
    if text is None and path.suffix.lower() == ".png":
        # Some tools move text behind the pixels.
        text, size = _read_picture(path, _text_of_all)
    if text is None:
        return None
    try:
        record = parse_record(text)
    except ValueError as error:
        raise FaceswapError(f"{path}: its face record cannot be used ({error})") from error
    if size != (record.size, record.size):
        raise FaceswapError(
            f"{path}: is {size[0]}x{size[1]}, its face record says {record.size}x{record.size}"
        )
    return record


def _text_of_head(picture: Image.Image) -> str | None:
    text = picture.info.get(RECORD_KEY)
    if text is None and isinstance(comment := picture.info.get("comment"), bytes):
        text = comment.decode("utf-8", "replace")
        # Any tool may have left a comment; ours is an object with a version.
        text = text if text.startswith('{"version":') else None
    return None if text is None else str(text)


def _text_of_all(picture: Image.Image) -> str | None:
    picture.load()
    return _text_of_head(picture)


def _read_picture(
    path: Path, text_of: Callable[[Image.Image], str | None]
) -> tuple[str | None, tuple[int, int]]:
    try:
        with Image.open(path) as picture:
            return text_of(picture), picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise FaceswapError(f"{path}: cannot be read as a picture ({reason})") from error
