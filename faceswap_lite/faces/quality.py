"""How good a picture of a face is."""

import cv2
import numpy as np
from jaxtyping import UInt8

_VIEW_PX = 128


def sharpness(crop: UInt8[np.ndarray, "s s 3"]) -> float:
    """Fine detail against contrast: the spread of the Laplacian over the spread of the grey values.

    Of a view of fixed size, so that crops of any size compare; about 0.05 (blurred or enlarged) to
    0.5 (crisp). 0 for a flat crop.
    """
    shrinks = crop.shape[0] > _VIEW_PX
    view = cv2.resize(
        cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY),
        (_VIEW_PX, _VIEW_PX),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    grey = view.astype(np.float32)
    contrast = float(grey.std())
    if contrast < 1:
        return 0.0
    return float(cv2.Laplacian(grey, cv2.CV_32F).std()) / contrast
