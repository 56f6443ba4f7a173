"""The volumes of a viewer page: a crop around all outlines, small enough for one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry, reorient
from medseg.shapes import BoolArray, FloatArray, IntTriple

BORDER_MM = 20.0  # around all outlines
MOST_VOXELS = 2_500_000  # about 3 MB of compressed CT; more are averaged down by 2 along the finest axes
BITS = 16  # outlines in one volume of codes


@dataclass(frozen=True, eq=False)
class ViewedCase:
    """A case to look at in three planes.

    Args:
        case: identity.
        title: why it is shown, in a few words.
        geometry: the grid of all arrays.
        masks: (X, Y, Z) by rater or model name; leave out who did not read. One named `truth` is drawn dotted.
        hu: (X, Y, Z) in HU, or None: then outlines alone are shown.

    Raises:
        GeometryError: no mask, or an array of another shape than the grid.
    """

    case: str
    title: str
    geometry: Geometry
    masks: Mapping[str, BoolArray]
    hu: FloatArray | None = None

    def __post_init__(self) -> None:
        shapes = {mask.shape for mask in self.masks.values()} | ({self.hu.shape} if self.hu is not None else set())
        if shapes - {self.geometry.shape} or not self.masks:
            raise GeometryError(
                "the masks of a viewer page fit no single grid", where=self.case,
                expected=str(self.geometry.shape), got=str(sorted(shapes)),
            )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scene:
    """What a viewer page embeds; all arrays (X, Y, Z) lie on `geometry`, with X, Y, Z towards R, A, S.

    Args:
        geometry: of the crop. It is upright and starts at 0 mm: the page shows planes of voxels, not of the world.
        hu: int16, or None.
        masks: by name, in the order of the bits in `codes`.
        share: percent of readers who marked the voxel, uint8.
        first: voxel of the whole grid at which the crop starts.
        whole: voxels of the whole grid.
        steps: voxels of the whole grid that one voxel of the crop stands for along each axis.
        start: voxel of the crop through which the planes lie first: most disagreement.
        volumes_ml: by name, on the whole grid.
    """

    geometry: Geometry
    hu: npt.NDArray[np.int16] | None
    masks: Mapping[str, BoolArray]
    share: npt.NDArray[np.uint8]
    first: IntTriple
    whole: IntTriple
    steps: IntTriple
    start: IntTriple
    volumes_ml: Mapping[str, float]

    @property
    def codes(self) -> list[npt.NDArray[np.uint16]]:
        """The masks as bits, 16 in a volume."""
        names = list(self.masks)  # the masks of one volume at a time: they may be made when they are asked for
        parts = [names[first : first + BITS] for first in range(0, len(names), BITS)]
        return [_coded([self.masks[name] for name in part]) for part in parts]


def scene(viewed: ViewedCase, readers: Iterable[str]) -> Scene:
    """Crops, halves where needed, and counts the readers' votes.

    Args:
        readers: names whose share is shown: neither models nor the truth. Names without a mask are passed over.
    """
    grid = viewed.geometry.canonical()
    masks = {name: reorient(mask, viewed.geometry, grid) for name, mask in viewed.masks.items()}
    box = _box(masks.values(), grid)
    shape = tuple(side.stop - side.start for side in box)
    spacing = grid.spacing_mm
    steps = _steps(shape, spacing)
    halved = {name: _mean(mask[box], steps) >= 0.5 for name, mask in masks.items()}
    some = next(iter(halved.values()))
    x, y, z = (mm * step for mm, step in zip(spacing, steps, strict=True))
    votes = [halved[name] for name in readers if name in halved] or list(halved.values())
    return Scene(
        Geometry(some.shape, np.diag([x, y, z, 1.0])),
        None if viewed.hu is None else _hounsfield(_mean(reorient(viewed.hu, viewed.geometry, grid)[box], steps)),
        halved,
        np.rint(np.mean(votes, axis=0) * 100).astype(np.uint8),
        (box[0].start, box[1].start, box[2].start),
        grid.shape,
        steps,
        _start([*halved.values()]),
        {name: float(mask.sum()) * grid.voxel_ml for name, mask in masks.items()},
    )


def _box(masks: Iterable[BoolArray], grid: Geometry) -> tuple[slice, slice, slice]:
    """All outlines with a border; everything where nobody marked anything."""
    union = np.any([*masks], axis=0)
    sides = []
    for axis in range(3):
        marked = np.flatnonzero(union.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = (int(marked[0]), int(marked[-1]) + 1) if marked.size else (0, grid.shape[axis])
        border = int(np.ceil(BORDER_MM / grid.spacing_mm[axis]))
        sides.append(slice(max(first - border, 0), min(last + border, grid.shape[axis])))
    return sides[0], sides[1], sides[2]


def _steps(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> IntTriple:
    """Halves the finest axis, then the next one, until the crop is small enough or every axis is halved.

    >>> _steps((300, 300, 100), (0.7, 0.7, 3.0))
    (2, 2, 1)
    """
    steps = [1, 1, 1]
    for axis in sorted(range(3), key=lambda axis: spacing_mm[axis]):
        if np.prod([-(-n // step) for n, step in zip(shape, steps, strict=True)]) > MOST_VOXELS:
            steps[axis] = 2
    if steps[0] != steps[1]:  # pixels stay square
        steps[0] = steps[1] = 2
    return steps[0], steps[1], steps[2]


def _mean(array: FloatArray | BoolArray, steps: IntTriple) -> FloatArray:
    """Means of blocks; the last block may repeat the edge."""
    if steps == (1, 1, 1):
        return np.asarray(array, dtype=np.float32)
    odd = [(0, -n % step) for n, step in zip(array.shape, steps, strict=True)]
    padded = np.pad(array, odd, mode="edge") if np.any(odd) else array
    offsets = list(np.ndindex(steps))
    total = np.zeros([n // step for n, step in zip(padded.shape, steps, strict=True)], dtype=np.float32)
    for x, y, z in offsets:  # a sum of strided views: several times as fast as a mean over six axes
        total += padded[x :: steps[0], y :: steps[1], z :: steps[2]]
    return total / np.float32(len(offsets))


def _hounsfield(hu: FloatArray) -> npt.NDArray[np.int16]:
    return np.rint(np.clip(hu, -32768, 32767)).astype(np.int16)


def _start(masks: list[BoolArray]) -> IntTriple:
    """Along each axis the plane with most disagreement among all; with most marked voxels where there is none."""
    share = np.mean(masks, axis=0)
    spread = share * (1 - share)
    weight = spread if spread.any() else share
    if not weight.any():
        x, y, z = (n // 2 for n in share.shape)
        return x, y, z
    x, y, z = (int(weight.sum(axis=tuple(other for other in range(3) if other != axis)).argmax()) for axis in range(3))
    return x, y, z


def _coded(masks: list[BoolArray]) -> npt.NDArray[np.uint16]:
    codes = np.zeros(masks[0].shape, dtype=np.uint16)
    for bit, mask in enumerate(masks):
        codes |= mask.astype(np.uint16) << np.uint16(bit)
    return codes
