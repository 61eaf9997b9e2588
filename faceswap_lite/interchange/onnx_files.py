"""A run's network as ONNX: `.dfm`, as three players of the field load it, and with plain names.

A `.dfm` takes BGR and gives, in this order, the mask of the face that is there, the painted face,
and its mask. Players unpack by order, take the crop's size from what the input declares, and hold
every output to its declared shape: all but the batch is written as a number.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import FaceswapError
from ..models.autoencoder import SwapAutoencoder
from .extras import load_extra

TOLERANCE = 1e-4
"""Greatest difference between what onnxruntime and torch paint."""

# Protobuf's own limit.
_MAX = (2 << 30) - (1 << 20)
_DFM_OPSET = 12
# The newest that the exporter writes; and the oldest that a plain file may have.
_EXPORTER_OPSET = 20
_SEED = 0

Masks = tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]
"""Of a network without mask heads: what stands for the target's mask and for the painted one's."""


@dataclass(frozen=True)
class OnnxForm:
    """How a network is put: names in their order, the order of axes and colours, the opset."""

    inputs: str
    outputs: tuple[str, str, str]
    channels_last: bool
    """And BGR, as tools have it that think so."""
    opset: int | None
    """None: the newest that onnxruntime takes."""

    def shape(self, size: int, channels: int) -> list[int | str]:
        """Of an input or output."""
        edges: list[int | str] = [size, size]
        return ["batch", *edges, channels] if self.channels_last else ["batch", channels, *edges]


DFM = OnnxForm(
    "in_face:0",
    ("out_face_mask:0", "out_celeb_face:0", "out_celeb_face_mask:0"),
    channels_last=True,
    opset=_DFM_OPSET,
)
PLAIN = OnnxForm("face", ("target_mask", "painted", "mask"), channels_last=False, opset=None)


class _Swap(nn.Module):
    """The network in a form: target's mask, painted face, its mask."""

    def __init__(self, model: SwapAutoencoder, form: OnnxForm, masks: Masks | None) -> None:
        super().__init__()
        self.model, self.form = model, form
        self.masks = None if masks is None else [torch.from_numpy(m)[None, None] for m in masks]

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = faces
        if self.form.channels_last:
            seen = faces.permute(0, 3, 1, 2)[:, [2, 1, 0]]
        code = self.model.encode(seen)
        painted, mask = self.model.decode(code, "source")
        _, target_mask = self.model.decode(code, "target")
        if self.masks is not None:
            # Not expanded: the batch stays open.
            nothing = seen[:, :1] * 0
            target_mask, mask = (nothing + one for one in self.masks)
        assert mask is not None and target_mask is not None, "given where there are no heads"
        if not self.form.channels_last:
            return target_mask, painted, mask
        painted = painted[:, [2, 1, 0]]
        return (
            target_mask.permute(0, 2, 3, 1),
            painted.permute(0, 2, 3, 1),
            mask.permute(0, 2, 3, 1),
        )


def write_onnx(
    file: Path,
    model: SwapAutoencoder,
    size: int,
    form: OnnxForm,
    masks: Masks | None,
    told: dict[str, Any],
) -> int:
    """Write the network and what is `told` of it; the opset.

    Raises: FaceswapError when it is too large for the format, or onnxruntime does not paint what
    torch paints.
    """
    onnx, ort = (load_extra(name, f"writing {file.suffix}") for name in ("onnx", "onnxruntime"))
    count = sum(parameter.numel() for parameter in model.parameters())
    if 4 * count > _MAX:
        raise FaceswapError(
            f"{4 * count / 1e9:.1f} GB of weights are more than ONNX holds (2.1 GB)"
        )
    network = _Swap(model.eval(), form, masks)
    _export(file, network, size, form)
    proto = onnx.load(file)
    for value, channels in zip(
        [*proto.graph.input, *proto.graph.output], (3, 1, 3, 1), strict=True
    ):
        _declare(value, form.shape(size, channels))
    for key, value in told.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    if form.opset is None:
        proto = _newest(proto, onnx, ort)
    onnx.checker.check_model(proto, full_check=True)
    file.write_bytes(proto.SerializeToString())
    _check(file, network, size, form, ort)
    return int(proto.opset_import[0].version)


def read_notes(file: Path) -> dict[str, str]:
    """What a network's file says of itself. Raises: FaceswapError when it cannot be read."""
    onnx = load_extra("onnx", f"reading {file.name}")
    try:
        proto = onnx.load(file, load_external_data=False)
    # Protobuf's own errors are of no kind that has a name here.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise FaceswapError(f"{file}: is no network that can be read ({reason})") from None
    return {entry.key: entry.value for entry in proto.metadata_props}


def _export(file: Path, network: _Swap, size: int, form: OnnxForm) -> None:
    shape = [2 if length == "batch" else int(length) for length in form.shape(size, 3)]
    names = [form.inputs, *form.outputs]
    with torch.no_grad(), warnings.catch_warnings():
        # Of an exporter that will go, and of shapes that are numbers on purpose.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(shape),),
            file,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=form.opset or _EXPORTER_OPSET,
            # The newer one writes no opset below 18.
            dynamo=False,
        )


def _declare(value: Any, shape: list[int | str]) -> None:
    """Say a value's shape, whatever the exporter has concluded of it."""
    dims = value.type.tensor_type.shape.dim
    del dims[:]
    for length in shape:
        if isinstance(length, str):
            dims.add().dim_param = length
        else:
            dims.add().dim_value = length


def _newest(proto: Any, onnx: Any, ort: Any) -> Any:
    """The network in the newest opset that onnxruntime takes."""
    for opset in range(onnx.defs.onnx_opset_version(), _EXPORTER_OPSET, -1):
        try:
            newer = onnx.version_converter.convert_version(proto, opset)
            _session(newer.SerializeToString(), ort)
        # Both say in many ways that they cannot.
        except Exception:
            continue
        return newer
    return proto


def _session(model: bytes | str, ort: Any) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _check(file: Path, network: _Swap, size: int, form: OnnxForm, ort: Any) -> None:
    """See that what was written is what it should be, and paints what the network paints."""
    session = _session(str(file), ort)
    wanted = [(form.inputs, 3), *zip(form.outputs, (1, 3, 1), strict=True)]
    found = [*session.get_inputs(), *session.get_outputs()]
    for (name, channels), value in zip(wanted, found, strict=True):
        if (value.name, list(value.shape)) != (name, form.shape(size, channels)):
            raise FaceswapError(f"{value.name} was written as {value.shape}, not as {name}")
    rng = np.random.default_rng(_SEED)
    for count in (1, 3):
        shape = [count if length == "batch" else int(length) for length in form.shape(size, 3)]
        faces = rng.random(shape, np.float32)
        with torch.no_grad():
            painted = [part.numpy() for part in network(torch.from_numpy(faces))]
        answers = session.run(None, {form.inputs: faces})
        worst = max(float(np.abs(a - b).max()) for a, b in zip(answers, painted, strict=True))
        # A NaN is no difference that could be borne.
        if not worst <= TOLERANCE:
            raise FaceswapError(f"onnxruntime and torch differ by {worst:.1e} of what they paint")
