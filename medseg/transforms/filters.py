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
from medseg.transforms.kernels_filter import blur_planes, mix_rows, mix_within

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


def mixed_along(image: Tensor, axis: int, places: np.ndarray, weights: FloatArray) -> Tensor:
    """The image with `axis` replaced: each new voxel the sum of `weights` times the voxels at `places`.

    Args:
        image: float32, any number of axes.
        axis: of the image.
        places: (new length, taps) voxels of the axis.
        weights: (new length, taps).
    """
    if image.device.type != "cpu":
        return mixed_along_twin(image, axis, places, weights)
    shape = [*image.shape[:axis], len(places), *image.shape[axis + 1 :]]
    out, source = image.new_empty(shape), image.contiguous().numpy()
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    numbers = places.astype(np.int64), weights.astype(np.float32)
    if inner == 1:
        in_slabs(mix_within, outer, source.reshape(outer, -1), out.numpy().reshape(outer, -1), *numbers)
    else:
        old, new = source.reshape(outer, -1, inner), out.numpy().reshape(outer, -1, inner)
        in_slabs(mix_rows, outer * len(places), old, new, *numbers)
    return out


def mixed_along_twin(image: Tensor, axis: int, places: np.ndarray, weights: FloatArray) -> Tensor:
    """The same by torch."""
    view = [-1 if dim == axis else 1 for dim in range(image.ndim)]
    index, share = on_device(places, image), on_device(weights.astype(np.float32), image)
    total = image.index_select(axis, index[:, 0]) * share[:, 0].view(view)
    for tap in range(1, places.shape[1]):
        total += image.index_select(axis, index[:, tap]) * share[:, tap].view(view)
    return total


def on_device(values: np.ndarray, like: Tensor) -> Tensor:
    """A small array beside a tensor; the host does not wait for the copy."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device, non_blocking=True)
