"""A case before and after augmentation: axial and coronal slices with every reader's outlines, as small SVGs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from markupsafe import escape

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.report.doctor_cuts import Cut, Drawn, choose_cuts
from medseg.report.overlay import outline_path
from medseg.report.palette import Stroke, strokes
from medseg.report.png import WINDOW_HU, slice_url
from medseg.shapes import FloatArray, IntArray

MOST_VOXELS = 4_000_000  # of the grid that is augmented: a quarter of a second for each transform
FINER = 0.95
SIDE, MOST_PIXELS = 230.0, 200
WIDTHS = (2.0, 1.0)  # of the first and the last reader's line: equal outlines show as bands
TITLES = ("axial", "coronal")
SEEN = 0.1  # of the largest change of any slice: less of it can hardly be seen on a plane
Indices = npt.NDArray[np.integer]


def preview_grid(geometry: Geometry, spacing_mm: tuple[float, float, float] | None = None) -> Geometry:
    """The grid that is augmented: axes near R, A, S, and voxels as fine as four million of them allow.

    Args:
        spacing_mm: of the grid; None keeps the study's own, or the finest below it that is not too many voxels.
    """
    upright = geometry.canonical()
    if spacing_mm is not None:
        return upright.with_spacing(spacing_mm)
    least = max(upright.spacing_mm)
    while _voxels(upright, least * FINER) <= MOST_VOXELS and least > min(upright.spacing_mm):
        least *= FINER
    while _voxels(upright, least) > MOST_VOXELS:
        least /= FINER
    x, y, z = (max(mm, least) for mm in upright.spacing_mm)
    return upright.with_spacing((x, y, z))


def _voxels(geometry: Geometry, least_mm: float) -> float:
    sides = zip(geometry.field_of_view_mm, geometry.spacing_mm, strict=True)
    return float(np.prod([extent / max(mm, least_mm) for extent, mm in sides]))


@dataclass(frozen=True, eq=False)
class Scene:
    """What all pictures of a preview have in common.

    Args:
        cuts: the planes, chosen on the original.
        labels: names of the structures; the class index is the place.
        raters: names, in the order of the label channels.
        shown: the image's values that become black and white.
        images: whether slices are drawn; else outlines stand on white.
    """

    cuts: Sequence[Cut]
    labels: Sequence[str]
    raters: Sequence[str]
    shown: tuple[float, float]
    images: bool = True

    @property
    def pens(self) -> dict[str, Stroke]:
        """Strokes by reader, or by structure where there is one reader: then a swap of left and right is seen."""
        return strokes(self.raters if len(self.raters) > 1 else self.labels[1:])


def build_scene(
    volume: Volume, readings: Mapping[str, IntArray], labels: LabelSet, shown: tuple[float, float], images: bool = True
) -> Scene:
    """The scene of a case on its preview grid; the planes go through the middle of the labels, or of the body.

    Args:
        volume: in HU.
        readings: class indices (X, Y, Z) by rater.
    """
    names = LabelSet({name: index for index, name in enumerate(labels.names)})
    maps = [LabelMap(np.maximum(indices, 0), volume.geometry, names) for indices in readings.values()]
    cuts = choose_cuts(volume, [Drawn(reading, reading.boxes()) for reading in maps])
    return Scene(cuts[: len(TITLES)], labels.names, tuple(readings), shown, images)


def views(scene: Scene, image: FloatArray, readings: Sequence[Indices]) -> tuple[str, ...]:
    """The planes of an augmented sample as SVG elements.

    Args:
        image: (X, Y, Z), in the unit of `scene.shown`; another shape than the original's is cut at the same voxels.
        readings: class indices (X, Y, Z) in the order of `scene.raters`.
    """
    return tuple(_svg(scene, _moved(cut, image.shape), image, readings, title)
                 for cut, title in zip(scene.cuts, TITLES, strict=False))  # fmt: skip


def where_it_acts(scene: Scene, before: FloatArray, after: FloatArray) -> tuple[Scene, tuple[str, ...]]:
    """The scene with planes moved to where a change is largest, and which planes those are, in words.

    A plane stays where it shows a good part of the change, and where the two images differ in shape.
    """
    if before.shape != after.shape:
        return scene, ()
    difference = np.abs(after - before)
    cuts, told = [], []
    for cut, title in zip(scene.cuts, TITLES, strict=False):
        changes = difference.mean(axis=tuple({0, 1, 2} - {cut.voxel}))
        if changes[cut.index] < SEEN * changes.max():
            cut = replace(cut, index=int(changes.argmax()))
            told.append(f"{title} slice {cut.index - scene.cuts[len(cuts)].index:+d}".replace("-", "−"))
        cuts.append(cut)
    return replace(scene, cuts=cuts), tuple(told)


def _moved(cut: Cut, shape: tuple[int, ...]) -> Cut:
    """The cut on a result of another shape, such as that of a quarter turn."""
    if shape == cut.geometry.shape:
        return cut
    x, y, z = shape
    grid = Geometry((x, y, z), cut.geometry.affine)
    return Cut(grid, cut.across, min(cut.index, shape[cut.voxel] - 1), (slice(0, x), slice(0, y), slice(0, z)))


def _svg(scene: Scene, cut: Cut, image: FloatArray, readings: Sequence[Indices], title: str) -> str:
    zoom = SIDE / max(cut.size_mm)
    width, height = (mm * zoom for mm in cut.size_mm)
    box = f'width="{width:.1f}" height="{height:.1f}"'
    ground = f'<rect {box} fill="#fff"/>'
    if scene.images:
        url = slice_url(_as_hu(cut.page(image[cut.box]), scene.shown), MOST_PIXELS)
        ground = f'<image {box} preserveAspectRatio="none" href="{url}"/>'
    return (
        f'<svg viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.0f}" height="{height:.0f}" role="img">'
        f"<title>{escape(title)}</title>{ground}{_outlines(scene, cut, readings, zoom)}</svg>"
    )


def _as_hu(values: FloatArray, shown: tuple[float, float]) -> FloatArray:
    """Values so that `shown` spans the window in which slices are drawn."""
    low, high = WINDOW_HU
    return low + (values - shown[0]) * ((high - low) / (shown[1] - shown[0]))


def _outlines(scene: Scene, cut: Cut, readings: Sequence[Indices], zoom: float) -> str:
    groups = []
    widths = np.linspace(*WIDTHS, num=max(len(readings), 2))
    for rater, width, reading in zip(scene.raters, widths, readings, strict=False):
        plane = cut.page(reading[cut.box])
        lines = [_line(scene, rater, index, plane == index) for index in np.unique(plane).tolist() if index > 0]
        scale = f"{cut.size_mm[0] * zoom / plane.shape[1] / 2:.4f} {cut.size_mm[1] * zoom / plane.shape[0] / 2:.4f}"
        groups.append(
            f'<g class="outlines" transform="scale({scale})" fill="none" stroke-width="{width:.2g}" '
            f'stroke-linejoin="round">{"".join(lines)}</g>'
        )
    return "".join(groups)


def _line(scene: Scene, rater: str, index: int, mask: npt.NDArray[np.bool_]) -> str:
    structure = scene.labels[index]
    pen = scene.pens[rater if len(scene.raters) > 1 else structure]
    dash = f' stroke-dasharray="{pen.dash}"' if pen.dash else ""
    name = f"{escape(rater)}: {escape(structure)}"
    return f'<path d="{outline_path(mask)}" stroke="{pen.colour}"{dash}><title>{name}</title></path>'
