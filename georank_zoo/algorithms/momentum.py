"""Momentum teacher: an exponential moving average of the student."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy of the student that takes no gradient.

    Only parameters are averaged. The teacher's BatchNorm normalizes with its own batch and keeps
    its own running statistics, as in MoCo and BYOL: they are statistics of the teacher's
    activations, and neither the student's nor an average with them would fit these.
    """
    teacher = copy.deepcopy(student)
    teacher.requires_grad_(False)
    return teacher


def momentum_at(progress: float, base: float) -> float:
    """Momentum after a share of the whole run: from `base` to 1 along a half cosine.

    Source: Grill et al. 2020 (BYOL), section 3.3.
    """
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Teacher <- momentum * teacher + (1 - momentum) * student, parameter by parameter."""
    for average, value in zip(teacher.parameters(), student.parameters(), strict=True):
        average.lerp_(value, 1 - momentum)
