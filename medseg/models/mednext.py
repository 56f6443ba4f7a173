"""MedNeXt: large depth-wise kernels in inverted bottlenecks.

Source: Roy et al., MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation, MICCAI 2023;
network from MONAI, but for the blocks between the levels.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from medseg.config import Config
from medseg.models.patch_size import check_patch
from medseg.shapes import IntTriple

LEVELS = 4  # halvings
SIZES: dict[str, dict[str, Any]] = {  # the paper's four: expansion of the bottlenecks, and blocks per level
    "S": {"expansion": (2, 2, 2, 2), "bottleneck": 2, "blocks": (2, 2, 2, 2), "bottom": 2},
    "B": {"expansion": (2, 3, 4, 4), "bottleneck": 4, "blocks": (2, 2, 2, 2), "bottom": 2},
    "M": {"expansion": (2, 3, 4, 4), "bottleneck": 4, "blocks": (3, 4, 4, 4), "bottom": 4},
    "L": {"expansion": (3, 4, 8, 8), "bottleneck": 8, "blocks": (3, 4, 8, 8), "bottom": 8},
}


class MedNeXtConfig(Config):
    """Size of the network.

    Args:
        size: S, B, M or L of the paper.
        kernel: voxels along every axis; L with 5 is the paper's best and slowest.
        filters: feature maps at the finest level.
        deep_supervision: whether the loss also sees an output of each coarser level.
    """

    prefers: ClassVar[tuple[str, float]] = ("adamw", 1e-3)  # optimiser and learning rate of its paper
    name: Literal["mednext"] = "mednext"
    size: Literal["S", "B", "M", "L"] = "B"
    kernel: Literal[3, 5, 7] = 3
    filters: PositiveInt = 32
    deep_supervision: bool = True

    @property
    def downsampling(self) -> IntTriple:
        return 2**LEVELS, 2**LEVELS, 2**LEVELS

    def build(self, in_channels: int, classes: int, patch: IntTriple) -> nn.Module:
        """The network with random weights.

        Raises:
            ConfigError: a patch of this size cannot be learned from, see `check_patch`.
        """
        from monai.networks.nets.mednext import MedNeXt  # a recipe of another network does not wait for MONAI

        check_patch(self.name, patch, self.downsampling)
        size = SIZES[self.size]
        network = MedNeXt(
            spatial_dims=3,
            init_filters=self.filters,
            in_channels=in_channels,
            out_channels=classes,
            encoder_expansion_ratio=size["expansion"],
            decoder_expansion_ratio=size["expansion"][::-1],
            bottleneck_expansion_ratio=size["bottleneck"],
            kernel_size=self.kernel,
            deep_supervision=self.deep_supervision,
            use_residual_connection=True,
            blocks_down=size["blocks"],
            blocks_bottleneck=size["bottom"],
            blocks_up=size["blocks"][::-1],
        )
        network.down_blocks = self._down_blocks()
        return Listed(network)

    def _down_blocks(self) -> nn.ModuleList:
        """From level to level, expanded as the level below, as in the paper's code; MONAI expands them as the level
        above, which gives M, B and L fewer weights than the paper's Table 1."""
        from monai.networks.blocks.mednext_block import MedNeXtDownBlock

        size = SIZES[self.size]
        below = (*size["expansion"][1:], size["bottleneck"])
        return nn.ModuleList(
            MedNeXtDownBlock(self.filters * 2**level, self.filters * 2 ** (level + 1), ratio, self.kernel,
                             use_residual_connection=True)
            for level, ratio in enumerate(below)
        )  # fmt: skip


class Listed(nn.Module):
    """A network whose outputs are a list instead of a tuple, as deep supervision asks."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        output = self.network(image)
        return output if isinstance(output, Tensor) else list(output)
