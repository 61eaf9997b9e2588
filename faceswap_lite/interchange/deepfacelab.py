"""Models of DeepFaceLab: SAEHD and Quick96, df and liae, with the flags u, d, t, c.

A model is files of one folder: NAME_SAEHD_data.dat, its options, and NAME_SAEHD_PART.npy, a pickled
dict of arrays (not NumPy's own format). The networks are ours layer by layer: convolutions hold
their axes in another order, upscales shuffle pixels in another order, and colours are BGR.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ..config import ModelConfig
from ..errors import FaceswapError
from .foreign import ForeignModel, check_weights
from .pickles import read_pickle

DATA_SUFFIX = "_data.dat"
_KINDS = ("SAEHD", "Quick96")

FACE_TYPES = {
    "h": "dfl_half",
    "mf": "dfl_mid",
    "f": "dfl_full",
    "wf": "dfl_whole",
    "head": "dfl_head",
}

_PARTS = {
    "df": {
        "encoder": "encoder",
        "inter": "inter",
        "decoder_src": "decoder_source",
        "decoder_dst": "decoder_target",
    },
    "liae": {part: part for part in ("encoder", "inter_AB", "inter_B", "decoder")},
}


class _Options(BaseModel):
    """Those of a data file that say what the network is; Quick96 has these and stores none."""

    model_config = ConfigDict(extra="ignore", strict=True)

    resolution: int = Field(96, ge=32, le=1024)
    archi: str = "df-ud"
    ae_dims: int = 128
    e_dims: int = 64
    d_dims: int = 64
    d_mask_dims: int = 16
    face_type: str = "f"


class _Layer(NamedTuple):
    theirs: str
    ours: str
    kind: str = "plain"
    """up: shuffles pixels; sees, paints: takes or gives colours."""


def find_model(path: Path) -> Path | None:
    """The data file of the one model in a folder, or of a file of it; None: there is none.

    Raises: FaceswapError when the folder holds several.
    """
    if path.is_dir():
        found = sorted(path.glob(f"*{DATA_SUFFIX}"))
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise FaceswapError(f"{path}: holds several models ({names}); name one of these files")
        return found[0] if found else None
    return path if path.name.endswith(DATA_SUFFIX) else None


def read_deepfacelab(data_file: Path) -> ForeignModel:
    """The model that a data file and the parts beside it make.

    Raises: FaceswapError when it is of a kind that is not known, a part is missing or damaged, or
    does not fit the options.
    """
    stem = data_file.name.removesuffix(DATA_SUFFIX)
    name, _, kind = stem.rpartition("_")
    if kind not in _KINDS:
        raise FaceswapError(
            f"{data_file}: is a model of the kind {kind or stem}; {' and '.join(_KINDS)} can be "
            "imported"
        )
    data = read_pickle(data_file)
    options, iterations = _read_options(data, kind, data_file)
    architecture, _, flags = options.archi.partition("-")
    model = _as_config(options, data_file)
    weights: dict[str, Tensor] = {}
    parts = _PARTS[architecture]
    files = [data_file, *(data_file.with_name(f"{stem}_{part}.npy") for part in parts)]
    for file, (theirs, ours) in zip(files[1:], parts.items(), strict=True):
        layers = list(_layers(theirs, flags))
        weights |= {f"{ours}.{key}": value for key, value in _read_part(file, layers).items()}
    check_weights(model, weights, str(data_file.with_name(stem)))
    return ForeignModel(
        origin=f"DeepFaceLab {kind} {options.archi}",
        name=name or stem,
        model=model,
        coverage=FACE_TYPES[options.face_type],
        weights=weights,
        iterations=iterations,
        parts=parts,
        files=files,
    )


def _read_options(data: Any, kind: str, where: Path) -> tuple[_Options, int]:
    if not isinstance(data, dict) or not isinstance(data.get("options", {}), dict):
        raise FaceswapError(f"{where}: holds no options of a model")
    given = data.get("options", {}) if kind == "SAEHD" else {}
    missing = [key for key in ("resolution", "archi") if kind == "SAEHD" and key not in given]
    if missing:
        raise FaceswapError(f"{where}: does not say the model's {missing[0]}")
    try:
        options = _Options.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise FaceswapError(f"{where}: {first['loc'][0]}: {first['msg']}") from None
    if not re.fullmatch("(df|liae)(-[udtc]+)?", options.archi):
        raise FaceswapError(
            f"{where}: its network is {options.archi[:40]!r}; df and liae with the flags u, d, t, "
            "c can be imported"
        )
    if options.face_type not in FACE_TYPES:
        raise FaceswapError(
            f"{where}: its face type is {options.face_type[:40]!r}; known: {', '.join(FACE_TYPES)}"
        )
    iterations = data.get("iter", 0)
    return options, iterations if type(iterations) is int and iterations >= 0 else 0


def _as_config(options: _Options, where: Path) -> ModelConfig:
    architecture, _, flags = options.archi.partition("-")
    try:
        return ModelConfig.model_validate(
            {
                "architecture": architecture,
                "flags": flags,
                "size": options.resolution,
                "encoder_dims": options.e_dims,
                "inter_dims": options.ae_dims,
                "decoder_dims": options.d_dims,
                "mask_dims": options.d_mask_dims,
            }
        )
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise FaceswapError(f"{where}: is of no size that can be had here ({told})") from None


def _layers(part: str, flags: str) -> Iterator[_Layer]:
    """The layers of a part, by their names there and here."""
    if part == "encoder":
        yield from _encoder_layers(flags)
    elif part.startswith("inter"):
        yield _Layer("dense1", "dense1")
        yield _Layer("dense2", "dense2")
        if "t" not in flags:
            yield _Layer("upscale1/conv1", "up.conv", "up")
    else:
        yield from _decoder_layers(flags)


def _encoder_layers(flags: str) -> Iterator[_Layer]:
    if "t" not in flags:
        for i in range(4):
            kind = "plain" if i else "sees"
            yield _Layer(f"down1/downs_{i}/conv1", f"blocks.{i}.conv", kind)
        return
    for number, block in ((1, 0), (2, 2), (3, 3), (4, 4), (5, 5)):
        kind = "plain" if block else "sees"
        yield _Layer(f"down{number}/conv1", f"blocks.{block}.conv", kind)
    for number, block in ((1, 1), (5, 6)):
        for conv in ("conv1", "conv2"):
            yield _Layer(f"res{number}/{conv}", f"blocks.{block}.{conv}")


def _decoder_layers(flags: str) -> Iterator[_Layer]:
    stages = 4 if "t" in flags else 3
    for i in range(stages):
        yield _Layer(f"upscale{i}/conv1", f"blocks.{2 * i}.conv", "up")
        for conv in ("conv1", "conv2"):
            yield _Layer(f"res{i}/{conv}", f"blocks.{2 * i + 1}.{conv}")
    yield _Layer("out_conv", "out", "paints")
    masks = stages
    if "d" in flags:
        masks += 1
        for i in range(3):
            yield _Layer(f"out_conv{i + 1}", f"out_more.{i}", "paints")
    for i in range(masks):
        yield _Layer(f"upscalem{i}/conv1", f"mask.{i}.conv", "up")
    yield _Layer("out_convm", f"mask.{masks}")


def _read_part(file: Path, layers: list[_Layer]) -> dict[str, Tensor]:
    if not file.is_file():
        raise FaceswapError(f"{file}: is missing; a model's files belong together in one folder")
    stored = read_pickle(file)
    if not isinstance(stored, dict) or not all(isinstance(a, np.ndarray) for a in stored.values()):
        raise FaceswapError(f"{file}: holds no weights")
    weights = {}
    for layer in layers:
        for what in ("weight", "bias"):
            array = stored.pop(f"{layer.theirs}/{what}:0", None)
            if array is None:
                raise FaceswapError(f"{file}: {layer.theirs}/{what}:0 is missing")
            weights[f"{layer.ours}.{what}"] = _converted(array, layer, file)
    if stored:
        raise FaceswapError(f"{file}: holds {next(iter(stored))!s}, which is not known")
    return weights


def _converted(array: np.ndarray, layer: _Layer, file: Path) -> Tensor:
    """A layer's weight or bias in our order of axes, of shuffled channels, and of colours."""
    if array.dtype.kind != "f" or array.ndim == 0:
        raise FaceswapError(f"{file}: {layer.theirs} is no weight ({array.dtype})")
    if layer.kind == "up" and array.shape[-1] % 4:
        raise FaceswapError(f"{file}: {layer.theirs} has {array.shape[-1]} channels, not 4 a pixel")
    tensor = torch.from_numpy(array.astype(np.float32))
    # (h, w, in, out) and (in, out) to (out, in, h, w) and (out, in).
    tensor = tensor.movedim((-1, -2), (0, 1)) if tensor.ndim > 1 else tensor
    return converted_channels(tensor, layer.kind).contiguous()


def converted_channels(tensor: Tensor, kind: str) -> Tensor:
    """A weight or bias, outputs first, whose channels are in the field's order, with ours.

    up: channels of shuffled pixels, from (place, channel) to (channel, place); sees, paints: BGR
    to RGB.
    """
    if kind == "up":
        return tensor.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1)
    if kind == "paints":
        return tensor.flip(0)
    return tensor.flip(1) if kind == "sees" and tensor.ndim > 1 else tensor
