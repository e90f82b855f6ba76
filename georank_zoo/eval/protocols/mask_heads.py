"""Heads that turn feature maps into logits of each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import nn

UPERNET_MAPS = 4
_UPERNET_CHANNELS = 256


class PixelLinear(nn.Module):
    """A 1x1 convolution on the last map, normalized over the batch."""

    def __init__(self, channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        # Without weights: one learning rate then suits models whose features differ in scale.
        self.norm = nn.BatchNorm2d(channels[-1], affine=False)
        self.classifier = nn.Conv2d(channels[-1], num_classes, 1)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (B, C, h, w) of maps, the last of which counts."""
        logits: torch.Tensor = self.classifier(self.norm(maps[-1]))
        return logits


class UPerNet(nn.Module):
    """The decoder of Xiao et al. 2018, "Unified perceptual parsing", on the last four maps."""

    def __init__(self, channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        # The decoder leaves out two maps of higher resolution, which it is not given.
        self.decoder = UPerNetDecoder(
            encoder_channels=[0, 0, *channels],
            encoder_depth=len(channels) + 1,
            decoder_channels=_UPERNET_CHANNELS,
        )
        self.classifier = nn.Conv2d(_UPERNET_CHANNELS, num_classes, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (B, C, h, w) at the resolution of the first map."""
        logits: torch.Tensor = self.classifier(self.decoder([maps[0], maps[0], *maps]))
        return logits
