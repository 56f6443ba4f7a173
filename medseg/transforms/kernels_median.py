"""The running median of a cube over a channel of grey levels, bit by bit, for many voxels at once."""

from __future__ import annotations

import numpy as np

from medseg.transforms.compiled import compiled

BITS = 13
LEVELS = 1 << BITS  # half a HU over the whole scale of CT
CHUNK = 1024  # voxels that are worked on together: their levels, trials and counts stay in the nearest cache


@compiled
def running_median(first, last, levels, out, pitch, size, rank):
    """Planes `first` to `last`: the level of this rank in the cube that begins at each place of a plane.

    The level of a rank is the largest one below which no more than `rank` voxels of the cube lie. It is built from its
    highest bit down; each bit costs one count over the cube, in which 16 voxels or more go side by side, where a sort
    or a histogram takes them one by one.

    Args:
        first, last: planes.
        levels: int16 (planes, places); the voxels of a plane follow each other line by line.
        out: int16 (planes, places), `size - 1` planes and lines less; places at the end of a line, where a cube would
            run over it, hold no sense.
        pitch: places of a line.
        size: edge of the cube.
        rank: 0 for the least.
    """
    level, trial, below = np.empty(CHUNK, np.int16), np.empty(CHUNK, np.int16), np.empty(CHUNK, np.int16)
    for x in range(first, last):
        for start in range(0, out.shape[1], CHUNK):
            count = min(CHUNK, out.shape[1] - start)
            level[:] = 0
            for bit in range(BITS - 1, -1, -1):
                for place in range(CHUNK):
                    trial[place] = level[place] + np.int16(1 << bit)
                below[:] = 0
                for i in range(x, x + size):
                    for j in range(size):
                        for k in range(size):
                            ahead = start + j * pitch + k
                            _count_below(levels[i, ahead : ahead + count], trial, below)
                for place in range(CHUNK):
                    level[place] = trial[place] if below[place] <= rank else level[place]
            out[x, start : start + count] = level[:count]


@compiled
def _count_below(values, trial, below):
    for place in range(values.size):
        below[place] += np.int16(values[place] < trial[place])
