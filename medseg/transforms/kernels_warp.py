"""Compiled resampling along a `Route`, row by row: places, then the image, then the labels, while the row is at hand.

The oracle of these loops is `warp_torch`, which does the same with torch operations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from medseg.shapes import FloatArray, IntArray
from medseg.transforms.compiled import compiled
from medseg.transforms.deformation import Route

ZERO, HALF = np.float32(0), np.float32(0.5)
MOST_STEPS = 100  # of the substitution for an inverse; random moves at the bound need about 15
CLOSE = 1e-4  # voxels; a step by less ends the substitution


Single = float | np.floating[Any]
Whole = int | np.integer[Any]


class Shares(NamedTuple):
    """What is interpolated: an image or soft targets.

    Args:
        source: (C, voxels) float32.
        outside: (C,) float32, of voxels from beyond the source.
        moved: (C, X, Y, Z) float32, written.
        low, high: values of the source are clipped to them as they are read.
    """

    source: FloatArray
    outside: FloatArray
    moved: FloatArray
    low: Single
    high: Single


class Classes(NamedTuple):
    """What is taken over: integer labels, (R, voxels) and (R, X, Y, Z); `majority` for the largest share."""

    source: IntArray
    moved: IntArray
    majority: bool


@compiled
def warp_slab(first: int, last: int, route: Route, shares: Shares, classes: Classes) -> None:
    """Writes the planes X from `first` to `last` of both results."""
    rows, length = shares.moved.shape[2], shares.moved.shape[3]
    places = np.empty((3, length), dtype=np.float32)
    nearest = np.empty(length, dtype=np.int64)
    for x in range(first, last):
        bend = _plane_controls(route, x)
        for y in range(rows):
            if route.backwards:
                _backward_row(route, x, y, places)
            else:
                _forward_row(route, bend, x, y, places)
            _nearest_row(route, places, nearest)
            if shares.source.shape[0] > 0:
                _linear_row(route, places, nearest, shares, shares.moved[:, x, y])
            if classes.source.shape[0] > 0 and classes.majority:
                _majority_row(route, places, nearest, classes.source, classes.moved[:, x, y])
            elif classes.source.shape[0] > 0:
                _take_row(nearest, classes.source, classes.moved[:, x, y])


@compiled
def _weights(t: float) -> tuple[float, float, float, float]:
    s = 1 - t
    return s * s * s / 6, (t * t * (3 * t - 6) + 4) / 6, (t * (t * (3 - 3 * t) + 3) + 1) / 6, t * t * t / 6


@compiled
def _plane_controls(route: Route, x: int) -> FloatArray:
    """The control points (3, B, C) that bend plane x: those along X summed up."""
    controls = route.controls
    plane = np.zeros((3, controls.shape[2], controls.shape[3]))
    if controls.shape[1] > 0 and not route.backwards:
        cell = int(x * route.rate[0])
        weights = _weights(x * route.rate[0] - cell)
        for tap in range(4):
            plane += weights[tap] * controls[:, cell + tap]
    return plane


@compiled
def _forward_row(route: Route, bend: FloatArray, x: int, y: int, places: FloatArray) -> None:
    matrix, length = route.matrix, places.shape[1]
    for axis in range(3):
        base = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 3]
        for z in range(length):
            places[axis, z] = np.float32(base + matrix[axis, 2] * z)
    if bend.shape[1] == 0:
        return
    cell = int(y * route.rate[1])
    weights = _weights(y * route.rate[1] - cell)
    line = np.zeros((3, bend.shape[2]))
    for tap in range(4):
        line += weights[tap] * bend[:, cell + tap]
    for z in range(length):
        cell = int(z * route.rate[2])
        a, b, c, d = _weights(z * route.rate[2] - cell)
        for axis in range(3):
            shift = (
                a * line[axis, cell] + b * line[axis, cell + 1] + c * line[axis, cell + 2] + d * line[axis, cell + 3]
            )
            places[axis, z] += np.float32(shift)


@compiled
def _backward_row(route: Route, x: int, y: int, places: FloatArray) -> None:
    """Solves p = q + d(p) from the d of the two voxels before; rows start anew, so that no cut between slabs shows."""
    matrix, shift, before, there = route.matrix, np.zeros(3), np.zeros(3), np.empty(3)
    for z in range(places.shape[1]):
        for axis in range(3):
            there[axis] = matrix[axis, 0] * x + matrix[axis, 1] * y + (matrix[axis, 2] * z + matrix[axis, 3])
            shift[axis], before[axis] = (2 * shift[axis] - before[axis] if z > 1 else shift[axis]), shift[axis]
        if route.controls.shape[1] > 0:
            for _ in range(MOST_STEPS):
                if _follow(route, there, shift) < CLOSE:
                    break
        for axis in range(3):
            places[axis, z] = np.float32(there[axis] + shift[axis])


@compiled
def _follow(route: Route, there: FloatArray, shift: FloatArray) -> float:
    """Puts d(there + shift) into `shift`; by how many voxels it changed. Beyond the grid d stays as at its edge."""
    controls = route.controls
    i, u = _cell((there[0] + shift[0]) * route.rate[0], controls.shape[1])
    j, v = _cell((there[1] + shift[1]) * route.rate[1], controls.shape[2])
    k, w = _cell((there[2] + shift[2]) * route.rate[2], controls.shape[3])
    along_x, along_y, along_z = _weights(u), _weights(v), _weights(w)
    change = 0.0
    for axis in range(3):
        total = 0.0
        for a in range(4):
            for b in range(4):
                line = controls[axis, i + a, j + b]
                share = along_z[0] * line[k] + along_z[1] * line[k + 1] + along_z[2] * line[k + 2]
                total += along_x[a] * along_y[b] * (share + along_z[3] * line[k + 3])
        change = max(change, abs(total - shift[axis]))
        shift[axis] = total
    return change


@compiled
def _cell(place: float, count: int) -> tuple[int, float]:
    place = min(max(place, 0.0), count - 3.0)
    cell = min(int(place), count - 4)
    return cell, place - cell


@compiled
def _nearest_row(route: Route, places: FloatArray, nearest: IntArray) -> None:
    """Flat index of the nearest source voxel, -1 beyond the source; ends half a voxel beyond the outermost centres."""
    nx, ny, nz = route.source
    for z in range(places.shape[1]):
        x, y, w = places[0, z], places[1, z], places[2, z]
        if route.repeats:
            x, y, w = _held(x, nx), _held(y, ny), _held(w, nz)
        x, y, w = np.rint(x), np.rint(y), np.rint(w)
        inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny) & (w >= 0) & (w < nz)
        index = (np.int64(np.int32(x)) * ny + np.int64(np.int32(y))) * nz + np.int64(np.int32(w))
        nearest[z] = index if inside else -1


@compiled
def _held(place: Single, count: int) -> Single:
    return min(max(place, ZERO), np.float32(count - 1))


@compiled
def _corner(place: Single, count: int, stride: int) -> tuple[Whole, int, Single]:
    """Offset of the lower neighbour, offset from it to the upper one, and the share of the upper one."""
    place = _held(place, count)
    lower = np.int64(place)
    return lower * stride, (stride if lower < count - 1 else 0), place - np.float32(lower)


@compiled
def _clipped(value: Single, shares: Shares) -> Single:
    return min(max(value, shares.low), shares.high)


@compiled
def _linear_row(route: Route, places: FloatArray, nearest: IntArray, shares: Shares, moved: FloatArray) -> None:
    nx, ny, nz = route.source
    for z in range(places.shape[1]):
        if nearest[z] < 0:
            for channel in range(moved.shape[0]):
                moved[channel, z] = shares.outside[channel]
            continue
        i, dx, u = _corner(places[0, z], nx, ny * nz)
        j, dy, v = _corner(places[1, z], ny, nz)
        k, dz, w = _corner(places[2, z], nz, 1)
        at = i + j + k
        for channel in range(moved.shape[0]):
            line = shares.source[channel]  # unsigned indices spare the test for negative ones
            a, b = _clipped(line[np.uintp(at)], shares), _clipped(line[np.uintp(at + dy)], shares)
            c, d = _clipped(line[np.uintp(at + dx)], shares), _clipped(line[np.uintp(at + dx + dy)], shares)
            a += w * (_clipped(line[np.uintp(at + dz)], shares) - a)
            b += w * (_clipped(line[np.uintp(at + dy + dz)], shares) - b)
            c += w * (_clipped(line[np.uintp(at + dx + dz)], shares) - c)
            d += w * (_clipped(line[np.uintp(at + dx + dy + dz)], shares) - d)
            a += v * (b - a)
            c += v * (d - c)
            moved[channel, z] = a + u * (c - a)


@compiled
def _take_row(nearest: IntArray, source: IntArray, moved: IntArray) -> None:
    for reader in range(source.shape[0]):
        for z in range(nearest.shape[0]):
            if nearest[z] < 0:
                moved[reader, z] = 0
            else:
                moved[reader, z] = source[reader, np.uintp(nearest[z])]


@compiled
def _majority_row(route: Route, places: FloatArray, nearest: IntArray, source: IntArray, moved: IntArray) -> None:
    """The class with the largest share among the eight neighbours; of equal ones that of the nearest neighbour."""
    nx, ny, nz = route.source
    around, share = np.empty(8, dtype=source.dtype), np.empty(8, dtype=np.float32)
    for z in range(places.shape[1]):
        if nearest[z] < 0:
            moved[:, z] = 0
            continue
        i, dx, u = _corner(places[0, z], nx, ny * nz)
        j, dy, v = _corner(places[1, z], ny, nz)
        k, dz, w = _corner(places[2, z], nz, 1)
        near = -1
        for reader in range(source.shape[0]):
            if _all_alike(source[reader], i + j + k, dx, dy, dz, around):
                moved[reader, z] = around[0]
                continue
            if near < 0:
                near = _shares(u, v, w, share)
            moved[reader, z] = around[_largest(around, share, near)]


@compiled
def _all_alike(line: IntArray, at: int, dx: int, dy: int, dz: int, around: IntArray) -> bool:
    """Puts the eight neighbours into `around`, the upper ones of X last, and tells whether they are one class."""
    around[0], around[1] = line[np.uintp(at)], line[np.uintp(at + dz)]
    around[2], around[3] = line[np.uintp(at + dy)], line[np.uintp(at + dy + dz)]
    around[4], around[5] = line[np.uintp(at + dx)], line[np.uintp(at + dx + dz)]
    around[6], around[7] = line[np.uintp(at + dx + dy)], line[np.uintp(at + dx + dy + dz)]
    differ = 0
    for corner in range(1, 8):
        differ |= around[corner] ^ around[0]
    return differ == 0


@compiled
def _shares(u: Single, v: Single, w: Single, share: FloatArray) -> int:
    """Puts the weights of the eight corners into `share`; the nearest corner."""
    for corner in range(4):
        both = (u if corner > 1 else 1 - u) * (v if corner % 2 else 1 - v)
        share[2 * corner], share[2 * corner + 1] = both * (1 - w), both * w
    return (4 if u > HALF else 0) + (2 if v > HALF else 0) + (1 if w > HALF else 0)


@compiled
def _largest(around: IntArray, share: FloatArray, near: int) -> int:
    """The corner whose class has the largest share, and of equal ones `near`."""
    best, most = near, _total(around, share, near)
    if most > HALF:
        return best
    for corner in range(8):
        total = _total(around, share, corner)
        if total > most:
            best, most = corner, total
    return best


@compiled
def _total(around: IntArray, share: FloatArray, corner: int) -> Single:
    total = ZERO
    for other in range(8):
        total += share[other] if around[other] == around[corner] else ZERO
    return total


@compiled
def rename_slab(first: int, last: int, names: IntArray, source: IntArray, moved: IntArray) -> None:
    """Writes `names[label]` for the flat labels from `first` to `last`; labels that are no index of it stay."""
    for voxel in range(first, last):
        label = source[voxel]
        moved[voxel] = names[label] if 0 <= label < names.shape[0] else label
