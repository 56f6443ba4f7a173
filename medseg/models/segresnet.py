"""SegResNet with deep supervision, the network of Auto3DSeg's winning entries.

Source: Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization, 2018, without the autoencoder;
network from MONAI.
"""

from __future__ import annotations

from typing import Literal

from monai.networks.nets.segresnet_ds import SegResNetDS
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from medseg.config import Config
from medseg.shapes import IntTriple


class SegResNetConfig(Config):
    """Sizes of the network.

    Args:
        filters: feature maps at the finest level; they double from level to level.
        blocks: residual blocks per level on the way down, finest first.
        deep_supervision: number of extra, coarser outputs that the loss also sees.
    """

    name: Literal["segresnet"] = "segresnet"
    filters: PositiveInt = 32
    blocks: tuple[PositiveInt, ...] = Field(default=(1, 2, 2, 4, 4), min_length=2)
    deep_supervision: int = Field(default=3, ge=0)

    @model_validator(mode="after")
    def _levels_fit(self) -> SegResNetConfig:
        if self.deep_supervision > len(self.blocks) - 2:
            raise ValueError(f"deep_supervision of at most {len(self.blocks) - 2} for {len(self.blocks)} levels")
        return self

    @property
    def downsampling(self) -> IntTriple:
        factor = 2 ** (len(self.blocks) - 1)
        return factor, factor, factor

    def build(self, in_channels: int, classes: int, patch: IntTriple) -> nn.Module:
        """The network with random weights; the patch size only matters for its divisibility."""
        return SegResNetDS(
            spatial_dims=3,
            init_filters=self.filters,
            in_channels=in_channels,
            out_channels=classes,
            norm=("INSTANCE", {"affine": True}),  # batches of one or two patches are too small for batch norm
            blocks_down=self.blocks,
            dsdepth=self.deep_supervision + 1,
        )
