"""Loops of separable filters over a channel (X, Y, Z): plane by plane, so that what is in work stays in the cache."""

from __future__ import annotations

import numpy as np

from medseg.transforms.compiled import compiled


@compiled
def blur_planes(first, last, source, out, x_weights, y_weights, z_weights):
    """Planes `first` to `last` of the symmetric separable filter; weights begin at the centre, border voxels repeat."""
    count, rows, columns = source.shape
    reach = z_weights.size - 1
    plane, second = np.empty((rows, columns), np.float32), np.empty((rows, columns), np.float32)
    line = np.empty(columns + 2 * reach, np.float32)
    for x in range(first, last):
        _weighted(source[x].reshape(-1), x_weights[0], plane.reshape(-1))
        for k in range(1, x_weights.size):
            before, after = source[max(x - k, 0)], source[min(x + k, count - 1)]
            _add_pair(before.reshape(-1), after.reshape(-1), x_weights[k], plane.reshape(-1))
        for y in range(rows):
            _weighted(plane[y], y_weights[0], second[y])
            for k in range(1, y_weights.size):
                _add_pair(plane[max(y - k, 0)], plane[min(y + k, rows - 1)], y_weights[k], second[y])
        for y in range(rows):
            line[:reach], line[reach + columns :] = second[y, 0], second[y, columns - 1]
            line[reach : reach + columns] = second[y]
            _weighted(second[y], z_weights[0], out[x, y])
            for k in range(1, z_weights.size):
                _add_pair(line[reach - k : reach - k + columns], line[reach + k :], z_weights[k], out[x, y])


@compiled
def _weighted(values, weight, out):
    for i in range(out.size):
        out[i] = values[i] * weight


@compiled
def _add_pair(before, after, weight, out):
    for i in range(out.size):
        out[i] += (before[i] + after[i]) * weight


@compiled
def mix_rows(first, last, source, out, places, weights):
    """Rows `first` to `last` of (outer, length, inner): each a weighted sum of the source's rows at `places`."""
    length = out.shape[1]
    for row in range(first, last):
        outer, i = row // length, row % length
        _weighted(source[outer, places[i, 0]], weights[i, 0], out[outer, i])
        for tap in range(1, places.shape[1]):
            _add(source[outer, places[i, tap]], weights[i, tap], out[outer, i])


@compiled
def _add(values, weight, out):
    for i in range(out.size):
        out[i] += values[i] * weight


@compiled
def mix_within(first, last, source, out, places, weights):
    """The same along the last axis of (lines, length), for the lines `first` to `last`."""
    for line in range(first, last):
        old, new = source[line], out[line]
        for i in range(new.size):
            value = old[places[i, 0]] * weights[i, 0]
            for tap in range(1, places.shape[1]):
                value += old[places[i, tap]] * weights[i, tap]
            new[i] = value
