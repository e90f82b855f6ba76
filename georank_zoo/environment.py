"""What a number was computed with: the versions of packages and the device."""

from __future__ import annotations

from importlib.metadata import version

import torch

_PACKAGES = (
    "georank-zoo", "torch", "timm", "accelerate", "torchmetrics", "numpy", "scipy", "scikit-learn",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of what decides the numbers of a run or an evaluation."""
    return {name: version(name) for name in _PACKAGES}


def device_name(device: str | torch.device) -> str:
    """The name of a GPU, the CPU with its number of threads, or the kind of another device."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return device.type
