"""The 3D U-Net in nnU-Net's shape: convolution, instance norm, leaky ReLU; strides down, transposed convolutions up.

Source: Isensee et al., nnU-Net, Nature Methods 18 (2021); blocks from MONAI's DynUNet.
"""

from __future__ import annotations

from typing import Literal

from monai.networks.nets.dynunet import DynUNet
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medseg.config import Config
from medseg.shapes import IntTriple

Stride = tuple[PositiveInt, PositiveInt, PositiveInt]


class UNetConfig(Config):
    """Sizes of the network.

    Args:
        channels: feature maps per resolution, finest first; multiples of 16 run fastest on a CPU.
        strides: between each two of the channels; default 2 along every axis.
        stem_stride: stride of the first block; above 1 the finest features are coarser than the image and the logits
            are interpolated back up, which costs a fraction of the time.
        deep_supervision: number of extra, coarser outputs that the loss also sees.
    """

    name: Literal["unet"] = "unet"
    channels: tuple[PositiveInt, ...] = Field(default=(32, 64, 128, 256, 320), min_length=3)
    strides: tuple[Stride, ...] | None = None
    stem_stride: Stride = (1, 1, 1)
    deep_supervision: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _levels_fit(self) -> UNetConfig:
        if self.strides is not None and len(self.strides) != len(self.channels) - 1:
            raise ValueError(f"{len(self.channels) - 1} strides, one between each two of the channels")
        if self.deep_supervision > len(self.channels) - 2:
            raise ValueError(f"deep_supervision of at most {len(self.channels) - 2} for {len(self.channels)} channels")
        return self

    @property
    def downsampling(self) -> IntTriple:
        """By how much the deepest level is smaller along X, Y, Z; patches are multiples of it."""
        x, y, z = self.stem_stride
        for stride in self._strides():
            x, y, z = x * stride[0], y * stride[1], z * stride[2]
        return x, y, z

    def _strides(self) -> tuple[IntTriple, ...]:
        return self.strides or ((2, 2, 2),) * (len(self.channels) - 1)

    def build(self, in_channels: int, classes: int, patch: IntTriple) -> UNet:
        """The network with random weights; the patch size only matters for its divisibility."""
        return UNet(self, in_channels, classes)


class UNet(nn.Module):
    """Maps (B, C_in, X, Y, Z) to logits (B, classes, X, Y, Z).

    In training mode with deep supervision it returns a list instead: full resolution first, then coarser heads at
    their own sizes (MONAI's own forward would enlarge each to full size, which costs time and adds nothing).
    """

    def __init__(self, config: UNetConfig, in_channels: int, classes: int) -> None:
        super().__init__()
        strides = list(config._strides())
        self.supervised = config.deep_supervision > 0
        self.enlarge = max(config.stem_stride) > 1
        network = DynUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=classes,
            kernel_size=[(3, 3, 3)] * len(config.channels),
            strides=[config.stem_stride, *strides],
            upsample_kernel_size=strides,
            filters=list(config.channels),
            deep_supervision=self.supervised,
            deep_supr_num=max(config.deep_supervision, 1),
        )
        # DynUNet registers every block twice, in lists and nested as they are called; the nested ones are all of them.
        self.body, self.head, self.coarser = network.skip_layers, network.output_block, network.heads

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        logits = self.head(self.body(image))
        if self.enlarge:
            logits = interpolate(logits, size=image.shape[2:], mode="trilinear", align_corners=False)
        if self.training and self.supervised:
            return [logits, *self.coarser]
        return logits
