"""Models that Keras saved, read without Keras: their layers in order, and each layer's arrays.

`.keras` is a zip of a JSON graph and an HDF5 file whose groups are called by the layers' classes;
`.h5` is an HDF5 file with the graph as an attribute, and groups that are called by the layers.
Functions that a graph holds (Lambda layers) are text here, and stay so.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FaceswapError
from .extras import load_extra

MAX_FILE = 2 << 30
"""Bytes of weights. The largest model that can be had here has a quarter of it."""

_MAX_GRAPH = 16 << 20
# Weights are noise: they hardly shrink.
_MAX_SHRUNK = 20
_MAX_LAYERS = 1000
_MAX_GROUPS = 20_000
_DEEPEST_GROUP = 12


@dataclass(frozen=True)
class KerasLayer:
    """A layer of a graph: its class, its options, whose output it takes, and its weights."""

    kind: str
    name: str
    config: dict[str, Any]
    inputs: list[str]
    arrays: dict[str, np.ndarray]
    """kernel and bias, of a layer that has them."""


@dataclass(frozen=True)
class KerasModel:
    """A model inside a model: layers by their names, and the layers that it puts out."""

    name: str
    layers: dict[str, KerasLayer]
    outputs: list[str]

    def chain(self, output: str) -> list[KerasLayer]:
        """The layers that one output comes through, from the input on.

        Raises: ValueError when they do not follow each other.
        """
        layers = [self.layers[output]]
        while layers[-1].kind != "InputLayer":
            inputs = layers[-1].inputs
            if len(inputs) != 1 or len(layers) > _MAX_LAYERS:
                raise ValueError(f"{layers[-1].name} does not follow one layer")
            layers.append(self.layers[inputs[0]])
        return layers[-2::-1]


def read_keras(path: Path) -> dict[str, KerasModel]:
    """The models inside a saved model, by their names.

    Raises: FaceswapError when the file is none, is damaged, or holds more than its bytes can.
    """
    h5py = load_extra("h5py", f"reading {path.name}")
    try:
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"it is larger than {MAX_FILE} bytes")
        if zipfile.is_zipfile(path):
            graph, weights = _unzipped(path)
            with h5py.File(io.BytesIO(weights), "r") as file:
                arrays = _arrays(file, len(weights), h5py)
            return dict(_models_by_class(graph, arrays))
        with h5py.File(path, "r") as file:
            graph = json.loads(file.attrs["model_config"])
            return dict(_models_by_name(graph, _arrays(file, path.stat().st_size, h5py)))
    # A broken file may fail in any way that the libraries know.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FaceswapError(
            f"{path}: is damaged, or no model that Keras saved ({reason}); nothing of it was run"
        ) from None


def _unzipped(path: Path) -> tuple[Any, bytes]:
    with zipfile.ZipFile(path) as archive:
        graph = json.loads(_member(archive, "config.json", _MAX_GRAPH))
        return graph, _member(archive, "model.weights.h5", MAX_FILE)


def _member(archive: zipfile.ZipFile, name: str, maximum: int) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > maximum or info.file_size > _MAX_SHRUNK * info.compress_size + _MAX_GRAPH:
        raise ValueError(f"{name} would take {info.file_size} bytes")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in another way")
    return archive.read(info)


def _arrays(file: Any, maximum: int, h5py: Any) -> dict[tuple[str, ...], np.ndarray]:
    """Every array of the file, by its path; together they are not larger than the file."""
    arrays: dict[tuple[str, ...], np.ndarray] = {}
    groups: list[tuple[tuple[str, ...], Any]] = [((), file)]
    looked_at = total = 0
    while groups:
        path, group = groups.pop()
        for key in group:
            looked_at += 1
            if looked_at > _MAX_GROUPS or len(path) > _DEEPEST_GROUP:
                raise ValueError("it holds more groups than a model has")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ValueError(f"{key} lies in another file or place")
            item, place = group[key], (*path, key)
            if isinstance(item, h5py.Group):
                groups.append((place, item))
                continue
            if item.dtype.kind not in "fiu" or item.external or item.is_virtual:
                continue
            total += item.nbytes
            if total > maximum or item.id.get_storage_size() != item.nbytes:
                raise ValueError(f"{key} claims {item.nbytes} bytes")
            arrays[place] = item[()]
    return arrays


def _models_by_name(
    graph: Any, arrays: Mapping[tuple[str, ...], np.ndarray]
) -> Iterator[tuple[str, KerasModel]]:
    named: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for place, array in arrays.items():
        if place[0] == "model_weights" and len(place) > 3:
            layer = named.setdefault((place[1], place[-2]), {})
            layer[place[-1].partition(":")[0]] = array
    for model in _inner_models(graph):
        name = str(model["name"])
        layers = [
            _as_layer(layer, named.get((name, str(layer["config"]["name"])), {}))
            for layer in model["layers"]
        ]
        yield name, _as_model(model, layers)


def _models_by_class(
    graph: Any, arrays: Mapping[tuple[str, ...], np.ndarray]
) -> Iterator[tuple[str, KerasModel]]:
    for number, model in enumerate(_inner_models(graph)):
        above = ("layers", _numbered("functional", number), "layers")
        counts: dict[str, int] = {}
        layers = []
        for layer in model["layers"]:
            kind = _snake_case(str(layer["class_name"]))
            count = counts[kind] = counts.get(kind, -1) + 1
            place = (*above, _numbered(kind, count), "vars")
            own = {"kernel": arrays.get((*place, "0")), "bias": arrays.get((*place, "1"))}
            there = {name: array for name, array in own.items() if array is not None}
            layers.append(_as_layer(layer, there))
        yield str(model["name"]), _as_model(model, layers)


def _inner_models(graph: Any) -> list[Any]:
    layers = graph["config"]["layers"]
    return [layer["config"] for layer in layers if layer["class_name"] in ("Functional", "Model")]


def _as_model(model: Any, layers: list[KerasLayer]) -> KerasModel:
    outputs = model["output_layers"]
    # A single output may stand by itself.
    outputs = [outputs] if isinstance(outputs[0], str) else outputs
    names = [str(output[0]) for output in outputs]
    return KerasModel(str(model["name"]), {layer.name: layer for layer in layers}, names)


def _as_layer(layer: Any, arrays: dict[str, np.ndarray]) -> KerasLayer:
    config = dict(layer["config"])
    inputs = list(_tensors(layer["inbound_nodes"], 8))
    return KerasLayer(str(layer["class_name"]), str(config["name"]), config, inputs, arrays)


def _tensors(node: Any, depth: int) -> Iterator[str]:
    """The layers whose outputs an inbound node names, as Keras 2 and as Keras 3 write it."""
    if isinstance(node, dict) and "keras_history" in node:
        yield str(node["keras_history"][0])
    elif isinstance(node, list) and len(node) > 2 and isinstance(node[0], str):
        yield node[0]
    elif depth and isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _tensors(inner, depth - 1)


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _snake_case(name: str) -> str:
    """As Keras does it: Conv2D is conv2d, LeakyReLU leaky_re_lu, InputLayer input_layer."""
    spaced = re.sub(r"\W+", "", name)
    spaced = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", spaced)
    return re.sub("([a-z])([A-Z])", r"\1_\2", spaced).lower()
