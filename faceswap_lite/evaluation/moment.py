"""A frame as it is measured: with its swap, its twins, and what it is measured by."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..config import ConvertConfig
from ..conversion.blend import Layer
from ..conversion.composite import Composite
from ..conversion.painted import PaintedFace
from ..faces.pack import FacePack, as_uint8
from ..faces.reading import Reader
from ..media.clips import Frame
from ..media.truth import ClipTruth
from ..runs.trained import TrainedRun
from .judge import Judge

Perceptual = Callable[[np.ndarray, np.ndarray], float]
"""A perceptual distance of two pictures, RGB, bytes or floats in [0, 1]."""

Row = dict[str, float]
"""A frame's numbers by their columns' names; one that it does not have is left out."""


@dataclass(frozen=True)
class Instruments:
    """What one worker measures with."""

    pack: FacePack
    reader: Reader
    judge: Judge | None
    lpips: Perceptual | None


@dataclass(frozen=True)
class Moment:
    """A frame with all that is beside it: `swap` and the twins are of clips of the same length.

    `number`: of the face among the clip's; `judged`: the judge is asked about it.
    """

    made: Composite
    swap: Frame | None
    twin_raw: Frame | None
    twin_matched: Frame | None
    number: int
    judged: bool

    @property
    def face(self) -> PaintedFace | None:
        """The leftmost painted face."""
        return self.made.painted.faces[0] if self.made.painted.faces else None

    @property
    def layer(self) -> Layer | None:
        """What shows of it."""
        return self.made.layers[0] if self.made.layers else None

    @property
    def shown(self) -> np.ndarray:
        """The swapped frame, 8 bits."""
        return as_uint8(self.swap.image if self.swap is not None else self.made.image)

    @property
    def target(self) -> np.ndarray:
        """The frame as it was, 8 bits."""
        return as_uint8(self.made.frame.image)


@dataclass(frozen=True)
class Scene:
    """A moment with all that it is measured by. `before`: the one before it, for what moves."""

    moment: Moment
    before: Moment | None
    run: TrainedRun
    convert: ConvertConfig
    tools: Instruments
    truth: ClipTruth | None


FrameMeasure = Callable[[Scene], Row]
"""Some of a frame's columns; it leaves out what the frame does not allow."""
