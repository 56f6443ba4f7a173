"""Where a transform puts a volume and how labels come back from there, exactly and in physical units.

A move is an affine map of the world. The volume moves with its grid (`moved`), and the model sees it on a `canvas`: the
case's own lattice, enlarged by whole voxels until every voxel of the moved volume lies inside, padded with air. So
nothing is lost on the way there, and every voxel of the case's grid is compared on the way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.resample import AIR_HU, resample_linear, resample_nearest
from medseg.shapes import FloatArray, IntArray, Triple

ON_LATTICE_VOXELS = 1e-6  # a corner nearer to a voxel's border than this lies on it: rounding of sines
LEFT_RIGHT = 0  # the world axis across which left and right change places


@dataclass(frozen=True, eq=False)
class Way:
    """There and back.

    Args:
        moved: the case's voxels where the transform put them.
        canvas: the grid that the model sees.
        mirrored: left and right changed places, so that names of mirror pairs do as well.

    >>> grid = Geometry((4, 4, 4), np.eye(4))
    >>> turned(grid, 2, 90.0).back(np.ones((4, 4, 4), dtype=np.uint8), LabelSet({"background": 0, "a": 1})).shape
    (4, 4, 4)
    """

    moved: Geometry
    canvas: Geometry
    mirrored: bool = False

    @property
    def is_still(self) -> bool:
        """Whether the model sees the case's own grid at its own place."""
        return not self.mirrored and not self.moved.differences(self.canvas)

    def there(self, hu: FloatArray) -> FloatArray:
        """HU on the canvas, trilinear; air beyond the volume."""
        return resample_linear(hu, self.moved, self.canvas, outside=AIR_HU)

    def labels_there(self, labels: IntArray, label_set: LabelSet) -> IntArray:
        """Label values on the canvas, nearest voxel; background beyond the volume."""
        seen = resample_nearest(labels, self.moved, self.canvas, outside=label_set.values["background"])
        return swapped(seen, label_set) if self.mirrored else seen

    def back(self, labels: IntArray, label_set: LabelSet) -> IntArray:
        """Label values (X, Y, Z on the canvas) at the voxels of the case's own grid, nearest voxel.

        Raises:
            GeometryError: the labels do not fit the canvas.
        """
        if labels.shape != self.canvas.shape:
            raise GeometryError("the labels do not lie on the grid that the model was given",
                                expected=str(self.canvas.shape), got=str(labels.shape))  # fmt: skip
        found = labels if self.is_still else resample_nearest(labels, self.canvas, self.moved, outside=None)
        return swapped(found, label_set) if self.mirrored else found

    def described(self) -> dict[str, Any]:
        """Both grids and whether names are swapped, in plain values."""
        grids = {"moved": self.moved, "canvas": self.canvas}
        found = {name: {"shape": list(grid.shape), "affine": grid.affine.tolist()} for name, grid in grids.items()}
        return {**found, "mirrored": self.mirrored}


def still(grid: Geometry, dose: float = 0.0) -> Way:
    """The way of a transform that moves nothing."""
    return Way(grid, grid)


def turned(grid: Geometry, axis: int, angle_deg: float) -> Way:
    """Turned about the world axis R, A or S (0, 1, 2) through the middle; +90 about S turns R towards A."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    # exact at right angles, so that a quarter turn of a cubic lattice needs no interpolation
    cosine, sine = (round(float(f(np.radians(angle_deg))), 15) for f in (np.cos, np.sin))
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = cosine
    matrix[b, a], matrix[a, b] = sine, -sine
    return _moved(grid, matrix)


def scaled(grid: Geometry, factor: float) -> Way:
    """Enlarged (above 1) or shrunk about the middle."""
    return _moved(grid, np.eye(3) * factor)


def shifted(grid: Geometry, axis: int, distance_mm: float) -> Way:
    """Shifted along the world axis R, A or S, by the nearest whole voxels: nothing but the place changes."""
    shift = np.zeros(3)
    shift[axis] = distance_mm
    steps = np.rint(np.linalg.solve(grid.affine[:3, :3], shift))
    x, y, z = (grid.affine[:3, :3] @ steps).tolist()
    return _moved(grid, np.eye(3), (x, y, z))


def flipped(grid: Geometry, world: int, dose: float) -> Way:
    """Mirrored along the voxel axis that is nearest to the world axis R, A or S; not at all at a dose of 0."""
    if not dose:
        return still(grid)
    voxel = grid.axes[world][0]
    mirror = np.eye(4)
    mirror[voxel, voxel], mirror[voxel, 3] = -1, grid.shape[voxel] - 1
    return Way(Geometry(grid.shape, grid.affine @ mirror), grid, mirrored=world == LEFT_RIGHT)


def slice_axis(grid: Geometry) -> int:
    """The voxel axis across the slices: the one nearest to head and foot."""
    return grid.axes[2][0]


def thicker(grid: Geometry, thickness_mm: float) -> Way:
    """Slices of this thickness over the same field of view; the case's own where they are as thick already.

    The last slice may reach beyond the field of view.
    """
    axis = slice_axis(grid)
    own = grid.spacing_mm[axis]
    if thickness_mm <= own:
        return still(grid)
    ratio = thickness_mm / own
    shape = list(grid.shape)
    shape[axis] = int(np.ceil(shape[axis] / ratio - ON_LATTICE_VOXELS))
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (ratio - 1) / 2  # both begin at the outer border of the first slice
    affine[:3, axis] *= ratio
    return Way(grid, Geometry((shape[0], shape[1], shape[2]), affine))


def swapped(labels: IntArray, label_set: LabelSet) -> IntArray:
    """Label values with the two of each mirror pair exchanged."""
    found = labels.copy()
    for pair in label_set.mirror_pairs:
        a, b = (label_set.values[name] for name in pair)
        found[labels == a], found[labels == b] = b, a
    return found


def partner(label: str, label_set: LabelSet) -> str:
    """What a structure is called on the other side: the other one of its mirror pair, else its own name.

    >>> partner("a", LabelSet({"background": 0, "a": 1, "b": 2}, (("a", "b"),)))
    'b'
    """
    for a, b in label_set.mirror_pairs:
        if label in (a, b):
            return b if label == a else a
    return label


def _moved(grid: Geometry, matrix: FloatArray, shift_mm: Triple = (0.0, 0.0, 0.0)) -> Way:
    """The way of `x -> matrix (x - centre) + centre + shift` on world positions in mm."""
    centre = grid.world((np.array(grid.shape) - 1) / 2)
    world = np.eye(4)
    world[:3, :3] = matrix
    world[:3, 3] = centre - matrix @ centre + np.array(shift_mm)
    moved = Geometry(grid.shape, world @ grid.affine)
    return Way(moved, _canvas(grid, moved))


def _canvas(grid: Geometry, moved: Geometry) -> Geometry:
    """The lattice of `grid` over the boxes of both, outer borders of the voxels included."""
    ends = [(-0.5, n - 0.5) for n in grid.shape]
    corners = grid.index(moved.world(np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3)))
    low = np.minimum(np.floor(corners.min(axis=0) + 0.5 + ON_LATTICE_VOXELS), 0).astype(int)
    high = np.maximum(np.ceil(corners.max(axis=0) + 0.5 - ON_LATTICE_VOXELS), grid.shape).astype(int)
    (x, y, z), (a, b, c) = low.tolist(), (high - low).tolist()
    return grid.cropped((x, y, z), (a, b, c))
