"""Models of FaceSwap: original and lightweight, at any width, from `.keras` and `.h5`.

Both are our `original` at other widths. Arrays are (h, w, in, out), what is flattened was (h, w,
channels), upscales shuffle pixels in another order, and colours are BGR. FaceSwap's A is our
target, its B our source.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from ..config import ModelConfig
from ..errors import FaceswapError
from ..faces.geometries import find_geometry
from .deepfacelab import converted_channels
from .foreign import ForeignModel, check_weights
from .keras_files import KerasLayer, KerasModel, read_keras

SUFFIXES = (".keras", ".h5")

_PARTS = {"encoder": "encoder", "decoder_b": "decoder_source", "decoder_a": "decoder_target"}
_LEAK = 0.1
_USUAL_COVERAGE = "fs_face@100"

# What a part is made of, a letter a layer: see `_letter`.
_ENCODER = re.compile("(?:dl){1,5}fnnruls")
_DECODER = re.compile("(?:uls){3}oa")
_SHUFFLES = ("Lambda", "PixelShuffler")


def read_faceswap(path: Path) -> ForeignModel:
    """The model in a file.

    Raises: FaceswapError when it is damaged, or is not such a network.
    """
    models = read_keras(path)
    try:
        weights, widths = _weights(models)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FaceswapError(
            f"{path}: is none of FaceSwap's original and lightweight ({reason})"
        ) from None
    try:
        model = ModelConfig.model_validate({"architecture": "original", "size": 64, **widths})
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise FaceswapError(f"{path}: is of no size that can be had here ({told})") from None
    check_weights(model, weights, str(path))
    iterations, coverage = _read_state(path)
    return ForeignModel(
        origin=f"FaceSwap {path.stem}",
        name=path.name,
        model=model,
        coverage=coverage,
        weights=weights,
        iterations=iterations,
        parts=_PARTS,
        files=[path],
    )


def _read_state(path: Path) -> tuple[int, str]:
    """How long the model was trained, and how its faces are cut, by the tool's own note beside it.

    Without one: unknown (0), and as the tool does it unless told otherwise.
    """
    state: dict[str, Any] = {}
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.with_name(f"{path.stem}_state.json").read_bytes())
        state = found if isinstance(found, dict) else {}
    iterations, options = state.get("iterations"), state.get("config")
    options = options if isinstance(options, dict) else {}
    coverage = f"fs_{options.get('centering', 'face')}@{_percent(options.get('coverage'))}"
    known = iterations if type(iterations) is int and iterations >= 0 else 0
    return known, coverage if find_geometry(coverage) else _USUAL_COVERAGE


def _percent(coverage: Any) -> str:
    return f"{coverage:g}" if isinstance(coverage, int | float) else "100"


def _weights(models: dict[str, KerasModel]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Our weights, and the options of the network that they are of. Raises: ValueError ..."""
    weights: dict[str, Tensor] = {}
    encoder = _part(models["encoder"], models["encoder"].outputs[0], _ENCODER)
    downs, (dense1, dense2), up = _sorted(encoder)
    for number, layer in enumerate(downs):
        weights |= _converted(layer, f"encoder.downs.{number}.conv", "plain" if number else "sees")
    weights |= _converted(dense1, "encoder.dense1", flat_inputs=_channels(downs[-1]))
    wide = _channels(up[0], of_inputs=True)
    weights |= _converted(dense2, "encoder.dense2", flat_outputs=wide)
    weights |= _converted(up[0], "encoder.up.conv", "up")

    masks = []
    for theirs, ours in list(_PARTS.items())[1:]:
        decoder = models[theirs]
        for output in decoder.outputs:
            chain = _part(decoder, output, _DECODER)
            *ups, out = [layer for layer in chain if layer.kind == "Conv2D"]
            is_mask = _channels(out) == 1
            masks.append(is_mask)
            for number, layer in enumerate(ups):
                name = f"mask.{number}" if is_mask else f"ups.{number}"
                weights |= _converted(layer, f"{ours}.{name}.conv", "up")
            weights |= _converted(out, f"{ours}.{'mask.3' if is_mask else 'out'}", "paints")
            if not is_mask:
                widths = [_channels(layer, of_inputs=True) for layer in [*ups, out]]
    return weights, {
        "encoder_widths": [_channels(layer) for layer in downs],
        "code_widths": [dense1.arrays["kernel"].shape[1], wide],
        "decoder_widths": widths,
        "mask_head": any(masks),
    }


def _part(model: KerasModel, output: str, made_of: re.Pattern[str]) -> list[KerasLayer]:
    """The layers of a part. Raises: ValueError when they are not those that it is made of."""
    layers = model.chain(output)
    if not made_of.fullmatch("".join(_letter(layer) for layer in layers)):
        raise ValueError(f"the layers of its {model.name} are others")
    return layers


def _sorted(
    encoder: list[KerasLayer],
) -> tuple[list[KerasLayer], list[KerasLayer], list[KerasLayer]]:
    letters = [_letter(layer) for layer in encoder]

    def those(letter: str) -> Iterator[KerasLayer]:
        return (layer for layer, own in zip(encoder, letters, strict=True) if own == letter)

    return list(those("d")), list(those("n")), list(those("u"))


def _letter(layer: KerasLayer) -> str:
    """What a layer does. Raises: ValueError when it does something else.

    d: 5x5 convolution with stride 2; u: 3x3; o: 5x5; l: leaky rectifier; s: shuffles pixels; f:
    flattens; n: dense; r: gives a shape; a: sigmoid.
    """
    config = layer.config
    if layer.kind == "Conv2D" and config["padding"] == "same" and config["activation"] == "linear":
        shape = (*config["kernel_size"], *config["strides"])
        letter = {(5, 5, 2, 2): "d", (3, 3, 1, 1): "u", (5, 5, 1, 1): "o"}.get(shape)
    elif layer.kind == "LeakyReLU":
        slope = config.get("negative_slope", config.get("alpha"))
        letter = "l" if slope is not None and abs(slope - _LEAK) < 1e-6 else None
    elif layer.kind == "Dense":
        letter = "n" if config["activation"] == "linear" else None
    elif layer.kind == "Activation":
        letter = "a" if config["activation"] == "sigmoid" else None
    elif layer.kind in _SHUFFLES:
        # The functions themselves are never looked at: at this place, it is what they are for.
        letter = "s"
    else:
        letter = {"Flatten": "f", "Reshape": "r"}.get(layer.kind)
    if letter is None:
        raise ValueError(f"its {layer.name} is a {layer.kind} of another kind")
    return letter


def _channels(layer: KerasLayer, of_inputs: bool = False) -> int:
    """How many channels a convolution puts out, before they are shuffled, or takes."""
    return int(layer.arrays["kernel"].shape[2 if of_inputs else 3])


def _converted(
    layer: KerasLayer, ours: str, kind: str = "plain", flat_inputs: int = 0, flat_outputs: int = 0
) -> dict[str, Tensor]:
    """A layer's weight and bias in our order. flat_...: channels of the map that is flattened."""
    kernel, bias = (torch.from_numpy(_floats(layer, name)) for name in ("kernel", "bias"))
    if kernel.ndim == 4:
        kernel = kernel.permute(3, 2, 0, 1)
        if kind == "up" and len(kernel) % 4:
            raise ValueError(f"its {layer.name} has {len(kernel)} channels, not 4 a pixel")
    else:
        if flat_inputs:
            kernel = kernel.unflatten(0, (-1, flat_inputs)).transpose(0, 1).flatten(0, 1)
        if flat_outputs:
            kernel = kernel.unflatten(1, (-1, flat_outputs)).transpose(1, 2).flatten(1, 2)
            bias = bias.unflatten(0, (-1, flat_outputs)).T.flatten()
        kernel = kernel.T
    return {
        f"{ours}.weight": converted_channels(kernel, kind).contiguous(),
        f"{ours}.bias": converted_channels(bias, kind).contiguous(),
    }


def _floats(layer: KerasLayer, name: str) -> np.ndarray:
    if name not in layer.arrays:
        raise ValueError(f"the {name} of its {layer.name} is missing")
    array = layer.arrays[name].astype(np.float32)
    if array.ndim != (1 if name == "bias" else 2 if layer.kind == "Dense" else 4):
        raise ValueError(f"the {name} of its {layer.name} has another shape")
    return array
