"""SegResNet with deep supervision, the network of Auto3DSeg's winning entries.

Source: Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization, 2018, without the autoencoder;
network from MONAI.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator
from torch import nn

from medseg.config import Config
from medseg.models.patch_size import check_patch
from medseg.shapes import IntTriple, Triple


class SegResNetConfig(Config):
    """Sizes of the network.

    Args:
        filters: feature maps at the finest level; they double from level to level.
        blocks: residual blocks per level on the way down, finest first.
        deep_supervision: number of extra, coarser outputs that the loss also sees; fewer by default where the levels
            allow no more.
        spacing_mm: of the voxels along X, Y, Z; an axis with thick voxels is not halved, and not convolved along,
            until the others have caught up with it. Not given: all axes alike.
    """

    prefers: ClassVar[tuple[str, float]] = ("adamw", 2e-4)  # optimiser and learning rate of its paper
    name: Literal["segresnet"] = "segresnet"
    filters: PositiveInt = 32
    blocks: tuple[PositiveInt, ...] = Field(default=(1, 2, 2, 4, 4), min_length=2)
    deep_supervision: int = Field(default=3, ge=0)
    spacing_mm: Triple | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_fit(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(blocks := given.get("blocks"), list | tuple):
            return given
        most = cls.model_fields["deep_supervision"].default
        return {"deep_supervision": max(0, min(most, len(blocks) - 2)), **given}

    @model_validator(mode="after")
    def _levels_fit(self) -> SegResNetConfig:
        if self.deep_supervision > len(self.blocks) - 2:
            raise ValueError(f"deep_supervision of at most {len(self.blocks) - 2} for {len(self.blocks)} levels")
        if self.spacing_mm is not None and min(self.spacing_mm) <= 0:
            raise ValueError("spacings above 0 mm")
        return self

    @property
    def downsampling(self) -> IntTriple:
        levels = len(self.blocks)
        if self.spacing_mm is None:
            return 2 ** (levels - 1), 2 ** (levels - 1), 2 ** (levels - 1)
        from monai.networks.nets.segresnet_ds import scales_for_resolution

        scales = scales_for_resolution(self.spacing_mm, levels)
        x, y, z = (int(prod(scale[axis] for scale in scales[:-1])) for axis in range(3))
        return x, y, z

    def build(self, in_channels: int, classes: int, patch: IntTriple) -> nn.Module:
        """The network with random weights.

        Raises:
            ConfigError: a patch of this size cannot be learned from, see `check_patch`.
        """
        from monai.networks.nets.segresnet_ds import SegResNetDS  # a recipe of another network does not wait for MONAI

        check_patch(self.name, patch, self.downsampling)
        return SegResNetDS(
            spatial_dims=3,
            init_filters=self.filters,
            in_channels=in_channels,
            out_channels=classes,
            norm=("INSTANCE", {"affine": True}),  # batches of one or two patches are too small for batch norm
            blocks_down=self.blocks,
            dsdepth=self.deep_supervision + 1,
            resolution=self.spacing_mm,
        )
