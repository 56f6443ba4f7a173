"""Swin UNETR: a transformer on shifted windows as encoder, with a convolutional decoder.

Source: Hatamizadeh et al., Swin UNETR, BrainLes 2021; V2: He et al., SwinUNETR-V2, MICCAI 2023; network from MONAI.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from medseg.config import Config
from medseg.models.patch_size import check_patch
from medseg.shapes import IntTriple

HALVINGS = 5  # one by the tokens of 2 voxels, four by merging


class SwinUNETRConfig(Config):
    """Sizes of the network.

    Args:
        features: of a token at the finest level, a multiple of 12; the paper's 48, or 24 for half.
        depths: transformer blocks per level.
        heads: attention heads per level; they divide `features`, 2 `features`, 4 `features`, 8 `features`.
        window: tokens along each axis that attend to each other.
        version_2: with a residual convolution at the start of each level.
        dropout: share of features left out in training.
        checkpointing: compute activations again on the way back, which saves memory and costs time.
    """

    prefers: ClassVar[tuple[str, float]] = ("adamw", 4e-4)  # optimiser and learning rate of its paper
    name: Literal["swin-unetr"] = "swin-unetr"
    features: PositiveInt = 48
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2, 2)
    heads: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 6, 12, 24)
    window: PositiveInt = 7
    version_2: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    checkpointing: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> SwinUNETRConfig:
        if self.features % 12:
            raise ValueError(f"features ({self.features}) to be a multiple of 12")
        if any(self.features * 2**level % heads for level, heads in enumerate(self.heads)):
            raise ValueError(f"heads that divide features ({self.features}), doubled from level to level")
        return self

    @property
    def downsampling(self) -> IntTriple:
        return 2**HALVINGS, 2**HALVINGS, 2**HALVINGS

    def build(self, in_channels: int, classes: int, patch: IntTriple) -> nn.Module:
        """The network with random weights.

        Raises:
            ConfigError: a patch of this size cannot be learned from, see `check_patch`.
        """
        from monai.networks.nets.swin_unetr import SwinUNETR  # a recipe of another network does not wait for MONAI

        check_patch(self.name, patch, self.downsampling)
        # Its constructor reads numbers out of a tensor, and there are none on the meta device.
        with torch.device("cpu") if torch.get_default_device().type == "meta" else nullcontext():
            return SwinUNETR(
                in_channels=in_channels,
                out_channels=classes,
                depths=self.depths,
                num_heads=self.heads,
                window_size=self.window,
                feature_size=self.features,
                drop_rate=self.dropout,
                downsample="mergingv2",  # the default one left out two of each eight neighbours before MONAI 1.6
                use_v2=self.version_2,
                use_checkpoint=self.checkpointing,
            )
