"""A case in three planes with every reader's outlines, as small SVGs for the check's page.

The planes are seen as radiologists see them: the patient's right on the left, front and head at the top; the sagittal
plane with the front on the left. All planes of a case have one scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import escape

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading, box_of
from medseg.imaging.volume import Volume
from medseg.report.doctor import TRUTH
from medseg.report.overlay import outline_path
from medseg.report.palette import Stroke, strokes
from medseg.report.png import slice_url
from medseg.shapes import IntTriple

PLANES = ("sagittal", "coronal", "axial")  # by the world axis (R, A, S) that stands across the plane
LETTERS = ("RL", "AP", "SI")  # what stands at the two ends of a world axis on the page: left or top first
SIDE = 240.0  # longest side of a plane on the page: four stand side by side
MOST_PIXELS = 240
SMALL = 0.35  # labels that fill less of the axial slice than this, in each direction, are shown enlarged as well
BORDER_MM = 15.0
WIDTHS = (2.2, 1.0)  # of the first and the last reader's line: equal outlines show as bands
BODY_HU = -300.0
LEAST_HEIGHT = 50.0  # of a plane that has room for a letter at its top
Marks = Mapping[str, Mapping[str, Box]]  # reading and structure to box


@dataclass(frozen=True)
class _Cut:
    """A plane of the grid: across which world axis, at which voxel, and which part of it."""

    geometry: Geometry
    across: int
    index: int
    part: Box

    def page(self, array):
        """The plane of `array` (X, Y, Z or the part of it) as rows and columns of the page."""
        voxel = self.geometry.axes[self.across][0]
        plane = np.take(array, 0, axis=voxel)
        (first, sign), (second, other) = (self.geometry.axes[world] for world in self.worlds)
        plane = plane.T if first > second else plane
        return plane[::-sign, ::-other].T

    @property
    def worlds(self) -> tuple[int, int]:
        """World axes along the columns and the rows of the page."""
        across = [world for world in range(3) if world != self.across]
        return across[0], across[1]

    @property
    def box(self) -> Box:
        """The plane as a box one voxel thick."""
        sides = list(self.part)
        sides[self.geometry.axes[self.across][0]] = slice(self.index, self.index + 1)
        return sides[0], sides[1], sides[2]

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Width and height of a pixel on the page."""
        across, down = (self.geometry.spacing_mm[self.geometry.axes[world][0]] for world in self.worlds)
        return across, down


def case_views(volume: Volume, readings: Mapping[str, Reading], raters: Sequence[str]) -> tuple[str, ...]:
    """Axial, coronal and sagittal SVG through the middle of the labels, or of the body when nothing is labelled.

    Small labels are shown enlarged in a fourth. `raters` are all of the data set: each keeps its colour in every case.

    Args:
        readings: on the volume's own grid.
    """
    grid = volume.geometry
    marks = {name: reading.boxes() for name, reading in readings.items()}
    middle = _middle(volume, readings, marks)
    whole: Box = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    zoom = SIDE / max(grid.field_of_view_mm)
    pens = _pens(raters, readings)
    cuts = [_Cut(grid, across, middle[grid.axes[across][0]], whole) for across in (2, 1, 0)]
    views = [_svg(PLANES[cut.across], cut, volume, readings, pens, zoom) for cut in cuts]
    if (near := _near(cuts[0], readings, marks)) is not None:
        views.append(_svg("axial, enlarged", near, volume, readings, pens, _fitting(near)))
    return tuple(views)


def _middle(volume: Volume, readings: Mapping[str, Reading], marks: Marks) -> IntTriple:
    """The median label voxel along each axis (so it lies in a labelled slice), else the median voxel of the body."""
    counts = [np.zeros(n) for n in volume.hu.shape]
    for name, boxes in marks.items():
        for label, box in boxes.items():
            mask = readings[name].mask_in(label, box)
            for axis, side in enumerate(box):
                counts[axis][side] += mask.sum(axis=tuple({0, 1, 2} - {axis}))
    if not counts[0].any():
        step = 4
        body = volume.hu[::step, ::step, ::step] > BODY_HU
        for axis in range(3):
            counts[axis][::step] = body.sum(axis=tuple({0, 1, 2} - {axis}))
    x, y, z = (_median(count) for count in counts)
    return x, y, z


def _median(counts) -> int:
    if not counts.any():
        return len(counts) // 2
    return int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))


def _near(cut: _Cut, readings: Mapping[str, Reading], marks: Marks) -> _Cut | None:
    """The part of the axial cut around the labels on it, or None when they fill much of it or there are none."""
    voxel = cut.geometry.axes[2][0]
    shown = np.zeros([side.stop - side.start for side in cut.box], dtype=bool)
    for name, boxes in marks.items():
        for label, box in boxes.items():
            if box[voxel].start <= cut.index < box[voxel].stop:
                shown |= readings[name].mask_in(label, cut.box)
    found = box_of(shown)
    if found is None:
        return None
    if any(n.stop - n.start > SMALL * full for axis, (n, full) in enumerate(zip(found, cut.geometry.shape, strict=True))
           if axis != voxel):  # fmt: skip
        return None
    sides = [
        slice(max(side.start - margin, 0), min(side.stop + margin, full))
        for side, full, margin in zip(found, cut.geometry.shape, _margins(cut.geometry), strict=True)
    ]
    return _Cut(cut.geometry, 2, cut.index, (sides[0], sides[1], sides[2]))


def _margins(grid: Geometry) -> list[int]:
    return [int(np.ceil(BORDER_MM / mm)) for mm in grid.spacing_mm]


def _fitting(cut: _Cut) -> float:
    extents = [(cut.box[voxel].stop - cut.box[voxel].start) * cut.geometry.spacing_mm[voxel]
               for voxel in (cut.geometry.axes[world][0] for world in cut.worlds)]  # fmt: skip
    return SIDE / max(extents)


def _pens(raters: Sequence[str], readings: Mapping[str, Reading]) -> dict[str, tuple[Stroke, float]]:
    drawn = [name for name in readings if name != TRUTH]
    widths = np.linspace(*WIDTHS, num=max(len(drawn), 2))
    pens = {name: (stroke, float(width)) for (name, stroke), width in zip(
        ((name, strokes(raters)[name]) for name in drawn), widths, strict=False)}  # fmt: skip
    return pens | ({TRUTH: (Stroke("#fff", "1 2"), WIDTHS[1])} if TRUTH in readings else {})


def _svg(
    title: str,
    cut: _Cut,
    volume: Volume,
    readings: Mapping[str, Reading],
    pens: Mapping[str, tuple[Stroke, float]],
    zoom: float,
) -> str:
    hu = cut.page(volume.hu[cut.box])
    width, height = hu.shape[1] * cut.pixel_mm[0] * zoom, hu.shape[0] * cut.pixel_mm[1] * zoom
    lines = "".join(_outlines(cut, name, reading, pens[name], zoom) for name, reading in readings.items())
    return (
        f'<svg viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'font-family="sans-serif" font-size="10"><title>{escape(title)}</title>'
        f'<image width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'href="{slice_url(hu, MOST_PIXELS)}"/>{lines}{_letters(cut, width, height)}</svg>'
    )


def _outlines(cut: _Cut, name: str, reading: Reading, pen: tuple[Stroke, float], zoom: float) -> str:
    stroke, width = pen
    scale = f"{cut.pixel_mm[0] * zoom / 2:.4f} {cut.pixel_mm[1] * zoom / 2:.4f}"
    dash = f' stroke-dasharray="{stroke.dash}"' if stroke.dash else ""
    paths = [
        f'<path d="{path}"><title>{escape(name)}: {escape(label)}</title></path>'
        for label, path in _paths(cut, reading)
    ]
    if not paths:
        return ""
    return (
        f'<g class="outlines" transform="scale({scale})" fill="none" stroke="{stroke.colour}" '
        f'stroke-width="{width:.2g}"{dash} stroke-linejoin="round">{"".join(paths)}</g>'
    )


def _paths(cut: _Cut, reading: Reading) -> Iterator[tuple[str, str]]:
    voxel = cut.geometry.axes[cut.across][0]
    for label, box in reading.boxes().items():
        if box[voxel].start <= cut.index < box[voxel].stop and (
            path := outline_path(cut.page(reading.mask_in(label, cut.box)))
        ):
            yield label, path


def _letters(cut: _Cut, width: float, height: float) -> str:
    """R and the like at the left and the top edge, dark-rimmed so that they can be read on bone."""
    across, down = (LETTERS[world][0] for world in cut.worlds)
    rim = 'fill="#fff" stroke="#000" stroke-width="2" paint-order="stroke"'
    top = f'<text x="{width / 2:.0f}" y="11" text-anchor="middle" {rim}>{down}</text>' if height > LEAST_HEIGHT else ""
    return f'<text x="3" y="{height / 2 + 4:.0f}" {rim}>{across}</text>{top}'
