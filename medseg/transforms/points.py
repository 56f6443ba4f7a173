"""Changes of grey value as functions on tensors: compiled loops on the CPU, the same by torch on a GPU.

On a GPU nothing is brought back to the host: statistics stay tensors without axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.transforms.compiled import in_slabs
from medseg.transforms.kernels_points import (
    about_centre,
    block_statistics,
    piecewise,
    range_gamma,
    window_contrast,
    window_gamma,
)

Number = float | Tensor
BLOCK = 2**16  # voxels; the parts of a sum are the same on any number of threads
TINY = 1e-7
Limits = tuple[Number, Number]


@dataclass(frozen=True)
class Statistics:
    """Of all voxels of a tensor: numbers on the CPU, tensors without axes elsewhere; `sd` divides by n - 1."""

    mean: Number
    sd: Number
    low: Number
    high: Number


def statistics(image: Tensor) -> Statistics:
    """Mean, standard deviation (0 of one voxel), minimum and maximum, equal on any number of threads.

    Example:
        >>> statistics(torch.tensor([1.0, 2.0, 6.0]))
        Statistics(mean=3.0, sd=2.6457513110645907, low=1.0, high=6.0)
    """
    if image.device.type != "cpu":
        return statistics_twin(image)
    flat = image.contiguous().numpy().reshape(-1)
    blocks = math.ceil(flat.size / BLOCK)
    parts = np.empty((blocks, 4))
    in_slabs(block_statistics, blocks, blocks, flat, parts)
    total, squares = parts[:, 0].sum(), parts[:, 1].sum()
    variance = max(squares - total * total / flat.size, 0.0) / max(flat.size - 1, 1)
    return Statistics(float(flat[0] + total / flat.size), math.sqrt(variance),
                      float(parts[:, 2].min()), float(parts[:, 3].max()))  # fmt: skip


def statistics_twin(image: Tensor) -> Statistics:
    """The same by torch, without a word to the host."""
    low, high = torch.aminmax(image)
    sd = image.double().std() if image.numel() > 1 else torch.zeros((), device=image.device)
    return Statistics(image.mean(dtype=torch.float64).float(), sd.float(), low, high)


def about(
    image: Tensor,
    factor: Number,
    centre: Number = 0.0,
    target: Number = 0.0,
    limits: tuple[Number, Number] | None = None,
) -> Tensor:
    """`(image - centre) * factor + target`, clipped to `limits` if given.

    Example:
        >>> about(torch.tensor([1.0, 2.0, 3.0]), factor=2.0, centre=2.0, target=2.0, limits=(1.0, 9.0))
        tensor([1., 2., 4.])
    """
    if image.device.type != "cpu":
        return about_twin(image, factor, centre, target, limits)
    low, high = limits or (-math.inf, math.inf)
    return mapped(about_centre, image, (centre, factor, target, low, high))


def about_twin(image: Tensor, factor: Number, centre: Number, target: Number, limits: Limits | None) -> Tensor:
    """The same by torch."""
    moved = (image - centre) * factor + target
    if limits is None:
        return moved
    low, high = (_beside(image, end) for end in limits)
    return torch.minimum(torch.maximum(moved, low), high)


def contrast_in(image: Tensor, window: tuple[float, float], factor: float) -> Tensor:
    """Differences inside the window times the factor, its middle at rest, slope 1 beyond it."""
    low, high = window
    middle = (low + high) / 2
    if image.device.type != "cpu":
        return image + (image.clamp(low, high) - middle) * (factor - 1)
    return mapped(window_contrast, image, (low, high, middle, factor - 1))


def gamma_in(image: Tensor, window: tuple[float, float], gamma: float) -> Tensor:
    """The window's share to the power gamma, its ends at rest, slope 1 beyond it."""
    low, high = window
    if image.device.type != "cpu":
        return gamma_in_twin(image, window, gamma)
    return mapped(window_gamma, image, (low, high, high - low, gamma))


def gamma_in_twin(image: Tensor, window: tuple[float, float], gamma: float) -> Tensor:
    """The same by torch."""
    low, high = window
    inside = image.clamp(low, high)
    return image + (((inside - low) / (high - low)) ** gamma * (high - low) + low - inside)


def gamma_between(image: Tensor, start: Number, end: Number, gamma: float) -> Tensor:
    """The way from `start` to `end` (which may be the lower one) to the power gamma; both ends rest."""
    if image.device.type != "cpu":
        return gamma_between_twin(image, start, end, gamma)
    return image if start == end else mapped(range_gamma, image, (start, end - start, gamma))


def gamma_between_twin(image: Tensor, start: Number, end: Number, gamma: float) -> Tensor:
    """The same by torch; an image of one value stays."""
    width = _beside(image, end - start)
    share = (image - start) / torch.where(width == 0, 1.0, width)
    return share.clamp(0, 1) ** gamma * width + start


def curved(image: Tensor, low: Number, high: Number, curve: Sequence[float]) -> Tensor:
    """A curve of straight pieces from `low` to `high`: `curve` holds shares at equal steps, the first 0, the last 1.

    Beyond both ends the first and the last piece go on.

    Example:
        >>> curved(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]), 0.0, 4.0, (0.0, 0.8, 1.0))
        tensor([0.0000, 1.6000, 3.2000, 3.6000, 4.0000])
    """
    if image.device.type != "cpu":
        return curved_twin(image, low, high, curve)
    if low == high:
        return image
    heights = np.asarray(curve, np.float64) * (high - low) + low
    steps = (len(curve) - 1) / (high - low)
    return mapped(piecewise, image, (low, steps), heights[:-1].astype(np.float32), np.diff(heights).astype(np.float32))


def curved_twin(image: Tensor, low: Number, high: Number, curve: Sequence[float]) -> Tensor:
    """The same by torch; an image of one value stays."""
    width = _beside(image, high - low)
    place = (image - low) / torch.where(width == 0, 1.0, width) * (len(curve) - 1)
    step = place.clamp(0, len(curve) - 2).long()
    shares = torch.tensor(curve).to(image.device, non_blocking=True)
    height, rise = shares[step], shares.diff()[step]
    return (height + rise * (place - step)) * width + low


def mapped(kernel: Callable[..., Any], image: Tensor, numbers: Sequence[Number], *arrays: Any) -> Tensor:
    """A new image, made voxel by voxel by a compiled loop `kernel(first, last, source, out, numbers, *arrays)`."""
    source = image.contiguous()
    out = torch.empty_like(source)
    flat = source.numpy().reshape(-1)
    in_slabs(kernel, flat.size, flat, out.numpy().reshape(-1), np.array(numbers, np.float32), *arrays)
    return out


def _beside(image: Tensor, value: Number) -> Tensor:
    """A number as a tensor on the image's device; filled there, because a copy would let the host wait."""
    return value if isinstance(value, Tensor) else torch.full((), value, device=image.device)
