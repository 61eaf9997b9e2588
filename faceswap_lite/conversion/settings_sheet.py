"""A sheet of a few frames under several settings: choose with your eyes before the long run."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from ..config import ConvertConfig, OutputConfig, options_of
from ..config_files import change_section
from ..errors import FaceswapError, UsageError
from ..media.clips import IMAGE_SUFFIXES, Frame, as_uint8
from ..media.images import write_image
from ..media.marks import SyntheticMark
from ..media.reader import Clip
from ..outputs import VERSION, claim, one_writer, refuse_inputs
from ..runs.hardware import pick_device
from ..runs.trained import TrainedRun
from .casting import CastPlan, cast_clip
from .composite import composite_frames
from .detection_pass import build_run_packs
from .expression import choose_expression
from .paint import paint_frames
from .settings import config_for, find_user_masks, without_neighbours

SETTINGS_CELL_PX = 224
TITLE_PX = 22
# How much of the frame a cell shows, in widths of the face.
CELL_FACES = 2.0

DEFAULT_TRIES = (
    "color.kind=none",
    "color.kind=mkl",
    "mask.kind=hull",
    "mask.kind=learned",
    "blend=multiband",
    "color.relight=0.5",
    "sharpen=1",
)

# What is one for the whole sheet, or cannot be seen in a still.
UNSHOWN = (
    "face", "all_faces", "temporal_smoothing", "bridge", "color.steady", "mask.steady",
    "mask.folder", "weights", "start", "end", "start_number",
    *(f"output.{name}" for name in OutputConfig.model_fields),
)  # fmt: skip


_Row = tuple[str, list[UInt8[np.ndarray, "c c 3"]]]
"""Its title, and its cells."""


@one_writer(lambda out, **_: [out])
def settings_sheet(
    run: TrainedRun,
    clip: Clip,
    out: Path,
    config: ConvertConfig,
    tries: Sequence[str] = (),
    *,
    like: Path | None = None,
    frames: int = 6,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Write a sheet to `out`: frames of the clip as columns, settings as rows, the clip on top.

    A try is options of `convert` with spaces between them: "color.kind=mkl mask.kind=hull".
    Averages over neighbouring frames are left out: a still does not show them. What is found in the
    clip is kept for the conversion.
    Raises: FaceswapError when the face to swap is nowhere, or `out` exists.
    """
    if out.suffix.lower() not in IMAGE_SUFFIXES:
        raise FaceswapError(f"{out}: a sheet is a picture; name a .png")
    refuse_inputs(out, clip.path, like)
    if out.resolve().parent == clip.path.resolve():
        raise FaceswapError(f"{out}: lies in {clip.path}, which is read; choose another name")
    claim(out, "", None, finished=True, overwrite=overwrite)
    output = config.output.model_copy(update={"label": ""})
    still = without_neighbours(config_for(clip.path, config)).model_copy(
        update={"output": output, "start": 0, "end": None}
    )
    settings = {"as set": still}
    for words in tries or DEFAULT_TRIES:
        settings[words] = change_section(still, words.split())
        for name in UNSHOWN:
            if options_of(settings[words])[name] != options_of(still)[name]:
                raise UsageError(f"--try {words}: a sheet does not show {name}; set it with --set")
    run.model.to(pick_device(config.device))
    masks = find_user_masks(config, run, clip)

    def plan_of(options: ConvertConfig) -> CastPlan:
        packs = build_run_packs(run, options)
        return cast_clip(run, clip, packs, options, like=like, say=_unsaid)

    plan = plan_of(still)
    if not plan.placements:
        raise FaceswapError(f"{clip.path}: the face to swap was found in no frame")
    there = sorted(plan.placements)
    picked = [there[i] for i in np.linspace(0, len(there) - 1, frames).round().astype(int)]
    picked = list(dict.fromkeys(picked))
    windows = {index: _window(plan.placements[index][0].landmarks) for index in picked}
    shown = _frames(clip, set(picked), config.start_number)
    rows: list[_Row] = [("clip", [_cell(f.image, windows[f.index]) for f in shown])]
    for title, options in settings.items():
        own = plan if options.swap == still.swap else plan_of(options)
        # What moves is said once, not row by row.
        expression = choose_expression(run, options, say if options is still else _unsaid)
        painted = paint_frames(shown, own, run, options, expression=expression)
        made = list(composite_frames(painted, options, masks))
        for frame in made:
            if frame.failed is not None:
                say(f"warning: {title}: {frame.failed}")
        rows.append((title, [_cell(m.image, windows[m.frame.index]) for m in made]))
    mark = SyntheticMark(version=VERSION, run=run.fingerprint)
    write_image(out, _draw(rows, picked), mark=mark)


def _unsaid(line: str) -> None:
    """What a stage has to say, where nobody asked."""


def _frames(clip: Clip, indices: set[int], start_number: int | None) -> list[Frame]:
    with clip.open(start_number) as reader:
        return list(islice((f for f in reader if f.index in indices), len(indices)))


def _window(landmarks: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " 4"]:
    """Left, top, right, bottom of a square around the face, in pixels of the frame."""
    low, high = landmarks.min(0), landmarks.max(0)
    half = CELL_FACES * float((high - low).max()) / 2
    middle = (low + high) / 2
    return np.round([*(middle - half), *(middle + half)]).astype(np.int64)


def _cell(image: np.ndarray, window: Int[np.ndarray, " 4"]) -> UInt8[np.ndarray, "c c 3"]:
    left, top, right, bottom = (int(value) for value in window)
    height, width = image.shape[:2]
    part = as_uint8(image)[max(top, 0) : max(bottom, 1), max(left, 0) : max(right, 1)]
    beyond = (max(gap, 0) for gap in (-top, bottom - height, -left, right - width))
    above, below, before, behind = beyond
    part = cv2.copyMakeBorder(part, above, below, before, behind, cv2.BORDER_CONSTANT)
    way = cv2.INTER_AREA if part.shape[0] > SETTINGS_CELL_PX else cv2.INTER_CUBIC
    return cv2.resize(part, (SETTINGS_CELL_PX, SETTINGS_CELL_PX), interpolation=way)


def _draw(rows: list[_Row], frames: list[int]) -> UInt8[np.ndarray, "h w 3"]:
    height = TITLE_PX + len(rows) * (SETTINGS_CELL_PX + TITLE_PX)
    sheet = Image.new("RGB", (len(frames) * SETTINGS_CELL_PX, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TITLE_PX * 0.6)
    for column, frame in enumerate(frames):
        draw.text((column * SETTINGS_CELL_PX + 4, 3), f"frame {frame}", "black", font)
    for number, (title, cells) in enumerate(rows):
        top = TITLE_PX + number * (SETTINGS_CELL_PX + TITLE_PX)
        draw.text((4, top + 3), title, "black", font)
        for column, cell in enumerate(cells):
            sheet.paste(Image.fromarray(cell), (column * SETTINGS_CELL_PX, top + TITLE_PX))
    return np.asarray(sheet)
