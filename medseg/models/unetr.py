"""UNETR: a vision transformer encoder with a convolutional decoder.

Source: Hatamizadeh et al., UNETR, WACV 2022; network from MONAI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import nn

from medseg.config import Config
from medseg.models.patch_size import check_patch
from medseg.shapes import IntTriple

TOKEN_VOXELS = 16  # MONAI's UNETR cuts the patch into tokens of 16^3 voxels


class UNETRConfig(Config):
    """Sizes of the transformer (`hidden`, `mlp`, `heads`; 12 layers) and of the decoder (`features`).

    By default there are 12 heads, or the most below that divide `hidden`.
    """

    prefers: ClassVar[tuple[str, float]] = ("adamw", 1e-4)  # optimiser and learning rate of its paper
    name: Literal["unetr"] = "unetr"
    hidden: int = Field(default=768, gt=0)
    mlp: int = Field(default=3072, gt=0)
    heads: int = Field(default=12, gt=0)
    features: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _defaults_fit(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(hidden := given.get("hidden"), int) or hidden < 1:
            return given
        most = cls.model_fields["heads"].default
        return {"heads": next(heads for heads in range(most, 0, -1) if hidden % heads == 0), **given}

    @model_validator(mode="after")
    def _heads_divide(self) -> UNETRConfig:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) to be a multiple of heads ({self.heads})")
        return self

    @property
    def downsampling(self) -> IntTriple:
        return TOKEN_VOXELS, TOKEN_VOXELS, TOKEN_VOXELS

    def build(self, in_channels: int, classes: int, patch: IntTriple) -> nn.Module:
        """The network with random weights for patches of exactly this size (position embeddings are learned).

        Raises:
            ConfigError: a patch that is no multiple of 16.
        """
        from monai.networks.nets.unetr import UNETR  # a recipe of another network does not wait for MONAI

        check_patch(self.name, patch, self.downsampling, deepest=1)  # one token is normed over its features
        network = UNETR(
            in_channels=in_channels,
            out_channels=classes,
            img_size=patch,
            feature_size=self.features,
            hidden_size=self.hidden,
            mlp_dim=self.mlp,
            num_heads=self.heads,
            dropout_rate=self.dropout,
        )
        _drop_cross_attention(network)
        return network


def _drop_cross_attention(network: nn.Module) -> None:
    """Takes out the norms of a cross-attention that UNETR does not have.

    Unused weights would be stored, and training in several processes would wait for their gradients. Checkpoints that
    hold them can still be read.
    """
    from monai.networks.blocks.transformerblock import TransformerBlock

    blocks = {name: block for name, block in network.named_modules() if isinstance(block, TransformerBlock)}
    for block in blocks.values():
        block.norm_cross_attn = nn.Identity()  # type: ignore[assignment]
    unused = tuple(f"{name}.norm_cross_attn." for name in blocks)

    def leave_out(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for key in [key for key in state if key.removeprefix(prefix).startswith(unused)]:
            del state[key]

    network.register_load_state_dict_pre_hook(leave_out)
