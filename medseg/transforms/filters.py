"""Separable filters as functions on tensors: compiled loops on the CPU, the same by torch on a GPU.

Both add up in one order, so that the result does not depend on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medseg.shapes import FloatArray, Triple
from medseg.transforms.compiled import in_slabs
from medseg.transforms.kernels_filter import blur_planes, mix_planes

Taps = tuple[np.ndarray, FloatArray]  # voxels of an axis and their weights, (new length, count) each
LEAST_SIGMA = 0.1  # in voxels; the neighbours would weigh less than 1e-21


def blurred(image: Tensor, sigmas: Triple) -> Tensor:
    """Gaussian blur of (C, X, Y, Z), standard deviations in voxels; cut at 3 sigma, border voxels repeat."""
    sizes = image.shape[1:]
    weights = [gaussian_weights(sigma if n > 1 else 0.0) for sigma, n in zip(sigmas, sizes, strict=True)]
    if all(len(side) == 1 for side in weights):
        return image
    if image.device.type != "cpu":
        return blurred_twin(image, weights)
    source = image.contiguous()
    out = torch.empty_like(source)
    sides = [np.array(side, np.float32) for side in weights]
    for channel, blur in zip(source.numpy(), out.numpy(), strict=True):
        in_slabs(blur_planes, sizes[0], channel, blur, *sides)
    return out


def blurred_twin(image: Tensor, weights: list[list[float]]) -> Tensor:
    """The same by torch: weighted sums of shifted copies."""
    for axis, side in enumerate(weights, 1):
        reach, length = len(side) - 1, image.shape[axis]
        if not reach:
            continue
        repeats = [reach if dim == axis else 1 for dim in range(image.ndim)]
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, length - 1, 1)
        padded = torch.cat([first.repeat(repeats), image, last.repeat(repeats)], dim=axis)
        blur = image * side[0]
        for step in range(1, reach + 1):
            pair = padded.narrow(axis, reach - step, length) + padded.narrow(axis, reach + step, length)
            blur += pair * side[step]
        image = blur
    return image


def gaussian_weights(sigma: float) -> list[float]:
    """From the centre outwards; both sides together sum to 1. Below a tenth of a voxel only the centre."""
    if sigma < LEAST_SIGMA:
        return [1.0]
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(math.ceil(3 * sigma) + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    return [weight / total for weight in weights]


def mixed(image: Tensor, taps: tuple[Taps | None, Taps | None, Taps | None]) -> Tensor:
    """(C, X, Y, Z) on another grid, whose voxels are weighted sums of the image's along one axis after the other.

    Args:
        image: float32.
        taps: for each axis the voxels (new length, count) and their weights; None where the axis stays.
    """
    if image.device.type != "cpu":
        return mixed_twin(image, taps)
    sides = [side or whole_taps(n) for side, n in zip(taps, image.shape[1:], strict=True)]
    numbers = [array for places, shares in sides for array in (places.astype(np.int64), shares.astype(np.float32))]
    out = image.new_empty(len(image), *(len(places) for places, _ in sides))
    for old, new in zip(image.contiguous().numpy(), out.numpy(), strict=True):
        in_slabs(mix_planes, len(new), old, new, *numbers)
    return out


def mixed_twin(image: Tensor, taps: tuple[Taps | None, Taps | None, Taps | None]) -> Tensor:
    """The same by torch."""
    for axis, side in enumerate(taps, 1):
        if side is None:
            continue
        view = [-1 if dim == axis else 1 for dim in range(image.ndim)]
        index, shares = on_device(side[0], image), on_device(side[1].astype(np.float32), image)
        total = image.index_select(axis, index[:, 0]) * shares[:, 0].view(view)
        for tap in range(1, side[0].shape[1]):
            total += image.index_select(axis, index[:, tap]) * shares[:, tap].view(view)
        image = total
    return image


def whole_taps(count: int) -> Taps:
    """Of an axis that stays as it is."""
    return np.arange(count)[:, None], np.ones((count, 1))


def on_device(values: np.ndarray, like: Tensor) -> Tensor:
    """A small array beside a tensor; the host does not wait for the copy."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device, non_blocking=True)
