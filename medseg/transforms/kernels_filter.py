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
def _add(values, weight, out):
    for i in range(out.size):
        out[i] += values[i] * weight


@compiled
def mix_planes(first, last, source, out, x_taps, x_shares, y_taps, y_shares, z_taps, z_shares):
    """Planes `first` to `last` of a grid whose voxels are weighted sums of the source's, one axis after the other.

    Taps are the source's voxels (new length, count) of an axis, shares their weights.
    """
    plane = np.empty((source.shape[1], source.shape[2]), np.float32)
    second = np.empty((out.shape[1], source.shape[2]), np.float32)
    for x in range(first, last):
        _weighted(source[x_taps[x, 0]].reshape(-1), x_shares[x, 0], plane.reshape(-1))
        for tap in range(1, x_taps.shape[1]):
            _add(source[x_taps[x, tap]].reshape(-1), x_shares[x, tap], plane.reshape(-1))
        for y in range(second.shape[0]):
            _weighted(plane[y_taps[y, 0]], y_shares[y, 0], second[y])
            for tap in range(1, y_taps.shape[1]):
                _add(plane[y_taps[y, tap]], y_shares[y, tap], second[y])
        for y in range(second.shape[0]):
            _mix_line(second[y], out[x, y], z_taps, z_shares)


@compiled
def _mix_line(old, new, taps, shares):
    for i in range(new.size):
        value = old[taps[i, 0]] * shares[i, 0]
        for tap in range(1, taps.shape[1]):
            value += old[taps[i, tap]] * shares[i, tap]
        new[i] = value
