"""What is behind an actor: a soft, textured room drawn from a seed."""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float


@lru_cache(maxsize=16)
def paint_backdrop(seed: int, size: int) -> Float[np.ndarray, "s s 3"]:
    """An out-of-focus wall with a few things on it, 0..255, read-only; the same for a seed."""
    rng = np.random.default_rng([seed, 0xBAC])
    edge = 256
    base = rng.uniform(0.22, 0.62) + rng.uniform(-0.10, 0.10, 3)
    y, x = np.mgrid[0:edge, 0:edge].astype(np.float32) / edge
    picture = np.broadcast_to(base.astype(np.float32), (edge, edge, 3)).copy()
    tilt = rng.uniform(-0.3, 0.3, 2)
    picture *= (1 + tilt[0] * (x - 0.5) + tilt[1] * (y - 0.5))[..., None]
    for _ in range(int(rng.integers(4, 9))):
        corner = rng.uniform(-0.2, 1.0, 2) * edge
        extent = rng.uniform(0.08, 0.45, 2) * edge
        tone = np.clip(base * rng.uniform(0.45, 1.5) + rng.uniform(-0.12, 0.12, 3), 0.03, 0.95)
        low = corner.astype(int).tolist()
        high = (corner + extent).astype(int).tolist()
        cv2.rectangle(picture, low, high, tone.tolist(), -1)
    for _ in range(int(rng.integers(2, 6))):
        center = (rng.uniform(0, 1, 2) * edge).astype(int).tolist()
        tone = np.clip(base * rng.uniform(0.8, 1.9), 0.05, 0.97).tolist()
        cv2.circle(picture, center, int(rng.uniform(0.03, 0.12) * edge), tone, -1)
    blurred = cv2.GaussianBlur(picture, (0, 0), rng.uniform(4, 8))
    grain = rng.standard_normal((edge, edge, 1)).astype(np.float32)
    plaster = cv2.GaussianBlur(rng.standard_normal((edge, edge)).astype(np.float32), (0, 0), 2)
    textured = blurred * (1 + 0.012 * grain + 0.06 * plaster[..., None])
    how = cv2.INTER_AREA if size < edge else cv2.INTER_CUBIC
    scaled = np.asarray(cv2.resize(textured, (size, size), interpolation=how), np.float32)
    image = np.clip(scaled * 255, 0, 255)
    image.setflags(write=False)
    return image
