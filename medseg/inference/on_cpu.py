"""The same network, computed as a CPU does it fastest: channels side by side, instance norm and leaky ReLU in place.

Two things make PyTorch slow here. Of a single tile it computes convolutions with few rows by matrix products of its own
(`slow_conv3d`, about four times as slow as oneDNN), and instance norm makes a copy of what oneDNN has laid out.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.imaging.separable import spread
from medseg.inference.kernels_norm import SHORT, add_moments, scale_and_bend
from medseg.shapes import FloatArray

LAYOUT = torch.channels_last_3d
ROWS = 2**13  # voxels that one thread takes at a time; fixed, so that sums are the same for any number of threads
FEW_CHANNELS = 4  # an image's layout does not show in its strides, so that the weights have to say it


def on_cpu(model: nn.Module) -> nn.Module:
    """A copy of a network for prediction on the CPU in float32, with the same weights, which are shared.

    Convolutions go to oneDNN. Where instance norm follows one, and perhaps leaky ReLU, both are done in place. All else
    stays as it is. A network on another device, or without convolutions, is given back itself.
    """
    convolutions = [part for part in model.modules() if type(part) is nn.Conv3d]
    here = all(part.weight.device.type == "cpu" for part in convolutions)
    if not (convolutions and here and torch.backends.mkldnn.is_available()):
        return model
    shared: dict[int, Any] = {id(own): own for own in (*model.parameters(), *model.buffers())}
    copied = copy.deepcopy(model, shared)
    side_by_side = [part for part in copied.modules() if isinstance(part, nn.Sequential) and _join(part)]
    for part in copied.modules():
        if type(part) is nn.Conv3d and part.padding_mode == "zeros" and not isinstance(part.padding, str):
            part.__class__ = ConvolutionSideBySide if side_by_side else Convolution
        elif type(part) is nn.ConvTranspose3d and side_by_side:
            part.__class__ = TransposedSideBySide
    return copied


class Convolution(nn.Conv3d):
    """A convolution by oneDNN, whatever the number of tiles."""

    def forward(self, input: Tensor) -> Tensor:
        return self._by_library(input, self.weight)

    def _by_library(self, features: Tensor, weight: Tensor) -> Tensor:
        if features.device.type != "cpu" or features.dtype != torch.float32:
            return super().forward(features)
        assert not isinstance(self.padding, str)  # such a convolution is left as it is
        return torch.mkldnn_convolution(
            features, weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


class ConvolutionSideBySide(Convolution):
    """The same with the channels of a voxel side by side."""

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[1] <= FEW_CHANNELS:
            return self._by_library(input, self.weight.contiguous(memory_format=LAYOUT))
        return self._by_library(input.contiguous(memory_format=LAYOUT), self.weight)


class TransposedSideBySide(nn.ConvTranspose3d):
    """A transposed convolution whose result joins others that lie side by side; PyTorch turns small ones around."""

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return super().forward(input, output_size).contiguous(memory_format=LAYOUT)


class NormInPlace(nn.Module):
    """Instance norm and leaky ReLU of what nobody else reads; not to be learned through."""

    def __init__(self, norm: nn.InstanceNorm3d, slope: float) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.slope = norm.weight, norm.bias, norm.eps, slope

    def forward(self, features: Tensor) -> Tensor:
        features = features.contiguous(memory_format=LAYOUT)
        for own in features:
            voxels = own.permute(1, 2, 3, 0).view(-1, len(own)).numpy()
            _normalise(voxels, self._numbers(self.weight), self._numbers(self.bias), self.eps, self.slope)
        return features

    @staticmethod
    def _numbers(own: Tensor | None) -> FloatArray | None:
        return None if own is None else own.detach().numpy()


def _normalise(
    voxels: FloatArray, weight: FloatArray | None, bias: FloatArray | None, eps: float, slope: float
) -> None:
    """Voxels (voxels, C) with a mean of `bias` and a deviation of `weight`, bent by the slope; in place."""
    count, channels = voxels.shape
    ends = [*range(0, count, ROWS), count]
    parts = list(enumerate(pairwise(ends)))
    threads = torch.get_num_threads()
    pivot = voxels[:SHORT].mean(axis=0)
    moments = np.empty((len(parts), 2, channels))

    def add(some: Any) -> None:
        for k, (first, last) in some:
            add_moments(voxels, pivot, moments[k], first, last)

    def bend(some: Any) -> None:
        for _, (first, last) in some:
            scale_and_bend(voxels, scale, shift, slope, first, last)

    spread(add, parts, threads, voxels.size)
    offset, square = moments.sum(axis=0) / count
    factor = (1 if weight is None else weight) / np.sqrt(square - offset**2 + eps)
    scale = factor.astype(np.float32)
    shift = ((0 if bias is None else bias) - (pivot + offset) * factor).astype(np.float32)
    spread(bend, parts, threads, voxels.size)


def _join(part: nn.Sequential) -> bool:
    """Replaces instance norm and leaky ReLU after a convolution; whether there were any."""
    found = False
    steps = list(part)
    for k, (step, norm) in enumerate(pairwise(steps), 1):
        if type(step) is not nn.Conv3d or type(norm) is not nn.InstanceNorm3d or norm.track_running_stats:
            continue
        after = steps[k + 1] if k + 1 < len(steps) else None
        active = type(after) is nn.LeakyReLU
        part[k] = NormInPlace(norm, after.negative_slope if active else 1.0)  # type: ignore[union-attr]
        if active:
            part[k + 1] = nn.Identity()
        found = True
    return found
