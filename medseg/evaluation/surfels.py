"""Area of a mask's surface, cell by cell: the 256 ways in which a plane can cut eight neighbouring voxels.

Eight voxel centres span a cell. The surface crosses every cell edge whose two ends differ, in its middle; the
crossings of a cell form closed polygons, and the polygons, cut into triangles, give area vectors (normal times area).
This is marching cubes (Lorensen and Cline 1987) on binary data, with two rules where geometry leaves a choice:

- on a face whose two diagonals differ, the rarer kind of voxel of the cell (foreground when there are four of each)
  is kept apart;
- a polygon that does not lie in one plane is cut into the triangles whose areas sum to the largest value.

Both rules were chosen because they reproduce the areas and the surface Dice of DeepMind's surface-distance, the
definition most used in the literature, to rounding error; nothing else here depends on them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from medseg.shapes import BoolArray, FloatArray, IntArray, Triple

CORNERS = np.array(list(product((0, 1), repeat=3)))
FULL_CELL = 255
Edge = tuple[int, int]
Triangulation = tuple[tuple[int, int, int], ...]


def cell_codes(mask: BoolArray) -> IntArray:
    """One byte (X+1, Y+1, Z+1) per cell: bit i says whether corner i of the cell lies in the mask.

    Beyond the array everything is background. Codes 0 and 255 are no surface.
    """
    codes = np.pad(mask, 1).view(np.uint8)
    # corner by corner would be eight looks at the whole; axis by axis it is three: a pair, a square, a cell
    codes = codes[:, :, :-1] | codes[:, :, 1:] << np.uint8(1)
    codes = codes[:, :-1] | codes[:, 1:] << np.uint8(2)
    return codes[:-1] | codes[1:] << np.uint8(4)


def border_of_cells(codes: IntArray) -> tuple[BoolArray, BoolArray]:
    """Which cells (N,) show that the voxel in their last, and in their first, corner has a face to the background.

    Of the six neighbours of a voxel three are corners of the cell that begins with it and three of the one it ends.
    """
    return _LAST_IS_BORDER[codes], _FIRST_IS_BORDER[codes]


def _corner_and_neighbours(corner: int, neighbours: tuple[int, int, int]) -> BoolArray:
    code = np.arange(256)
    marked = np.stack([code >> bit & 1 for bit in (corner, *neighbours)]).astype(bool)
    return marked[0] & ~marked[1:].all(axis=0)


_LAST_IS_BORDER = _corner_and_neighbours(7, (3, 5, 6))
_FIRST_IS_BORDER = _corner_and_neighbours(0, (1, 2, 4))


def cell_areas_mm2(spacing_mm: Triple) -> FloatArray:
    """Surface area in mm2 (256,) inside a cell of each code, for voxels of this size.

    >>> round(float(cell_areas_mm2((1.0, 1.0, 1.0))[1]), 4)  # one corner cut off: a triangle of three edge middles
    0.2165
    """
    x, y, z = spacing_mm
    return np.linalg.norm(_area_vectors() * np.array([y * z, x * z, x * y]), axis=2).sum(axis=1)


@lru_cache(maxsize=1)
def _area_vectors() -> FloatArray:
    """(256, T, 3) area vectors of the triangles in a cell of unit size, padded with zeros."""
    cells = [_cell_vectors(code) for code in range(256)]
    table = np.zeros((256, max(map(len, cells)), 3))
    for code, vectors in enumerate(cells):
        table[code, : len(vectors)] = np.reshape(vectors, (-1, 3))
    return table


def _cell_vectors(code: int) -> list[FloatArray]:
    inside = [bool(code >> bit & 1) for bit in range(8)]
    if sum(inside) > 4:  # the background is the rarer kind; its surface is the same surface
        inside = [not corner for corner in inside]
    return [vector for polygon in _polygons(inside) for vector in _largest_triangulation(polygon)]


def _faces() -> list[list[int]]:
    """Six cycles of four corner numbers."""
    number = {tuple(int(c) for c in corner): index for index, corner in enumerate(CORNERS)}
    cycles = []
    for axis, side in product(range(3), (0, 1)):
        square = [(0, 0), (1, 0), (1, 1), (0, 1)]
        corners = [tuple(np.insert(np.array(uv), axis, side).tolist()) for uv in square]
        cycles.append([number[corner] for corner in corners])
    return cycles


def _polygons(inside: list[bool]) -> list[FloatArray]:
    """Closed polygons (N, 3) through the middles of the crossed edges of one cell."""
    links: dict[Edge, list[Edge]] = {}
    for cycle in _faces():
        edges = [_edge(cycle[k], cycle[(k + 1) % 4]) for k in range(4)]
        crossed = [edge for edge in edges if inside[edge[0]] != inside[edge[1]]]
        if len(crossed) == 2:
            pairs = [(crossed[0], crossed[1])]
        else:  # none, or all four: then each inside corner is cut off by the two edges that meet in it
            pairs = [(edges[k - 1], edges[k]) for k in range(4) if crossed and inside[cycle[k]]]
        for first, second in pairs:
            links.setdefault(first, []).append(second)
            links.setdefault(second, []).append(first)
    return _closed_walks(links)


def _closed_walks(links: dict[Edge, list[Edge]]) -> list[FloatArray]:
    polygons, seen = [], set[Edge]()
    for start in sorted(links):
        walk: list[Edge] = []
        step: Edge | None = start
        while step is not None and step not in seen:
            walk.append(step)
            seen.add(step)
            step = next((edge for edge in links[step] if edge not in seen), None)
        if walk:
            polygons.append(np.array([(CORNERS[a] + CORNERS[b]) / 2 for a, b in walk]))
    return polygons


def _edge(a: int, b: int) -> Edge:
    return (a, b) if a < b else (b, a)


def _largest_triangulation(polygon: FloatArray) -> list[FloatArray]:
    choices = []
    for triangles in _triangulations(0, len(polygon) - 1):
        vectors = [_area_vector(*polygon[list(corners)]) for corners in triangles]
        choices.append((round(sum(float(np.linalg.norm(v)) for v in vectors), 9), vectors))
    return max(choices, key=lambda choice: choice[0])[1]


@lru_cache(maxsize=64)
def _triangulations(first: int, last: int) -> tuple[Triangulation, ...]:
    """Every way to cut the polygon `first .. last` into triangles of corner numbers."""
    if last - first < 2:
        return ((),)
    return tuple(
        (*left, *right, (first, middle, last))
        for middle in range(first + 1, last)
        for left in _triangulations(first, middle)
        for right in _triangulations(middle, last)
    )


def _area_vector(a: FloatArray, b: FloatArray, c: FloatArray) -> FloatArray:
    return np.cross(b - a, c - a) / 2
