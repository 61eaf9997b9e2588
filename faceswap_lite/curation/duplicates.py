"""Faces that are all but the same picture."""

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8, UInt64

HASH_BITS = 6
"""Of 64: two encodings of one frame differ by about this many at most."""

PICTURE_LIMIT = 0.0025
"""Mean absolute difference of two grey views, in [0, 1]: a frame shown twice, or coded anew. The
smallest real movements between frames of a talking head differ by more."""


def perceptual_hash(view: UInt8[np.ndarray, "s s 3"]) -> np.uint64:
    """64 bits that say where the coarse structure is bright: pHash.

    Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions",
    section 3.2.1: the signs of the 8 x 8 lowest frequencies but the mean, about their median.
    """
    grey = cv2.resize(
        cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA
    )
    low = cv2.dct(grey.astype(np.float32))[1:9, 1:9].ravel()
    return np.packbits(low > np.median(low)).view(np.uint64)[0]


def near_duplicates(
    hashes: UInt64[np.ndarray, " n"],
    views: UInt8[np.ndarray, "n s s 3"],
    embeddings: Float[np.ndarray, "n d"] | None,
    sharpness: Float[np.ndarray, " n"],
    embedding_limit: float,
) -> dict[int, int]:
    """Which faces repeat a sharper one: place -> the place of the one to keep.

    Two repeat each other when their hashes, their pictures and (where known) their embeddings
    agree. The sharpest comes first, so that chains of slowly changing frames do not collapse: a
    face is compared with those that are kept.
    """
    order = np.argsort(-np.nan_to_num(sharpness, nan=-np.inf), kind="stable")
    greys = np.stack([cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) for view in views]).astype(np.int16)
    kept: list[int] = []
    repeated: dict[int, int] = {}
    for place in order.tolist():
        near = np.array(kept, int)[hash_distances(hashes[place], hashes[kept]) <= HASH_BITS]
        for other in near.tolist():
            apart = np.abs(greys[place] - greys[other]).mean() / 255
            if apart > PICTURE_LIMIT:
                continue
            if embeddings is not None:
                difference = float(np.linalg.norm(embeddings[place] - embeddings[other]))
                if difference > embedding_limit:
                    continue
            repeated[place] = other
            break
        else:
            kept.append(place)
    return repeated


def hash_distances(one: np.uint64, others: UInt64[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """In how many bits each differs from one."""
    bytes_of = (others ^ one).view(np.uint8).reshape(-1, 8)
    return np.unpackbits(bytes_of, axis=1).sum(1, dtype=np.int64)
