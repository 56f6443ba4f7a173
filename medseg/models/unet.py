"""The 3D U-Net in nnU-Net's topology, with plain or with residual stages in its encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medseg.config import Config
from medseg.models.blocks import ISOTROPIC, Decoder, convolution, initialise, plain_stage, residual_stage
from medseg.models.patch_size import check_patch
from medseg.shapes import IntTriple

Stride = tuple[PositiveInt, PositiveInt, PositiveInt]
Kernel = tuple[Literal[1, 3, 5, 7], Literal[1, 3, 5, 7], Literal[1, 3, 5, 7]]


class Topology(Config):
    """What plain and residual U-Nets share.

    Args:
        channels: feature maps per resolution, finest first; multiples of 16 run fastest on a CPU.
        strides: between each two of the channels; default 2 along every axis.
        kernels: of the convolutions per resolution, such as (3, 3, 1) while slices are thick; default (3, 3, 3).
        stem_stride: stride of the first block; above 1 the finest features are coarser than the image and the logits
            are interpolated back up, which costs a fraction of the time.
        deep_supervision: number of extra, coarser outputs that the loss also sees; fewer by default where the levels
            allow no more.
    """

    prefers: ClassVar[tuple[str, float]] = ("sgd", 1e-2)  # optimiser and learning rate of nnU-Net
    channels: tuple[PositiveInt, ...] = Field(default=(32, 64, 128, 256, 320), min_length=3)
    strides: tuple[Stride, ...] | None = None
    kernels: tuple[Kernel, ...] | None = None
    stem_stride: Stride = (1, 1, 1)
    deep_supervision: int = Field(default=2, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _defaults_fit(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(channels := given.get("channels"), list | tuple):
            return given
        return {**cls._defaults(len(channels)), **given}

    @classmethod
    def _defaults(cls, levels: int) -> dict[str, Any]:
        """Defaults of a network of so many levels, where they are others than those of the preset."""
        return {"deep_supervision": max(0, min(cls.model_fields["deep_supervision"].default, levels - 2))}

    @model_validator(mode="after")
    def _levels_fit(self) -> Topology:
        levels = len(self.channels)
        if self.strides is not None and len(self.strides) != levels - 1:
            raise ValueError(f"{levels - 1} strides, one between each two of the channels")
        if self.kernels is not None and len(self.kernels) != levels:
            raise ValueError(f"{levels} kernels, one for each of the channels")
        if self.deep_supervision > levels - 2:
            raise ValueError(f"deep_supervision of at most {levels - 2} for {levels} channels")
        return self

    @property
    def downsampling(self) -> IntTriple:
        """By how much the deepest level is smaller along X, Y, Z; patches are multiples of it."""
        x, y, z = self.stem_stride
        for stride in self.all_strides:
            x, y, z = x * stride[0], y * stride[1], z * stride[2]
        return x, y, z

    @property
    def all_strides(self) -> tuple[IntTriple, ...]:
        """Strides between the levels, the default filled in."""
        return self.strides or ((2, 2, 2),) * (len(self.channels) - 1)

    @property
    def all_kernels(self) -> tuple[IntTriple, ...]:
        """Kernels of the levels, the default filled in."""
        return self.kernels or (ISOTROPIC,) * len(self.channels)


class UNetConfig(Topology):
    """nnU-Net's plain U-Net (PlainConvUNet); `convolutions` are those of each level, on the way down and up."""

    name: Literal["unet"] = "unet"
    convolutions: PositiveInt = 2

    def build(self, in_channels: int, classes: int, patch: IntTriple) -> UNet:
        """The network with random weights.

        Raises:
            ConfigError: a patch of this size cannot be learned from, see `check_patch`.
        """
        check_patch(self.name, patch, self.downsampling)
        return UNet(self, in_channels, classes, [self.convolutions] * len(self.channels), self.convolutions)


class ResEncConfig(Topology):
    """nnU-Net's residual-encoder U-Net (ResidualEncoderUNet).

    `resenc-m` and `resenc-l` are the same blocks: they differ in the patch and batch that `medseg plan` gives them, for
    9 and for 24 GB of graphics memory.

    Args:
        blocks: residual blocks per resolution, finest first; by default those of the preset, cut off or with its last
            number repeated where the channels are fewer or more.
    """

    name: Literal["resenc-m", "resenc-l"] = "resenc-m"
    channels: tuple[PositiveInt, ...] = Field(default=(32, 64, 128, 256, 320, 320), min_length=3)
    blocks: tuple[PositiveInt, ...] = (1, 3, 4, 6, 6, 6)
    deep_supervision: int = Field(default=3, ge=0)

    @classmethod
    def _defaults(cls, levels: int) -> dict[str, Any]:
        blocks = cls.model_fields["blocks"].default
        return {**super()._defaults(levels), "blocks": (*blocks, *blocks[-1:] * levels)[:levels]}

    @model_validator(mode="after")
    def _blocks_fit(self) -> ResEncConfig:
        if len(self.blocks) != len(self.channels):
            raise ValueError(f"{len(self.channels)} numbers of blocks, one for each of the channels")
        return self

    def build(self, in_channels: int, classes: int, patch: IntTriple) -> UNet:
        """The network with random weights.

        Raises:
            ConfigError: a patch of this size cannot be learned from, see `check_patch`.
        """
        check_patch(self.name, patch, self.downsampling)
        return UNet(self, in_channels, classes, self.blocks, 1)


class UNet(nn.Module):
    """Maps (B, C_in, X, Y, Z) to logits (B, classes, X, Y, Z).

    In training mode with deep supervision it returns a list instead: full resolution first, then coarser heads at
    their own sizes.

    Args:
        config: plain or residual.
        in_channels, classes: of the image and of the logits.
        counts: convolutions or residual blocks of each level of the encoder.
        decoder_count: convolutions of each level of the decoder.
    """

    def __init__(
        self,
        config: UNetConfig | ResEncConfig,
        in_channels: int,
        classes: int,
        counts: list[int] | tuple[int, ...],
        decoder_count: int,
    ) -> None:
        super().__init__()
        channels, kernels = config.channels, config.all_kernels
        strides = (config.stem_stride, *config.all_strides)
        residual = isinstance(config, ResEncConfig)
        self.stem = convolution(in_channels, channels[0], kernels[0]) if residual else nn.Identity()
        inputs = (channels[0] if residual else in_channels, *channels[:-1])
        stage = residual_stage if residual else plain_stage
        self.encoder = nn.ModuleList(map(stage, inputs, channels, kernels, strides, counts))
        self.decoder = Decoder(channels, config.all_strides, kernels, count=decoder_count, classes=classes,
                               supervised=config.deep_supervision)  # fmt: skip
        self.supervised = config.deep_supervision > 0
        self.enlarge = max(config.stem_stride) > 1
        initialise(self)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        skips, features = [], self.stem(image)
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        logits = self.decoder(skips)
        if self.enlarge:
            logits[0] = interpolate(logits[0], size=image.shape[2:], mode="trilinear", align_corners=False)
        return logits if self.training and self.supervised else logits[0]
