"""One resampling for affine and elastic deformation, crop, image and labels together, and its inverse.

On the CPU compiled loops work out a row of source places, then take the image and the labels there; no field of
coordinates is held, no voxel is read that the result does not show, and the result does not depend on the number of
threads. On another device the same is done by torch operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

from medseg.shapes import IntTriple
from medseg.transforms import warp_torch
from medseg.transforms.compiled import in_slabs
from medseg.transforms.deformation import (
    AIR_HU,
    FOLD_FREE,
    AffineParams,
    ElasticParams,
    LabelInterpolation,
    Route,
    Warp,
    backward_route,
    forward_route,
    plain_box,
    voxel_map,
)
from medseg.transforms.entries import Entries
from medseg.transforms.kernels_warp import Classes, Shares, warp_slab

__all__ = [
    "AIR_HU",
    "FOLD_FREE",
    "AffineParams",
    "ElasticParams",
    "LabelInterpolation",
    "Warp",
    "unwarp_entries",
    "voxel_map",
    "warp_entries",
    "warp_image",
    "warp_labels",
]

UNCLIPPED = (-np.inf, np.inf)
Given = tuple[Tensor, list[float], tuple[float, float]]  # values, those beyond the source, ends to clip to
# Nearest and majority labels are only copied and compared, so integers of a size may share one compiled loop.
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def warp_image(image: Tensor, warp: Warp) -> Tensor:
    """Trilinear values of (channels, X, Y, Z) float32; `outside_hu` where the source lies beyond the outermost voxels.

    Within the outer half of a border voxel its value is repeated, so that image and labels end at the same place.
    """
    return _resampled([_given_image(image, warp)], forward_route(warp, _spatial(image)), warp)[0]


def warp_labels(labels: Tensor, warp: Warp) -> Tensor:
    """Labels under the same deformation as the image.

    Integers (R, X, Y, Z) of any type take the nearest voxel's value, or that with the largest interpolated share; no
    new value appears and ignored voxels (-1) stay ignored; beyond the image they become 0, background. Soft targets
    (C, X, Y, Z) are interpolated class by class, which keeps their sum of 1; beyond the image the background becomes 1
    and all else 0.
    """
    return _resampled([_given_labels(labels)], forward_route(warp, _spatial(labels)), warp)[0]


def warp_entries(entries: Entries, warp: Warp) -> Entries:
    """Image and labels under one deformation, in one pass; equal to `warp_image` and `warp_labels` bit by bit."""
    return _moved(entries, forward_route(warp, entries.shape), warp.target(entries.shape), warp)


def unwarp_entries(entries: Entries, warp: Warp, shape: IntTriple) -> Entries:
    """The inverse of `warp_entries` on a grid of `shape`: what was moved lies where it was, interpolated once more.

    Exact but for interpolation; an elastic part is inverted by substitution to 0.001 voxels. What the warped grid does
    not show, as all around a crop, becomes `outside_hu` and background.
    """
    return _moved(entries, backward_route(warp, shape), shape, warp)


def _moved(entries: Entries, route: Route, target: IntTriple, warp: Warp) -> Entries:
    given = [_given_image(image, warp) for image in entries.images.values()]
    given += [_given_labels(labels) for labels in entries.labels.values()]
    moved = iter(_resampled(given, route, warp, target))
    images = {key: next(moved) for key in entries.images}
    return replace(entries, images=images, labels={key: next(moved) for key in entries.labels})


def _given_image(image: Tensor, warp: Warp) -> Given:
    outside = AIR_HU if warp.outside_hu is None else warp.outside_hu
    return image, [outside] * len(image), warp.clip_hu or UNCLIPPED


def _given_labels(labels: Tensor) -> Given:
    return labels, [1.0] + [0.0] * (len(labels) - 1), UNCLIPPED


def _resampled(given: Sequence[Given], route: Route, warp: Warp, target: IntTriple | None = None) -> list[Tensor]:
    """Every tensor along the route, with its values beyond the source."""
    target = target or warp.target(route.source)
    box = plain_box(route, target)
    if box is not None:
        return [
            tensor[:, *box].clamp(*clip) if clip != UNCLIPPED else tensor[:, *box].clone() for tensor, _, clip in given
        ]
    majority = warp.interpolation == "linear_argmax"
    if given[0][0].device.type == "cpu":
        return _by_loops(given, route, target, majority)
    return by_torch(given, route, target, majority)


def by_torch(given: Sequence[Given], route: Route, target: IntTriple, majority: bool) -> list[Tensor]:
    """The torch operations of any device, which tests also run on the CPU."""
    places = warp_torch.source_places(route, target, given[0][0].device)
    inside = warp_torch.inside_source(route, places)
    take = warp_torch.majority if majority else warp_torch.nearest
    return [
        warp_torch.linear(tensor.clamp(*clip), places, inside, outside)
        if tensor.is_floating_point()
        else take(tensor, route, places, inside)
        for tensor, outside, clip in given
    ]


def _by_loops(given: Sequence[Given], route: Route, target: IntTriple, majority: bool) -> list[Tensor]:
    """One pass for each pair of an interpolated and an integer tensor, so one for an image with its labels."""
    results = [torch.empty(len(tensor), *target, dtype=tensor.dtype) for tensor, _, _ in given]
    shares, classes = [], []
    for (tensor, outside, clip), result in zip(given, results, strict=True):
        if tensor.is_floating_point():
            low, high = (np.float32(end) for end in clip)
            shares.append(Shares(_flat(tensor), np.array(outside, dtype=np.float32), result.numpy(), low, high))
        else:
            bits = BITS[tensor.element_size()]
            classes.append(Classes(_flat(tensor.view(bits)), result.view(bits).numpy(), majority))
    nothing, end = np.empty((0, *target), np.float32), np.float32(0)
    no_shares = Shares(np.empty((0, 1), np.float32), np.empty(0, np.float32), nothing, end, end)
    no_classes = Classes(np.empty((0, 1), np.int16), np.empty((0, *target), np.int16), majority)
    for both in zip_longest(shares, classes):
        in_slabs(warp_slab, target[0], route, both[0] or no_shares, both[1] or no_classes)
    return results


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().flatten(1).numpy()


def _spatial(tensor: Tensor) -> IntTriple:
    x, y, z = tensor.shape[1:]
    return x, y, z
