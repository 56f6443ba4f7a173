"""The running median of a cube over a channel of grey levels, bit by bit, for many voxels at once."""

from __future__ import annotations

import numpy as np

from medseg.transforms.compiled import compiled

BITS = 13
LEVELS = 1 << BITS  # half a HU over the whole scale of CT
CHUNK = 1024  # voxels that are worked on together: their levels, trials and counts stay in the nearest cache


@compiled
def running_median(first, last, levels, out, size, rank, low, step):
    """Planes `first` to `last` of the result: `low + step * level`, the level being that of this rank in each cube.

    The level of a rank is the largest one below which no more than `rank` voxels of the cube lie. It is built from its
    highest bit down; each bit costs one count over the cube, in which 16 voxels or more go side by side, where a sort
    or a histogram takes them one by one. All lines of a plane are worked on as one, also places at the end of a line,
    where a cube would run over it; those are left out of the result.

    Args:
        first, last: planes.
        levels: int16 (X + size - 1, Y + size - 1, Z + size - 1).
        out: float32 (X, Y, Z).
        size: edge of the cube.
        rank: 0 for the least.
        low, step: grey value of level 0, and of a level more.
    """
    pitch = levels.shape[2]
    places = (out.shape[1] - 1) * pitch + out.shape[2]
    level, trial, below = np.empty(CHUNK, np.int16), np.empty(CHUNK, np.int16), np.empty(CHUNK, np.int16)
    for x in range(first, last):
        for start in range(0, places, CHUNK):
            count = min(CHUNK, places - start)
            level[:] = 0
            for bit in range(BITS - 1, -1, -1):
                for place in range(CHUNK):
                    trial[place] = level[place] + np.int16(1 << bit)
                below[:] = 0
                for i in range(x, x + size):
                    plane = levels[i].reshape(-1)
                    for j in range(size):
                        for k in range(size):
                            ahead = start + j * pitch + k
                            _count_below(plane[ahead : ahead + count], trial, below)
                for place in range(CHUNK):
                    level[place] = trial[place] if below[place] <= rank else level[place]
            for place in range(count):
                y, z = (start + place) // pitch, (start + place) % pitch
                if z < out.shape[2]:
                    out[x, y, z] = np.float32(level[place]) * step + low


@compiled
def _count_below(values, trial, below):
    for place in range(values.size):
        below[place] += np.int16(values[place] < trial[place])
