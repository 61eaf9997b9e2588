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
from .credentials import Credentials, check_signing, read_credentials, sign_file
from .images import read_image, write_image
from .label import draw_label
from .marks import SyntheticMark, read_synthetic_mark
from .memory import give_frames_back
from .reading import ClipReader, open_clip
from .sidecar import Verdict, check_output, sidecar_path, write_sidecar
from .writing import ClipWriter

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "ClipInfo",
    "ClipReader",
    "ClipWriter",
    "ColorTags",
    "Credentials",
    "Frame",
    "SyntheticMark",
    "Verdict",
    "check_output",
    "check_signing",
    "clip_fingerprint",
    "draw_label",
    "find_clips",
    "give_frames_back",
    "list_images",
    "open_clip",
    "read_credentials",
    "read_image",
    "read_synthetic_mark",
    "sidecar_path",
    "sign_file",
    "write_image",
    "write_sidecar",
]
