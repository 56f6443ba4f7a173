"""The structures of one label map to look at: a small scene of them, a viewer page and a picture of three planes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry, reorient
from medseg.imaging.labels import count_values
from medseg.imaging.prediction import Prediction
from medseg.report.palette import Stroke
from medseg.report.viewer import Shown, ToNifti, render, stills
from medseg.report.viewer_volumes import BORDER_MM, MOST_VOXELS, Scene, _hounsfield, _mean
from medseg.shapes import BoolArray, FloatArray, IntArray, IntTriple

LINE = 2.0
RESEARCH_ONLY = "research use only, not reviewed"
Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class LabelMasks(Mapping[str, BoolArray]):
    """The masks of a label map by name, each made when it is asked for."""

    labels: IntArray
    value_of: Mapping[str, int]

    def __getitem__(self, name: str) -> BoolArray:
        return self.labels == self.value_of[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.value_of)

    def __len__(self) -> int:
        return len(self.value_of)


def label_scene(prediction: Prediction, hu: FloatArray | None = None) -> Scene:
    """The crop around all structures, thinned out until it is small enough for one file; all of an empty label map.

    Labels are thinned out by taking the middle voxel of each block, grey values by its mean. Structures without a voxel
    stay, as empty masks. The volumes are those of the whole label map.

    Raises:
        GeometryError: `hu` has another shape than the labels.
    """
    labels, grid = prediction.labels, prediction.geometry
    if hu is not None and hu.shape != labels.shape:
        raise GeometryError("image and labels differ", expected=str(labels.shape), got=str(hu.shape))
    values = {name: prediction.label_set.values[name] for name in prediction.label_set.foreground}
    counts = dict(zip(*count_values(labels), strict=True))
    box = _box(labels, [value for value in values.values() if counts.get(value)], grid)
    steps = _steps([stop - start for start, stop in box], grid.spacing_mm)
    picked = [np.minimum(np.arange(start, stop, step) + step // 2, stop - 1)
              for (start, stop), step in zip(box, steps, strict=True)]  # fmt: skip
    small = _small_grid(grid, box, steps)
    target = small.canonical()
    thin = reorient(labels[np.ix_(*picked)], small, target)
    grey = None
    if hu is not None:
        grey = _hounsfield(reorient(_mean(hu[tuple(slice(*span) for span in box)], steps), small, target))
    marked = np.isin(thin, list(values.values()))
    x, y, z = target.spacing_mm
    return Scene(
        Geometry(target.shape, np.diag([x, y, z, 1.0])),
        grey,
        LabelMasks(thin, values),
        (marked * np.uint8(100)).astype(np.uint8),
        _first(grid, picked),
        grid.canonical().shape,
        _triple([steps[voxel] for voxel, _ in grid.axes]),
        _start(marked),
        {name: counts.get(value, 0) * grid.voxel_ml for name, value in values.items()},
    )


def structures_page(
    case: str, prediction: Prediction, to_nifti: ToNifti, hu: FloatArray | None, colours: Mapping[str, str]
) -> str:
    """A page with the viewer inside that opens from disk: three linked planes, surfaces, and volumes in ml.

    Args:
        to_nifti: turns an integer array (X, Y, Z) and its grid into a NIfTI-1 file.
        hu: the image, or None: then outlines alone are shown.
        colours: `#rrggbb` by structure.
    """
    found = label_scene(prediction, hu)
    pens = {name: Stroke(colours[name]) for name in found.masks}
    names = [{"name": name, "role": "structure", "width": LINE} for name in found.masks]
    shown = Shown(case, f"Prediction, {RESEARCH_ONLY}", found, pens, names, _notes(found), structures=True)
    return render(shown, to_nifti, stills(shown))


def _notes(found: Scene) -> list[str]:
    notes = ["Cropped around all structures. Lines run half-way between marked and unmarked voxels."]
    if max(found.steps) > 1:
        steps = " x ".join(map(str, found.steps))
        notes.append(f"One voxel shown stands for {steps} of the label map; volumes are those of the whole label map.")
    if not any(found.volumes_ml.values()):
        notes.append("No voxel of any structure was found in this study.")
    return notes


def _box(labels: IntArray, values: list[int], grid: Geometry) -> list[Span]:
    """First voxel and the one behind the last along each axis, with a border; everything where nothing is marked."""
    sides = [np.zeros(n, dtype=bool) for n in labels.shape]
    for z in range(labels.shape[2]):  # a slice at a time: no mask of the whole size
        plane = np.isin(labels[:, :, z], values)
        sides[0] |= plane.any(axis=1)
        sides[1] |= plane.any(axis=0)
        sides[2][z] = plane.any()
    found = []
    for side, n, mm in zip(sides, labels.shape, grid.spacing_mm, strict=True):
        marked, border = np.flatnonzero(side), int(np.ceil(BORDER_MM / mm))
        found.append((max(marked[0] - border, 0), min(marked[-1] + 1 + border, n)) if marked.size else (0, n))
    return [(int(start), int(stop)) for start, stop in found]


def _steps(shape: list[int], spacing_mm: tuple[float, ...]) -> IntTriple:
    """Blocks of voxels, their edges as alike as can be, so that few enough are left.

    >>> _steps([512, 512, 400], (0.7, 0.7, 1.0))
    (4, 4, 3)
    """
    steps = [1, 1, 1]
    while np.prod([-(-n // step) for n, step in zip(shape, steps, strict=True)]) > MOST_VOXELS:
        edges = [mm * step if step < n else np.inf for mm, step, n in zip(spacing_mm, steps, shape, strict=True)]
        finest = min(edges)
        for axis in range(3):
            if edges[axis] <= finest * (1 + 1e-6):  # pixels stay square
                steps[axis] += 1
    return steps[0], steps[1], steps[2]


def _small_grid(grid: Geometry, box: list[Span], steps: IntTriple) -> Geometry:
    affine = grid.affine.copy()
    affine[:3, :3] *= np.array(steps)
    affine[:3, 3] = grid.world(
        np.array([[start + (step - 1) / 2 for (start, _), step in zip(box, steps, strict=True)]])
    )[0]
    return Geometry(
        _triple([-(-(stop - start) // step) for (start, stop), step in zip(box, steps, strict=True)]), affine
    )


def _first(grid: Geometry, picked: list[IntArray]) -> IntTriple:
    """The voxel of the upright whole grid that stands first in the crop."""
    return _triple([int(picked[voxel][0]) if sign > 0 else grid.shape[voxel] - 1 - int(picked[voxel][-1])
                    for voxel, sign in grid.axes])  # fmt: skip


def _start(marked: BoolArray) -> IntTriple:
    """Along each axis the plane with most marked voxels; the middle where there is none."""
    if not marked.any():
        return _triple([n // 2 for n in marked.shape])
    return _triple([int(marked.sum(axis=tuple(other for other in range(3) if other != axis)).argmax())
                    for axis in range(3)])  # fmt: skip


def _triple(numbers: list[int]) -> IntTriple:
    x, y, z = numbers
    return x, y, z
