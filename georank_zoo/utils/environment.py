"""Versions of packages and names of devices."""

from __future__ import annotations

from importlib.metadata import version

import torch

_PACKAGES = (
    "georank-zoo", "torch", "timm", "accelerate", "torchmetrics", "numpy", "scipy", "scikit-learn",
)  # fmt: skip

# The CPU's bf16 kernels (torch 2.15) leave the gradient of a 3 x 3 kernel unwritten where its input
# is a single pixel: garbage, different in each run. ResNet18 gets there at 16 px and is right at
# 32 px; images below that are not trained on in bf16 on the CPU.
MIN_CPU_BF16_SIZE = 32


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers of a run or an evaluation depend on."""
    return {name: version(name) for name in _PACKAGES}


def device_name(device: str | torch.device) -> str:
    """The name of a GPU, the CPU with its number of threads, or the kind of another device."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return device.type
