"""LPIPS: how different two pictures look to a network trained to see, with weights of the user's.

Nothing is downloaded: torchvision's AlexNet and the `lpips` package's heads are the user's to get.
"""

import pickle
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import FaceswapError
from .pictures import AnyPicture, as_float

# Below this AlexNet's last layers see hardly a place; the field enlarges to it.
MIN_SEEN_PX = 64

# Zhang et al. 2018: the rectified outputs of AlexNet's five convolutions, by their place.
LAYERS = (1, 4, 7, 9, 11)
HEADS = tuple(f"lin{k}.model.1.weight" for k in range(len(LAYERS)))

# ImageNet's mean and spread, for pictures from -1 to 1.
HASH_SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)

NEEDED = "AlexNet's features.N.weight and .bias (torchvision) and lin0 to lin4 (lpips, alex)"


def build_lpips(path: Path) -> Callable[[AnyPicture, AnyPicture], float]:
    """LPIPS of two pictures of one size: 0 for equal ones, up to about 1; less is nearer.

    `path` is a file with all tensors (safetensors, or torch's .pth) or a folder of such files that
    hold them together, such as alexnet-owt-7be5be79.pth and alex.pth. Pictures with a side below 64
    px are enlarged until it has 64, larger ones are left as they are; figures of different sizes
    do not compare. Runs on the CPU.
    Source: Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual
    metric", eq. 1, version 0.1 of their weights.
    Raises: FaceswapError, one line, when a file is missing, unreadable or does not hold what fits.
    """
    # Slow to import, and needed by nobody who brings no weights.
    import torchvision

    tensors = _read(path)
    # Without numbers: these would be drawn, slowly and from everyone's generator.
    with torch.device("meta"):
        layers = torchvision.models.alexnet(weights=None).features.eval()
    own = {f"features.{name}": tuple(value.shape) for name, value in layers.state_dict().items()}
    widths = [own[f"features.{place - 1}.weight"][0] for place in LAYERS]
    wanted = own | {name: (1, width, 1, 1) for name, width in zip(HEADS, widths, strict=True)}
    for name, shape in wanted.items():
        if name not in tensors:
            raise FaceswapError(f"{path} has no {name} for LPIPS; needed are {NEEDED}")
        if tuple(tensors[name].shape) != shape:
            raise FaceswapError(
                f"{path}: {name} is {tuple(tensors[name].shape)} in place of {shape}; "
                f"LPIPS needs {NEEDED}"
            )
    held = {name.removeprefix("features."): tensors[name].float() for name in own}
    layers.load_state_dict(held, assign=True)
    heads = [tensors[name].float() for name in HEADS]

    def lpips(a: AnyPicture, b: AnyPicture) -> float:
        with torch.inference_mode():
            return float(_distance(layers, heads, _prepared(a), _prepared(b)))

    return lpips


def lpips_files(path: Path) -> list[Path]:
    """The files that `build_lpips` reads: the one given, or those of a folder."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix in {".safetensors", ".pth", ".pt"})


def _read(path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in lpips_files(path):
        try:
            if file.suffix == ".safetensors":
                held = load_file(file)
            else:
                held = torch.load(file, map_location="cpu", weights_only=True)
            tensors |= {name: value for name, value in held.items() if isinstance(value, Tensor)}
        except FileNotFoundError as error:
            raise FaceswapError(f"{file}: no such file; LPIPS needs {NEEDED}") from error
        # What is no dictionary of tensors, or no file of that kind, fails in many ways.
        except (
            AttributeError, EOFError, OSError, RuntimeError, SafetensorError,
            pickle.UnpicklingError,
        ) as error:  # fmt: skip
            no_weights = f"{file} cannot be read as weights; LPIPS needs {NEEDED}"
            raise FaceswapError(no_weights) from error
    return tensors


def _prepared(picture: AnyPicture) -> Float[Tensor, "1 3 i j"]:
    """Scaled for AlexNet, and enlarged where it is too small."""
    batch = torch.from_numpy(as_float(picture)).float().permute(2, 0, 1)[None]
    shift, scale = (torch.tensor(value)[:, None, None] for value in (HASH_SHIFT, SCALE))
    batch = (2 * batch - 1 - shift) / scale
    minimum = min(batch.shape[2:])
    if minimum >= MIN_SEEN_PX:
        return batch
    size = [round(edge * MIN_SEEN_PX / minimum) for edge in batch.shape[2:]]
    return F.interpolate(batch, size, mode="bilinear", align_corners=False)


def _distance(
    layers: nn.Sequential,
    heads: list[Tensor],
    a: Float[Tensor, "1 3 h w"],
    b: Float[Tensor, "1 3 h w"],
) -> Float[Tensor, ""]:
    """Squared differences of unit-length features, weighed by channel, averaged over places."""
    total = a.new_zeros(())
    for place, layer in enumerate(layers):
        a, b = layer(a), layer(b)
        if place in LAYERS:
            squared = (_unit(a) - _unit(b)).square()  # (1, c, h, w)
            total = total + F.conv2d(squared, heads[LAYERS.index(place)]).mean()
    return total


def _unit(features: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
