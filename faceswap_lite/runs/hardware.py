"""Which device, at what precision, with how much memory."""

import os
import sys
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric

from ..config import DeviceName, PrecisionName
from ..errors import FaceswapError

_Value = TypeVar("_Value")


def pick_device(wanted: DeviceName) -> torch.device:
    """The wanted device; "auto" is a CUDA GPU, else Apple's, else the CPU.

    Raises: FaceswapError when this torch cannot use the wanted one.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next((name for name, usable in there.items() if usable), "cpu"))
    if not there.get(wanted, True):
        raise FaceswapError(f"device {wanted}: this torch cannot use one; choose auto or cpu")
    return torch.device(wanted)


def pick_precision(wanted: PrecisionName, device: torch.device) -> str:
    """The wanted precision; "auto" is bf16 where the hardware multiplies it natively, else fp32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return "bf16-mixed" if native and device.type == "cpu" else "32-true"


def build_fabric(wanted: DeviceName, precision: PrecisionName) -> Fabric:
    """Device, precision and, under `torchrun`, the processes that share the work."""
    device = pick_device(wanted)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    everywhere = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device.type,
        devices=here,
        num_nodes=everywhere // here,
        strategy="ddp" if everywhere > 1 else "auto",
        precision=pick_precision(precision, device),  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def memory_used(device: torch.device) -> str:
    """Peak memory of the GPU, or the most this process has held of the machine's, as text."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f}G"
    try:
        import resource  # not on Windows
    except ImportError:
        return "?"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak / (2**30 if sys.platform == 'darwin' else 2**20):.1f}G"


def agreed(fabric: Fabric, value: _Value) -> _Value:
    """The first process's value: only it looks at the clock and at the disk."""
    return fabric.broadcast(value) if fabric.world_size > 1 else value
