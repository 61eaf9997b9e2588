"""FaceSwap's models as Keras saves them, written for tests, and their graph, straight from that.

Arrays are (h, w, in, out), pixels are shuffled (place, channel), colours are BGR, maps are
flattened (h, w, channel), and strided convolutions are padded more behind than before.
"""

import io
import itertools
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Layer(NamedTuple):
    kind: str
    name: str
    config: dict[str, Any]
    below: str
    arrays: dict[str, np.ndarray]


class Part(NamedTuple):
    layers: list[Layer]
    outputs: list[str]


Parts = dict[str, Part]


class _Builder:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.layers, self.top = rng, [Layer("InputLayer", "input", {}, "", {})], "input"

    def add(self, kind: str, config: dict[str, Any], **arrays: np.ndarray) -> None:
        name = f"{kind.lower()}_{len(self.layers)}"
        self.layers.append(Layer(kind, name, {"name": name, **config}, self.top, arrays))
        self.top = name

    def conv(self, a: int, b: int, edge: int, stride: int = 1) -> None:
        config = {"kernel_size": [edge, edge], "strides": [stride, stride], "padding": "same"}
        self.add(
            "Conv2D",
            {**config, "activation": "linear"},
            kernel=self.rng.normal(0, (a * edge**2) ** -0.5, (edge, edge, a, b)).astype("f4"),
            bias=self.rng.normal(0, 0.1, b).astype("f4"),
        )

    def dense(self, a: int, b: int) -> None:
        kernel = self.rng.normal(0, a**-0.5, (a, b)).astype("f4")
        bias = self.rng.normal(0, 0.1, b).astype("f4")
        self.add("Dense", {"activation": "linear"}, kernel=kernel, bias=bias)

    def leak(self, key: str) -> None:
        self.add("LeakyReLU", {key: 0.1})

    def up(self, a: int, b: int, key: str) -> None:
        self.conv(a, 4 * b, 3)
        self.leak(key)
        self.add("PixelShuffler", {})


def random_parts(
    encoder: list[int], code: tuple[int, int], decoder: list[int], mask: bool, alpha: str
) -> Parts:
    """Random weights. `alpha`: what this Keras calls a rectifier's slope."""
    rng = np.random.default_rng(0)
    part = _Builder(rng)
    for a, b in zip([3, *encoder], encoder, strict=False):
        part.conv(a, b, 5, 2)
        part.leak(alpha)
    part.add("Flatten", {})
    part.dense(encoder[-1] * (64 >> len(encoder)) ** 2, code[0])
    part.dense(code[0], 16 * code[1])
    part.add("Reshape", {"target_shape": [4, 4, code[1]]})
    part.up(code[1], decoder[0], alpha)
    parts = {"encoder": Part(part.layers, [part.top])}
    for letter in "ab":
        part, outputs = _Builder(rng), []
        for channels in (3, 1)[: 2 if mask else 1]:
            part.top = "input"
            for a, b in itertools.pairwise(decoder):
                part.up(a, b, alpha)
            part.conv(decoder[-1], channels, 5)
            part.add("Activation", {"activation": "sigmoid"})
            outputs.append(part.top)
        parts[f"decoder_{letter}"] = Part(part.layers, outputs)
    return parts


def _graph(parts: Parts, keras: int) -> dict[str, Any]:
    def node(below: str) -> list[Any]:
        if not below:
            return []
        if keras == 2:
            return [[[below, 0, 0, {}]]]
        return [{"args": [{"config": {"keras_history": [below, 0, 0]}}], "kwargs": {}}]

    inner = []
    for name, part in parts.items():
        layers = [
            {
                "class_name": layer.kind,
                "config": {"name": layer.name, **layer.config},
                "inbound_nodes": node(layer.below),
            }
            for layer in part.layers
        ]
        outputs = [[output, 0, 0] for output in part.outputs]
        config = {"name": name, "layers": layers, "output_layers": outputs}
        inner.append({"class_name": "Functional", "config": config})
    face_in = {"class_name": "InputLayer", "config": {"name": "face_in_a"}}
    return {"class_name": "Functional", "config": {"layers": [face_in, *inner]}}


def write_h5(path: Path, parts: Parts, keras: int) -> None:
    """As Keras 2 or 3 saves it as `.h5`."""
    tail = ":0" if keras == 2 else ""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(_graph(parts, keras))
        for name, part in parts.items():
            for layer in part.layers:
                for what, array in layer.arrays.items():
                    above = f"{name}/" if keras == 2 else ""
                    file[f"model_weights/{name}/{above}{layer.name}/{what}{tail}"] = array


def write_keras(path: Path, parts: Parts) -> None:
    """As Keras 3 saves it as `.keras`: layers are called by their classes, and counted."""
    kinds = {"Conv2D": "conv2d", "Dense": "dense"}
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for number, part in enumerate(parts.values()):
            counts: dict[str, int] = {}
            for layer in part.layers:
                if layer.kind not in kinds:
                    continue
                name = kinds[layer.kind]
                count = counts[name] = counts.get(name, -1) + 1
                above = f"functional_{number}" if number else "functional"
                own = f"layers/{above}/layers/{name}_{count}" if count else None
                own = own or f"layers/{above}/layers/{name}"
                for place, what in enumerate(("kernel", "bias")):
                    file[f"{own}/vars/{place}"] = layer.arrays[what]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(_graph(parts, 3)))
        archive.writestr("model.weights.h5", stream.getvalue())


def run_parts(parts: Parts, bgr: np.ndarray, letter: str) -> list[np.ndarray]:
    """What one decoder puts out of faces (n, 64, 64, 3): the face and, if it has one, the mask."""

    def conv(layer: Layer, x: Tensor) -> Tensor:
        weight = torch.from_numpy(layer.arrays["kernel"]).permute(3, 2, 0, 1)
        stride, edge = layer.config["strides"][0], weight.shape[2]
        before = (edge - stride) // 2
        x = F.pad(x, (before, edge - stride - before) * 2)
        return F.conv2d(x, weight, torch.from_numpy(layer.arrays["bias"]), stride)

    def shuffled(x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        places = x.view(b, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2)
        return places.reshape(b, c // 4, 2 * h, 2 * w)

    def run(part: Part, x: Tensor) -> list[Tensor]:
        known = {"input": x}
        for layer in part.layers[1:]:
            x = known[layer.below]
            if layer.kind == "Conv2D":
                x = conv(layer, x)
            elif layer.kind == "Dense":
                kernel, bias = (torch.from_numpy(layer.arrays[n]) for n in ("kernel", "bias"))
                x = x @ kernel + bias
            elif layer.kind == "LeakyReLU":
                x = F.leaky_relu(x, 0.1)
            elif layer.kind == "PixelShuffler":
                x = shuffled(x)
            elif layer.kind == "Flatten":
                x = x.permute(0, 2, 3, 1).flatten(1)
            elif layer.kind == "Reshape":
                x = x.view(-1, *layer.config["target_shape"]).permute(0, 3, 1, 2)
            else:
                x = torch.sigmoid(x)
            known[layer.name] = x
        return [known[output] for output in part.outputs]

    with torch.no_grad():
        code = run(parts["encoder"], torch.from_numpy(bgr).permute(0, 3, 1, 2))[0]
        outputs = run(parts[f"decoder_{letter}"], code)
    return [x.permute(0, 2, 3, 1).numpy() for x in outputs]
