"""The median of small cubes: edges stay, fine detail and noise go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.channels import Channels, each_channel, on_channels, some_channels
from medseg.transforms.compiled import in_slabs
from medseg.transforms.filters import on_device
from medseg.transforms.kernels_median import LEVELS, running_median
from medseg.transforms.points import about, statistics
from medseg.transforms.ranges import CountRange, Probability, Rng, WorksIn, fires, whole
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase


class MedianConfig(StepBase):
    """The median of the cube around each voxel.

    Args:
        probability: of acting.
        size: range of the cube's edge in voxels, both ends included (nnU-Net DA5: 2 to 7).
        channel_probability: of each channel to be changed, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["median"] = "median"
    probability: Probability = 0.1
    size: CountRange = (2, 4)
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Median:
        """The transform; `options` as in `RandomTransform`."""
        return Median(keys, self, **options)


@dataclass(frozen=True)
class MedianParams:
    """Edge of the cube in voxels, and which channels (None: all)."""

    size: int
    channels: Channels | None = None


class Median(RandomTransform[MedianParams]):
    """Takes the median of the cube around each voxel."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: MedianConfig = MedianConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> MedianParams | None:
        if not fires(rng, self.config.probability):
            return None
        return MedianParams(whole(rng, self.config.size), some_channels(rng, self.config.channel_probability))

    def apply_image(self, image: Tensor, params: MedianParams) -> Tensor:
        if params.size == 1:
            return image
        return on_channels(image, params.channels, each_channel(lambda channel: median_of(channel, params.size)))


def median_of(channel: Tensor, size: int) -> Tensor:
    """(1, X, Y, Z), each voxel the median of the cube around it, to 1/16384 of the image's range.

    The image is mirrored at its border, and of an even number of voxels the upper of both middle ones counts, as in
    scipy.ndimage.
    """
    if channel.device.type != "cpu":
        return median_twin(channel, size)
    own = statistics(channel)
    low, step = float(own.low), (float(own.high) - float(own.low)) / (LEVELS - 1)
    if step == 0:
        return channel
    levels = about(channel[0], 1 / step, centre=low, target=0.5).to(torch.int16).numpy()
    padded, out = np.pad(levels, _margins(size), mode="symmetric"), torch.empty_like(channel)
    in_slabs(running_median, len(levels), padded, out[0].numpy(), size, size**3 // 2, np.float32(low), np.float32(step))
    return out


def median_twin(channel: Tensor, size: int) -> Tensor:
    """The same by torch, plane by plane, because all cubes of an image at once would not fit into memory."""
    low, high = torch.aminmax(channel)
    step = (high.double() - low.double()) / (LEVELS - 1)
    per_value = (1 / torch.where(step == 0, 1.0, step)).float()
    levels = ((channel[0] - low) * per_value + 0.5).floor()
    for axis, length in enumerate(levels.shape):
        mirrored = np.pad(np.arange(length), _margins(size), mode="symmetric")
        levels = levels.index_select(axis, on_device(mirrored, channel))
    planes = []
    for x in range(channel.shape[1]):
        cubes = levels[x : x + size].unfold(1, size, 1).unfold(2, size, 1)
        planes.append(cubes.movedim(0, -1).flatten(2).kthvalue(size**3 // 2 + 1, dim=-1).values)
    return (torch.stack(planes) * step.float() + low)[None]


def _margins(size: int) -> tuple[int, int]:
    """Voxels that a cube reaches back and ahead."""
    return size // 2, (size - 1) // 2
