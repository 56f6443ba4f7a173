"""The slices that a scanner made, and the way from them to a volume's grid and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry
from medseg.shapes import BoolArray, FloatArray, IntArray

Labels = TypeVar("Labels", IntArray, BoolArray)
AIR_HU = -1024.0
ON_PLANE_MM = 0.1  # as far off its place as a slice of an even series may lie: positions are often rounded to 0.1 mm
PARALLEL_TOLERANCE = 2e-3  # cosines, and pixels relative to their size: headers round both


@dataclass(frozen=True, eq=False)
class Acquisition:
    """The acquired slices in order along the normal, and the grid of the volume that was made of them.

    Every slice has the pixel size and the axes X, Y of the grid and may be shifted against it (a tilted gantry);
    the planes of the grid lie between the first and the last slice, at their heights or between them (gaps).

    Args:
        shape: voxels of a slice along X, Y.
        affines: (N, 4, 4), RAS: `affines[k] @ (i, j, 0, 1)` is the centre of pixel (i, j) of slice k in mm; the third
            column is the unit normal.
        geometry: the volume's grid.
        tilt_deg: signed gantry tilt that was found, also when it was resampled away or kept.
        invented: indices along Z of the volume that no acquired slice stands for.

    Raises:
        GeometryError: slices that are not parallel to the grid's planes, of other pixel size, or out of order.
    """

    shape: tuple[int, int]
    affines: FloatArray
    geometry: Geometry
    tilt_deg: float = 0.0
    invented: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        affines = np.array(self.affines, dtype=np.float64)
        if affines.ndim != 3 or affines.shape[1:] != (4, 4) or not len(affines) or not np.isfinite(affines).all():
            raise GeometryError("no acquired slices", expected="4 x 4 affines", got=str(affines.shape))
        affines.setflags(write=False)
        object.__setattr__(self, "affines", affines)
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))
        object.__setattr__(self, "invented", tuple(int(index) for index in self.invented))
        axes, grid = affines[:, :3, :2], self.geometry.affine[:3, :2]
        if np.abs(axes - grid).max() > PARALLEL_TOLERANCE * np.linalg.norm(grid, axis=0).min():
            raise GeometryError("the slices have not the axes and the pixel size of the volume's planes")
        if len(affines) > 1 and np.diff(self.heights_mm).min() <= 0:
            raise GeometryError("the slices are not in the order of their positions along the normal")

    @classmethod
    def of_planes(cls, geometry: Geometry) -> Acquisition:
        """The acquisition of a volume whose planes are its slices.

        >>> Acquisition.of_planes(Geometry((4, 3, 2), np.eye(4))).plain
        True
        """
        x, y, z = geometry.shape
        affines = np.repeat(geometry.affine[None], z, axis=0)
        affines[:, :3, 2] = _normal(geometry)
        affines[:, :3, 3] += np.arange(z)[:, None] * geometry.affine[:3, 2]
        return cls((x, y), affines, geometry)

    @property
    def slices(self) -> int:
        """How many slices were acquired."""
        return len(self.affines)

    @cached_property
    def heights_mm(self) -> FloatArray:
        """(N,) position of each slice along the normal, from the grid's first plane."""
        return (self.affines[:, :3, 3] - self.geometry.affine[:3, 3]) @ _normal(self.geometry)

    @cached_property
    def plain(self) -> bool:
        """Whether slice k is plane k of the volume for every k: nothing was resampled."""
        x, y, z = self.geometry.shape
        if (x, y, z) != (*self.shape, self.slices):
            return False
        origins = self.geometry.world(np.arange(z)[:, None] * np.array([0.0, 0.0, 1.0]))
        return bool(np.linalg.norm(self.affines[:, :3, 3] - origins, axis=1).max() <= ON_PLANE_MM)

    @cached_property
    def plane_of_slice(self) -> IntArray:
        """(N,) the plane of the volume that lies nearest to each slice; the lower one of two that are equally near."""
        step = self.geometry.affine[:3, 2] @ _normal(self.geometry)
        return np.clip(np.ceil(self.heights_mm / step - 0.5), 0, self.geometry.shape[2] - 1).astype(np.int64)

    def to_grid(self, labels: Labels) -> Labels:
        """Integer or boolean labels (X, Y, N) drawn on the slices, on the volume's grid (X, Y, Z).

        Each plane takes the labels of the nearest slice, moved by whole pixels where the slice is shifted; beyond
        the slices there is background (0). An exact copy where the acquisition is `plain`.

        Raises:
            GeometryError: the array is not the acquisition's slices.
        """
        self._check(labels, (*self.shape, self.slices), "labels of the slices")
        if self.plain:
            return labels.copy(order="K")
        out = np.zeros(self.geometry.shape, dtype=labels.dtype, order=_order(labels))
        for z, (lower, upper, weight, shift) in enumerate(self._ways):
            _place(labels[:, :, upper if weight > 0.5 else lower], out[:, :, z], _whole(shift))
        return out

    def to_slices(self, labels: Labels) -> Labels:
        """Integer or boolean labels (X, Y, Z) of the volume, on the acquired slices (X, Y, N): undoes `to_grid`.

        Each slice takes the plane that lies nearest to it. Exact for slices that share their plane with no other.

        Raises:
            GeometryError: the array is not on the volume's grid.
        """
        self._check(labels, self.geometry.shape, "labels of the volume")
        if self.plain:
            return labels.copy(order="K")
        out = np.zeros((*self.shape, self.slices), dtype=labels.dtype, order=_order(labels))
        for k, z in enumerate(self.plane_of_slice):
            x, y = _whole(self._ways[z][3])
            _place(labels[:, :, z], out[:, :, k], (-x, -y))
        return out

    def hu_to_grid(self, slice_hu: Callable[[int], FloatArray], *, threads: int = 2) -> FloatArray:
        """HU (X, Y, Z) float32, x fastest, on the volume's grid, of slices that `slice_hu(k)` gives as (X, Y).

        One linear interpolation between the two slices around a plane, along the way from one to the other, and
        within the plane; air (-1024) beyond half a pixel outside the slices. Each thread keeps two slices, so the
        memory is the result and a few slices; slices at the seams between threads are asked for twice.
        """
        out = np.empty(self.geometry.shape, dtype=np.float32, order="F")
        blocks = np.array_split(np.arange(out.shape[2]), max(1, min(threads, out.shape[2])))
        with ThreadPoolExecutor(len(blocks)) as pool:
            list(pool.map(lambda block: self._fill(out, block, slice_hu), blocks))
        return out

    def _fill(self, out: FloatArray, planes: IntArray, slice_hu: Callable[[int], FloatArray]) -> None:
        kept: dict[int, FloatArray] = {}
        for z in planes:
            lower, upper, weight, shift = self._ways[z]
            kept = {k: kept[k] if k in kept else slice_hu(k) for k in (lower, upper)}
            plane = kept[lower]
            if weight:
                plane = plane + np.float32(weight) * (kept[upper] - plane)
            out[:, :, z] = _shifted(plane, shift, out.shape[:2])

    @cached_property
    def _ways(self) -> list[tuple[int, int, float, tuple[float, float]]]:
        """For each plane: the slices around it, the weight of the upper one, and its shift in pixels.

        Pixel (i, j) of the plane is pixel (i, j) + shift of the two slices: what lies between two slices is found on
        the line from one to the other, as on a sheared grid. A slice within ON_PLANE_MM is the plane.
        """
        normal, last = _normal(self.geometry), self.slices - 1
        origins = self.geometry.world(np.arange(self.geometry.shape[2])[:, None] * np.array([0.0, 0.0, 1.0]))
        inplane = np.linalg.pinv(self.geometry.affine[:3, :2])
        ways: list[tuple[int, int, float, tuple[float, float]]] = []
        for origin in origins:
            height = (origin - origins[0]) @ normal
            nearest = int(np.argmin(np.abs(self.heights_mm - height)))
            if abs(self.heights_mm[nearest] - height) <= ON_PLANE_MM or not last:
                lower = upper = nearest
                weight, start = 0.0, self.affines[nearest, :3, 3]
            else:
                lower = int(np.clip(np.searchsorted(self.heights_mm, height) - 1, 0, last - 1))
                upper = lower + 1
                gap = self.heights_mm[upper] - self.heights_mm[lower]
                weight = float(np.clip((height - self.heights_mm[lower]) / gap, 0, 1))
                start = (1 - weight) * self.affines[lower, :3, 3] + weight * self.affines[upper, :3, 3]
            x, y = np.round(inplane @ (origin - start), 3)
            ways.append((lower, upper, weight, (float(x), float(y))))
        return ways

    def _check(self, array: IntArray | BoolArray, shape: tuple[int, ...], what: str) -> None:
        if array.shape != shape:
            raise GeometryError(f"not the {what}", expected=str(shape), got=str(array.shape))

    def as_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for a JSON file; no identifiers."""
        return {
            "shape": list(self.shape),
            "affines": self.affines[:, :3].tolist(),
            "grid": {"shape": list(self.geometry.shape), "affine": self.geometry.affine[:3].tolist()},
            "tilt_deg": self.tilt_deg,
            "invented": list(self.invented),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Acquisition:
        """The acquisition that `as_dict` told.

        Raises:
            GeometryError: a key is missing, or its value is no acquisition.
        """
        last_row = np.array([0.0, 0.0, 0.0, 1.0])
        try:
            rows = np.array(facts["affines"], dtype=np.float64)
            affines = np.concatenate([rows, np.broadcast_to(last_row, (len(rows), 1, 4))], axis=1)
            x, y, z = (int(n) for n in facts["grid"]["shape"])
            affine = np.vstack([np.array(facts["grid"]["affine"], dtype=np.float64), last_row])
            width, height = (int(n) for n in facts["shape"])
            tilt, invented = float(facts["tilt_deg"]), tuple(int(z) for z in facts["invented"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise GeometryError(f"not the record of an acquisition ({type(error).__name__})") from error
        return cls((width, height), affines, Geometry((x, y, z), affine), tilt, invented)


def _normal(geometry: Geometry) -> FloatArray:
    """Unit normal of the planes, towards the side to which Z grows."""
    normal = np.cross(geometry.affine[:3, 0], geometry.affine[:3, 1])
    return normal / np.linalg.norm(normal) * np.sign(normal @ geometry.affine[:3, 2])


def _order(array: IntArray | BoolArray) -> Any:
    return "F" if array.flags.f_contiguous else "C"


def _whole(shift: tuple[float, float]) -> tuple[int, int]:
    return int(np.floor(shift[0] + 0.5)), int(np.floor(shift[1] + 0.5))


def _place(source: IntArray | BoolArray, target: IntArray | BoolArray, shift: tuple[int, int]) -> None:
    """Sets target[i, j] = source[i + x, j + y] wherever the source has such a pixel."""
    starts = [max(0, -s) for s in shift]
    ends = [min(t, n - s) for t, n, s in zip(target.shape, source.shape, shift, strict=True)]
    if all(end > start for start, end in zip(starts, ends, strict=True)):
        (x, y), (x0, y0), (x1, y1) = shift, starts, ends
        target[x0:x1, y0:y1] = source[x0 + x : x1 + x, y0 + y : y1 + y]


def _shifted(plane: FloatArray, shift: tuple[float, float], shape: tuple[int, ...]) -> FloatArray:
    """The plane at its pixels + shift, linear; its edge up to half a pixel outside, then air."""
    for axis in (0, 1):
        n, index = plane.shape[axis], np.arange(shape[axis]) + shift[axis]
        inside = np.clip(index, 0, n - 1)
        below = np.floor(inside).astype(np.intp)
        weight = (inside - below).astype(np.float32)
        moved = plane.take(below, axis=axis)
        if weight.any():
            weight = weight[:, None] if axis == 0 else weight
            moved = moved + weight * (plane.take(np.minimum(below + 1, n - 1), axis=axis) - moved)
        outside = (index < -0.5) | (index > n - 0.5)
        if outside.any():
            moved[(outside, slice(None)) if axis == 0 else (slice(None), outside)] = AIR_HU
        plane = moved
    return plane
