"""DeepFaceLab's model format, written for tests, and its graph, straight from its own layout.

Written from the published description, apart from the code under test: arrays stay (h, w, in, out),
pixels are shuffled (place, channel), colours are BGR.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Arrays = dict[str, dict[str, np.ndarray]]


def random_model(options: dict[str, Any], seed: int = 0) -> Arrays:
    """The parts of a model of these options, with random weights."""
    rng = np.random.default_rng(seed)
    architecture, _, flags = options["archi"].partition("-")
    e, ae, d, m = (options[name] for name in ("e_dims", "ae_dims", "d_dims", "d_mask_dims"))
    code = options["resolution"] // (32 if "t" in flags else 16)
    low = options["resolution"] // (32 if "d" in flags else 16)
    widths = [3, e, 2 * e, 4 * e, 8 * e]

    def conv(part: dict[str, np.ndarray], name: str, a: int, b: int, edge: int) -> None:
        scale = (a * edge * edge) ** -0.5
        part[f"{name}/weight:0"] = rng.normal(0, scale, (edge, edge, a, b)).astype(np.float32)
        part[f"{name}/bias:0"] = rng.normal(0, 0.1, b).astype(np.float32)

    def residual(part: dict[str, np.ndarray], name: str, channels: int) -> None:
        for number in (1, 2):
            conv(part, f"{name}/conv{number}", channels, channels, 3)

    encoder: dict[str, np.ndarray] = {}
    if "t" in flags:
        for i, (a, b) in enumerate(zip(widths, [*widths[1:], 8 * e], strict=True)):
            conv(encoder, f"down{i + 1}/conv1", a, b, 5)
        residual(encoder, "res1", e)
        residual(encoder, "res5", 8 * e)
    else:
        for i in range(4):
            conv(encoder, f"down1/downs_{i}/conv1", widths[i], widths[i + 1], 5)

    def inter(outputs: int) -> dict[str, np.ndarray]:
        part: dict[str, np.ndarray] = {}
        sizes = (8 * e * code * code, ae, low * low * outputs)
        for number in (1, 2):
            a, b = sizes[number - 1 : number + 1]
            name = f"dense{number}"
            part[f"{name}/weight:0"] = rng.normal(0, a**-0.5, (a, b)).astype(np.float32)
            part[f"{name}/bias:0"] = rng.normal(0, 0.1, b).astype(np.float32)
        if "t" not in flags:
            conv(part, "upscale1/conv1", outputs, 4 * outputs, 3)
        return part

    def decoder(inputs: int) -> dict[str, np.ndarray]:
        part: dict[str, np.ndarray] = {}
        steps = (8, 8, 4, 2) if "t" in flags else (8, 4, 2)
        a = inputs
        for i, k in enumerate(steps):
            conv(part, f"upscale{i}/conv1", a, 4 * k * d, 3)
            residual(part, f"res{i}", k * d)
            a = k * d
        conv(part, "out_conv", a, 3, 1)
        if "d" in flags:
            for i in (1, 2, 3):
                conv(part, f"out_conv{i}", a, 3, 3)
        a = inputs
        for i, k in enumerate([*steps, *([1] if "d" in flags else [])]):
            conv(part, f"upscalem{i}/conv1", a, 4 * k * m, 3)
            a = k * m
        conv(part, "out_convm", a, 1, 1)
        return part

    if architecture == "df":
        return {
            "encoder": encoder,
            "inter": inter(ae),
            "decoder_src": decoder(ae),
            "decoder_dst": decoder(ae),
        }
    return {
        "encoder": encoder,
        "inter_AB": inter(2 * ae),
        "inter_B": inter(2 * ae),
        "decoder": decoder(4 * ae),
    }


def write_model(
    folder: Path, options: dict[str, Any], parts: Arrays, name: str = "new", kind: str = "SAEHD"
) -> Path:
    """The files of a model as the tool leaves them; its data file."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "iter": 1234,
        "options": options if kind == "SAEHD" else {},
        "loss_history": [[0.5, 0.25], [0.4, np.float32(0.2)]],
        "sample_for_preview": [np.zeros((2, 8, 8, 3), np.float32)],
        "choosed_gpu_indexes": [0],
    }
    data_file = folder / f"{name}_{kind}_data.dat"
    data_file.write_bytes(pickle.dumps(data, 3))
    for part, arrays in parts.items():
        (folder / f"{name}_{kind}_{part}.npy").write_bytes(pickle.dumps(arrays, 4))
    return data_file


def run_graph(options: dict[str, Any], parts: Arrays, bgr: np.ndarray) -> list[np.ndarray]:
    """Target's mask, painted source, source's mask of faces (n, s, s, 3), all as the tool's."""
    architecture, _, flags = options["archi"].partition("-")

    def act(x: Tensor, leak: float = 0.1) -> Tensor:
        return x * torch.cos(x) if "c" in flags else F.leaky_relu(x, leak)

    def conv(part: dict[str, np.ndarray], name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = torch.from_numpy(part[f"{name}/weight:0"]).permute(3, 2, 0, 1)
        bias = torch.from_numpy(part[f"{name}/bias:0"])
        return F.conv2d(x, weight, bias, stride, padding=weight.shape[2] // 2)

    def shuffled(x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        places = x.view(b, 2, 2, c // 4, h, w)  # (b, dy, dx, c, h, w)
        return places.permute(0, 3, 4, 1, 5, 2).reshape(b, c // 4, 2 * h, 2 * w)

    def up(part: dict[str, np.ndarray], name: str, x: Tensor) -> Tensor:
        return shuffled(act(conv(part, f"{name}/conv1", x)))

    def residual(part: dict[str, np.ndarray], name: str, x: Tensor) -> Tensor:
        inner = conv(part, f"{name}/conv2", act(conv(part, f"{name}/conv1", x), 0.2))
        return act(x + inner, 0.2)

    def encoder(x: Tensor) -> Tensor:
        part = parts["encoder"]
        if "t" in flags:
            for i in (1, 2, 3, 4, 5):
                x = act(conv(part, f"down{i}/conv1", x, 2))
                x = residual(part, f"res{i}", x) if i in (1, 5) else x
        else:
            for i in range(4):
                x = act(conv(part, f"down1/downs_{i}/conv1", x, 2))
        x = x.flatten(1)
        return x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6) if "u" in flags else x

    def inter(name: str, x: Tensor) -> Tensor:
        part = parts[name]
        for dense in ("dense1", "dense2"):
            x = x @ torch.from_numpy(part[f"{dense}/weight:0"])
            x = x + torch.from_numpy(part[f"{dense}/bias:0"])
        low = options["resolution"] // (32 if "d" in flags else 16)
        x = x.view(len(x), -1, low, low)
        return x if "t" in flags else up(part, "upscale1", x)

    def decoder(name: str, z: Tensor) -> tuple[Tensor, Tensor]:
        part, stages = parts[name], 4 if "t" in flags else 3
        x = z
        for i in range(stages):
            x = residual(part, f"res{i}", up(part, f"upscale{i}", x))
        face = conv(part, "out_conv", x)
        if "d" in flags:
            face = shuffled(
                torch.cat([face, *(conv(part, f"out_conv{i}", x) for i in (1, 2, 3))], 1)
            )
        m = z
        for i in range(stages + ("d" in flags)):
            m = up(part, f"upscalem{i}", m)
        return torch.sigmoid(face), torch.sigmoid(conv(part, "out_convm", m))

    with torch.no_grad():
        code = encoder(torch.from_numpy(bgr).permute(0, 3, 1, 2))
        if architecture == "df":
            wide = inter("inter", code)
            face, mask = decoder("decoder_src", wide)
            _, target_mask = decoder("decoder_dst", wide)
        else:
            ab, b = inter("inter_AB", code), inter("inter_B", code)
            face, mask = decoder("decoder", torch.cat([ab, ab], 1))
            _, target_mask = decoder("decoder", torch.cat([b, ab], 1))
    return [t.permute(0, 2, 3, 1).numpy() for t in (target_mask, face, mask)]
