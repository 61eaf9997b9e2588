"""Clips in, clips out: decode, encode, pictures, audio, colour tags, the synthetic mark."""

from .clips import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    ClipInfo,
    ColorTags,
    Frame,
    clip_fingerprint,
    find_clips,
    list_images,
)
from .images import read_image, write_image
from .marks import SyntheticMark, read_synthetic_mark
from .reading import ClipReader, open_clip
from .writing import ClipWriter

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "ClipInfo",
    "ClipReader",
    "ClipWriter",
    "ColorTags",
    "Frame",
    "SyntheticMark",
    "clip_fingerprint",
    "find_clips",
    "list_images",
    "open_clip",
    "read_image",
    "read_synthetic_mark",
    "write_image",
]
