"""Resampling along a `Route` with torch operations: what runs on a CUDA device, and the oracle of the compiled loops.

Nothing here waits for the device: sizes and parameters are known beforehand, and no value is read back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple
from medseg.transforms.deformation import Route, bspline

STEPS = 40  # of the substitution for an inverse; fixed, because asking whether it has converged would wait

Places = tuple[Tensor, Tensor, Tensor]


def source_places(route: Route, target: IntTriple, device: torch.device) -> Places:
    """For each voxel of the result its place in the source, three (X, Y, Z) float32 tensors in voxels."""
    straight = _straight(route, target, device)
    if route.controls.size == 0:
        return straight
    if not route.backwards:
        shift = displacement(route, target, device)
        return straight[0] + shift[0], straight[1] + shift[1], straight[2] + shift[2]
    places, controls = straight, on_device(route.controls, device).float()
    for _ in range(STEPS):
        shift = _displacement_at(route, controls, places)
        places = (straight[0] + shift[0], straight[1] + shift[1], straight[2] + shift[2])
    return places


def displacement(route: Route, target: IntTriple, device: torch.device) -> Tensor:
    """(3, X, Y, Z) float32: the displacement at every voxel of a grid, in the unit of the route's control points."""
    field = on_device(route.controls, device).float()
    for axis, (n, rate) in enumerate(zip(target, route.rate, strict=True)):
        step = np.arange(n) * rate
        first, weights = on_device(step.astype(np.int64), device), on_device(bspline(step % 1), device).float()
        view = [1, 1, 1, 1]
        view[axis + 1] = -1
        taps = [field.index_select(axis + 1, first + tap) * weights[tap].view(view) for tap in range(4)]
        field = taps[0] + taps[1] + taps[2] + taps[3]
    return field


def linear(source: Tensor, places: Places, inside: Tensor, outside: Sequence[float]) -> Tensor:
    """Trilinear values (C, X, Y, Z) of (C, X, Y, Z) float32; `outside`, one value a channel, beyond the source."""
    # align_corners=False puts voxel i of n at (2 i + 1) / n - 1; the last coordinate comes first
    scaled = [(place * 2 + 1) / n - 1 for place, n in zip(places, source.shape[1:], strict=True)]
    grid = torch.stack(scaled[::-1], dim=-1)
    values = F.grid_sample(source[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
    beyond = on_device(np.array(outside, dtype=np.float32), source.device)
    return torch.where(inside, values, beyond[:, None, None, None])


def nearest(labels: Tensor, route: Route, places: Places, inside: Tensor) -> Tensor:
    """The nearest voxels' values of integers (R, X, Y, Z); 0 beyond the source."""
    whole = [place.round().long().clamp(0, n - 1) for place, n in zip(places, route.source, strict=True)]
    return torch.where(inside, _taken(labels, whole), _background(labels))


def majority(labels: Tensor, route: Route, places: Places, inside: Tensor) -> Tensor:
    """The class with the largest share among the eight neighbours; of equal ones that of the nearest neighbour."""
    lower, upper, share = [], [], []
    for place, n in zip(places, route.source, strict=True):
        held = place.clamp(0, n - 1)
        below = held.long()
        lower.append(below)
        upper.append((below + 1).clamp(max=n - 1))
        share.append(held - below)
    found, weights = [], []
    for corner in range(8):
        bits = (corner >> 2, (corner >> 1) & 1, corner & 1)
        found.append(_taken(labels, [upper[axis] if bit else lower[axis] for axis, bit in enumerate(bits)]))
        x, y, z = (share[axis] if bit else 1 - share[axis] for axis, bit in enumerate(bits))
        weights.append(x * y * z)
    near = [torch.where(part > 0.5, above, below) for below, above, part in zip(lower, upper, share, strict=True)]
    best, most = _taken(labels, near), torch.full_like(share[0], -1.0).expand(labels.shape[:1] + share[0].shape)
    for label in [best, *found]:
        total = torch.zeros_like(share[0])
        for other, weight in zip(found, weights, strict=True):
            total = total + torch.where(other == label, weight, 0.0)
        best, most = torch.where(total > most, label, best), torch.maximum(total, most)
    return torch.where(inside, best, _background(labels))


def inside_source(route: Route, places: Places) -> Tensor:
    """(X, Y, Z) whether a place lies in the source, which ends half a voxel beyond its outermost centres."""
    x, y, z = (place.round() for place in places)
    if route.repeats:
        return torch.ones_like(x, dtype=torch.bool)
    a, b, c = route.source
    return (x >= 0) & (x < a) & (y >= 0) & (y < b) & (z >= 0) & (z < c)


def on_device(values: FloatArray | np.ndarray, device: torch.device) -> Tensor:
    """A small array as a tensor on the device, without waiting for it."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)


def _background(labels: Tensor) -> Tensor:
    return torch.zeros((), dtype=labels.dtype, device=labels.device)


def _straight(route: Route, target: IntTriple, device: torch.device) -> Places:
    rows = []
    for row in route.matrix:
        along = [on_device((row[axis] * np.arange(n)).astype(np.float32), device) for axis, n in enumerate(target)]
        rows.append(along[0][:, None, None] + (along[1][:, None] + (along[2] + float(row[3]))))
    return rows[0], rows[1], rows[2]


def _displacement_at(route: Route, controls: Tensor, places: Places) -> Tensor:
    """(3, X, Y, Z): the displacement at any places; beyond the grid as at its edge."""
    cells, weights = [], []
    for place, rate, count in zip(places, route.rate, controls.shape[1:], strict=True):
        step = (place * float(rate)).clamp(0, count - 3)
        cell = step.long().clamp(max=count - 4)
        cells.append(cell)
        weights.append(_weights(step - cell))
    total = torch.zeros(3, *places[0].shape, device=places[0].device)
    for tap in range(64):
        a, b, c = tap >> 4, (tap >> 2) & 3, tap & 3
        weight = weights[0][a] * weights[1][b] * weights[2][c]
        total = total + weight * _taken(controls, [cells[0] + a, cells[1] + b, cells[2] + c])
    return total


def _weights(t: Tensor) -> list[Tensor]:
    return [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]


def _taken(values: Tensor, index: Sequence[Tensor]) -> Tensor:
    """values[:, i, j, k] for tensors of whole i, j, k."""
    flat = (index[0] * values.shape[2] + index[1]) * values.shape[3] + index[2]
    return values.flatten(1).index_select(1, flat.flatten()).reshape(len(values), *flat.shape)
