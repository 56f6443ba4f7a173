"""A network that is told what a network on a coarser grid has found.

Source: Isensee et al., nnU-Net, Nature Methods 18 (2021): the cascade's second stage takes the first one's classes as
further channels in one hot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def image_channels(model: nn.Module) -> int:
    """Channels of the input: 2 for a network that is told a coarser one's classes, else 1."""
    return max(getattr(module, "image_channels", 1) for module in model.modules())


class Cascade(nn.Module):
    """Maps (B, 2, X, Y, Z), the image and the coarser network's class indices, to the output of `network`.

    Args:
        network: of 1 + C - 1 channels: the image, then every class but the background in one hot.
        classes: C.
    """

    image_channels = 2  # image and class indices

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        coarse = image[:, 1:]
        hot = [(coarse == index).to(image.dtype) for index in range(1, self.classes)]
        return self.network(torch.cat([image[:, :1], *hot], dim=1))
