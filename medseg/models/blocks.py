"""Building blocks of nnU-Net's networks: convolution, instance norm, leaky ReLU; plain or residual stages; a decoder.

Sources: Isensee et al., nnU-Net, Nature Methods 18 (2021); Isensee et al., nnU-Net Revisited, MICCAI 2024 (residual
encoders); the identity path is that of He et al., Bag of Tricks, CVPR 2019 (average pooling, then 1 x 1 x 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.shapes import IntTriple

ISOTROPIC: IntTriple = (3, 3, 3)
SLOPE = 0.01


def convolution(inputs: int, outputs: int, kernel: IntTriple, stride: IntTriple = (1, 1, 1), *, bias: bool = True,
                active: bool = True) -> nn.Sequential:  # fmt: skip
    """Convolution that keeps the size (but for the stride), instance norm and, if `active`, leaky ReLU."""
    x, y, z = ((size - 1) // 2 for size in kernel)
    layers = [nn.Conv3d(inputs, outputs, kernel, stride, (x, y, z), bias=bias), nn.InstanceNorm3d(outputs, affine=True)]
    return nn.Sequential(*layers, *([nn.LeakyReLU(SLOPE, inplace=True)] if active else []))


def plain_stage(inputs: int, outputs: int, kernel: IntTriple, stride: IntTriple, count: int) -> nn.Sequential:
    """`count` convolutions, the first of which strides."""
    first = convolution(inputs, outputs, kernel, stride)
    return nn.Sequential(first, *(convolution(outputs, outputs, kernel) for _ in range(count - 1)))


def residual_stage(inputs: int, outputs: int, kernel: IntTriple, stride: IntTriple, count: int) -> nn.Sequential:
    """`count` residual blocks, the first of which strides."""
    first = Residual(inputs, outputs, kernel, stride)
    return nn.Sequential(first, *(Residual(outputs, outputs, kernel, (1, 1, 1)) for _ in range(count - 1)))


class Residual(nn.Module):
    """Two convolutions beside an identity path, added before the last leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: IntTriple, stride: IntTriple) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, kernel, stride)
        self.second = convolution(outputs, outputs, kernel, active=False)
        pool = [nn.AvgPool3d(stride, stride)] if max(stride) > 1 else []
        match = [convolution(inputs, outputs, (1, 1, 1), bias=False, active=False)] if inputs != outputs else []
        self.identity = nn.Sequential(*pool, *match)
        self.active = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        return self.active(self.second(self.first(features)) + self.identity(features))


class Decoder(nn.Module):
    """From the deepest features back up: transposed convolution, the encoder's features beside it, convolutions.

    Args:
        channels: of the encoder, finest first.
        strides: between each two of them.
        kernels: of each of them.
        count: convolutions per level.
        classes: of the logits.
        supervised: how many levels above the finest give logits too.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[IntTriple],
        kernels: Sequence[IntTriple],
        *,
        count: int,
        classes: int,
        supervised: int,
    ) -> None:
        super().__init__()
        levels = range(len(channels) - 1)
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(channels[i + 1], channels[i], strides[i], strides[i]) for i in levels
        )
        self.merge = nn.ModuleList(
            plain_stage(2 * channels[i], channels[i], kernels[i], (1, 1, 1), count) for i in levels
        )
        self.heads = nn.ModuleList(nn.Conv3d(channels[i], classes, 1) for i in range(supervised + 1))

    def forward(self, skips: Sequence[Tensor]) -> list[Tensor]:
        """Logits, finest first, of the encoder's features, finest first; in evaluation the finest only."""
        logits: list[Tensor] = []
        features = skips[-1]
        for level in reversed(range(len(self.up))):
            features = self.merge[level](torch.cat([self.up[level](features), skips[level]], dim=1))
            if level < (len(self.heads) if self.training else 1):
                logits.append(self.heads[level](features))
        return logits[::-1]


def initialise(network: nn.Module) -> None:
    """He's normal weights and zero biases; residual blocks begin as their identity path, as nnU-Net has it."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, Residual):
            norm = module.second[1]
            assert isinstance(norm, nn.InstanceNorm3d)
            nn.init.zeros_(norm.weight)
