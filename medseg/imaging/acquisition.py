"""The slices that a scanner made, and the way from them to a volume's grid and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.imaging.cosines import TOLERANCE_DEG, skew_deg
from medseg.imaging.geometry import Geometry
from medseg.imaging.slice_shift import Moved, blend, moved, place
from medseg.shapes import BoolArray, FloatArray, IntArray

Scalar = TypeVar("Scalar", bound=np.generic)
ON_PLANE_MM = 0.1  # as far off its place as a slice of an even series may lie: positions are often rounded to 0.1 mm
SAME_MM = 1e-3
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
        if min(self.shape) < 1 or not set(self.invented) <= set(range(self.geometry.shape[2])):
            raise GeometryError("slices without pixels, or invented planes that the volume has not")
        if not np.isfinite(self.tilt_deg):
            raise GeometryError("the tilt is no number")
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

    @property
    def sheared(self) -> bool:
        """Whether the volume's axes are not at right angles: a gantry tilt was kept."""
        return max(skew_deg(self.geometry)) > TOLERANCE_DEG

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
        off = self.affines[:, :3, 3] - origins
        up = off @ _normal(self.geometry)
        aside = np.linalg.norm(off - up[:, None] * _normal(self.geometry), axis=1)
        return bool(np.abs(up).max() <= ON_PLANE_MM + SAME_MM and aside.max() <= 2 * ON_PLANE_MM)

    @cached_property
    def plane_of_slice(self) -> IntArray:
        """(N,) the plane of the volume that lies nearest to each slice; the lower one of two that are equally near."""
        nearest = np.ceil(self.heights_mm / self._step_mm - 0.5 - 1e-6)
        return np.clip(nearest, 0, self.geometry.shape[2] - 1).astype(np.int64)

    def to_grid(self, labels: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Integer or boolean labels (X, Y, N) drawn on the slices, on the volume's grid (X, Y, Z).

        Each plane takes the labels of the nearest slice, moved by whole pixels where the slice is shifted; beyond
        the slice there is background (0). An exact copy where the acquisition is `plain`.

        Raises:
            GeometryError: the array is not the acquisition's slices.
        """
        _check(labels, (*self.shape, self.slices), "labels of the slices")
        if self.plain:
            return labels.copy(order="K")
        out = np.zeros(self.geometry.shape, dtype=labels.dtype, order=_order(labels))
        for z in range(out.shape[2]):
            lower, upper, weight = self._between(z)
            k = upper if weight > 0.5 else lower
            place(labels[:, :, k], out[:, :, z], self._whole_shift(k, z))
        return out

    def to_slices(self, labels: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Integer or boolean labels (X, Y, Z) of the volume, on the acquired slices (X, Y, N): undoes `to_grid`.

        Each slice takes the plane that lies nearest to it. Exact for slices that share their plane with no other.

        Raises:
            GeometryError: the array is not on the volume's grid.
        """
        _check(labels, self.geometry.shape, "labels of the volume")
        if self.plain:
            return labels.copy(order="K")
        out = np.zeros((*self.shape, self.slices), dtype=labels.dtype, order=_order(labels))
        for k, z in enumerate(self.plane_of_slice.tolist()):
            x, y = self._whole_shift(k, z)
            place(labels[:, :, z], out[:, :, k], (-x, -y))
        return out

    def hu_to_grid(self, slice_hu: Callable[[int], FloatArray], *, threads: int = 2) -> FloatArray:
        """HU (X, Y, Z) float32, x fastest, on the volume's grid, of slices that `slice_hu(k)` gives as (X, Y).

        One linear interpolation, within the slices and along their normal between the two around a plane. Where only
        one of them reaches, its value; beyond half a pixel outside both, air (-1024). Each thread keeps two slices, so
        the memory is the result and a few slices; slices at the seams between threads are asked for twice.
        """
        out = np.empty(self.geometry.shape, dtype=np.float32, order="F")
        blocks = np.array_split(np.arange(out.shape[2]), max(1, min(threads, out.shape[2])))
        with ThreadPoolExecutor(len(blocks)) as pool:
            list(pool.map(lambda block: self._fill(out, block.tolist(), slice_hu), blocks))
        return out

    def _fill(self, out: FloatArray, planes: list[int], slice_hu: Callable[[int], FloatArray]) -> None:
        shifted: dict[tuple[int, float, float], Moved] = {}  # on an upright grid a slice is moved once for all planes
        read: dict[int, FloatArray] = {}
        for z in planes:
            lower, upper, weight = self._between(z)
            keys = [(k, *self._shift(k, z)) for k in ((lower, upper) if weight else (lower,))]
            read = {k: read[k] if k in read else slice_hu(k) for k, *_ in keys}
            shifted = {key: shifted[key] if key in shifted else moved(read[key[0]], key[1:], out.shape) for key in keys}
            blend(out[:, :, z], [shifted[key] for key in keys], np.float32(weight))

    def _between(self, z: int) -> tuple[int, int, float]:
        """The slices around a plane and the weight of the upper one, 0 where a slice is the plane."""
        height, last = z * self._step_mm, self.slices - 1
        nearest = int(np.argmin(np.abs(self.heights_mm - height)))
        if abs(self.heights_mm[nearest] - height) <= (ON_PLANE_MM if self._on_planes else SAME_MM) or not last:
            return nearest, nearest, 0.0
        lower = int(np.clip(np.searchsorted(self.heights_mm, height) - 1, 0, last - 1))
        below, above = self.heights_mm[lower : lower + 2]
        return lower, lower + 1, float(np.clip((height - below) / (above - below), 0, 1))

    def _shift(self, k: int, z: int) -> tuple[float, float]:
        """What to add to a pixel (i, j) of plane z for the pixel of slice k that lies below or above it."""
        shift = self._offsets[0][k] + z * self._offsets[1]
        whole = np.round(shift)
        near = np.abs(shift - whole) * self._pixel_mm <= ON_PLANE_MM
        x, y = np.where(near & self._unshifted, whole, np.round(shift, 3))
        return float(x), float(y)

    def _whole_shift(self, k: int, z: int) -> tuple[int, int]:
        x, y = np.floor(np.array(self._shift(k, z)) + 0.5).astype(int)
        return int(x), int(y)

    @cached_property
    def _offsets(self) -> tuple[FloatArray, FloatArray]:
        """(N, 2) the shift of each slice from plane 0 in pixels, and (2,) what every further plane adds to it."""
        pixels = np.linalg.pinv(self.geometry.affine[:3, :2]).T
        return (self.geometry.affine[:3, 3] - self.affines[:, :3, 3]) @ pixels, self.geometry.affine[:3, 2] @ pixels

    @cached_property
    def _unshifted(self) -> BoolArray:
        """(2,) whether the slices lie on whole pixels of their planes, up to rounded positions, along X and along Y."""
        own = self._offsets[0] + self.plane_of_slice[:, None] * self._offsets[1]
        return np.all(np.abs(own - np.round(own)) * self._pixel_mm <= ON_PLANE_MM, axis=0)

    @cached_property
    def _on_planes(self) -> bool:
        """Whether every slice lies at the height of a plane, up to rounded positions."""
        return bool(np.abs(self.heights_mm - self.plane_of_slice * self._step_mm).max() <= ON_PLANE_MM)

    @property
    def _pixel_mm(self) -> FloatArray:
        return np.array(self.geometry.spacing_mm[:2])

    @cached_property
    def _step_mm(self) -> float:
        return float(self.geometry.affine[:3, 2] @ _normal(self.geometry))

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


def _check(array: npt.NDArray[Any], shape: tuple[int, ...], what: str) -> None:
    if array.shape != shape:
        raise GeometryError(f"not the {what}", expected=str(shape), got=str(array.shape))


def _order(array: npt.NDArray[Any]) -> Any:
    return "F" if array.flags.f_contiguous else "C"
