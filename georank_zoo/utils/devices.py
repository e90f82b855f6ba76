"""Choice of the device that a network runs on."""

from __future__ import annotations

import torch

from georank_zoo.utils.errors import UsageError, unknown_name

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device of a name; `auto` takes the accelerator if there is one.

    Args:
        device: One of `DEVICES`, a numbered one such as `cuda:1`, or a device already.

    Raises:
        UsageError: If the name is unknown or this machine has no such device.
    """
    name = str(device)
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if kind == "auto":
        return torch.device(next((d for d in ("cuda", "mps") if available[d]), "cpu"))
    if not available[kind]:
        raise UsageError(f"This machine has no {kind} device. Choose auto or cpu.")
    return torch.device(name)
