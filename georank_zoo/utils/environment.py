"""Versions of packages, names of devices, and the environment's say in the arithmetic: none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import torch

_PACKAGES = (
    "georank-zoo", "torch", "timm", "accelerate", "torchmetrics", "numpy", "scipy", "scikit-learn",
)  # fmt: skip

# The CPU's bf16 kernels (torch 2.15) leave the gradient of a 3 x 3 kernel unwritten where its input
# is a single pixel: garbage, different in each run. ResNet18 gets there at 16 px and is right at
# 32 px; images below that are not trained on in bf16 on the CPU.
MIN_CPU_BF16_SIZE = 32

# What a launcher exports for Accelerate: precision, accumulation, compilation, sharding.
_LAUNCHER_PREFIXES = ("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_")
# Of these, what says where to compute and not how.
_PLACEMENT = frozenset(
    {
        "ACCELERATE_USE_CPU", "ACCELERATE_TORCH_DEVICE", "ACCELERATE_CPU_AFFINITY",
        "ACCELERATE_USE_SAGEMAKER", "ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE",
    }
)  # fmt: skip
# Fewer bits in float32 products: cuBLAS and cuDNN; oneDNN, under its two names.
_FEWER_BITS = frozenset(
    {
        "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
    }
)  # fmt: skip


@contextmanager
def environment_ignored() -> Iterator[None]:
    """Hides what the environment would change of the arithmetic, so that only settings count.

    Number of processes, device and threads stay the environment's. Libraries that have read
    their variable before keep it, which only a program that computed something before can bring
    about.
    """
    hidden = {
        name: value
        for name, value in os.environ.items()
        if name in _FEWER_BITS or (name.startswith(_LAUNCHER_PREFIXES) and name not in _PLACEMENT)
    }
    before = torch.get_float32_matmul_precision()
    for name in hidden:
        del os.environ[name]
    torch.set_float32_matmul_precision("highest")  # torch read its variable when it was imported
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        os.environ.update(hidden)


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
