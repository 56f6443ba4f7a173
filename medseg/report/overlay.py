"""One slice with the outline of every rater and of the model, as a small SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import escape
from skimage.measure import find_contours

from medseg.errors import GeometryError
from medseg.report.palette import Stroke, strokes
from medseg.report.png import slice_url
from medseg.report.wording import short
from medseg.shapes import BoolArray

SIDE = 360.0  # width of the drawing, and its greatest height, in SVG units (about screen pixels)
MODEL_WIDTH = 5.5
RATER_WIDTHS = (3.3, 1.5)  # of the first and the last rater: equal outlines show as bands, none hides another
TRUTH = "truth"
LETTER = 6.3  # mean width of a letter at 11 units, for wrapping the legend


@dataclass(frozen=True)
class Overlay:
    """A slice to look at.

    Args:
        case: identity of the case.
        title: what the slice shows, in a few words.
        masks: boolean (rows, columns) by rater or model name; the mask named like a model is drawn thickest and one
            named `truth` dotted. An empty mask is said to be empty in the legend; leave out who did not read.
        pixel_mm: height and width of a pixel in mm, in the order of the array axes.
        hu: (rows, columns) in HU, or None: then the outlines stand on white.

    Raises:
        GeometryError: masks and image differ in shape, are not two-dimensional, or a pixel has no size.
    """

    case: str
    title: str
    masks: Mapping[str, BoolArray]
    pixel_mm: tuple[float, float]
    hu: npt.NDArray[np.generic] | None

    def __post_init__(self) -> None:
        shapes = {mask.shape for mask in self.masks.values()}
        shapes |= {self.hu.shape} if self.hu is not None else set()
        if not self.masks or len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise GeometryError("the masks of an overlay fit no single slice", where=self.case, got=str(sorted(shapes)))
        if min(self.pixel_mm) <= 0:
            raise GeometryError("a pixel without size", where=self.case, got=str(self.pixel_mm))


def overlay_svg(overlay: Overlay, models: Iterable[str] = (), pens: Mapping[str, Stroke] | None = None) -> str:
    """The slice as one SVG element: image, outlines, scale bar in mm and legend; cropped around the masks.

    Args:
        overlay: the slice.
        models: names that are models; they are drawn thick, under the raters' thin lines, so that both stay visible.
        pens: stroke by name; by default the palette in the order of the masks.
    """
    models = [name for name in models if name in overlay.masks]
    if pens is None:
        pens = strokes([name for name in overlay.masks if name not in (*models, TRUTH)], models)
    rows, columns = _crop(overlay)
    size_mm = ((rows.stop - rows.start) * overlay.pixel_mm[0], (columns.stop - columns.start) * overlay.pixel_mm[1])
    zoom = min(SIDE / size_mm[0], SIDE / size_mm[1])
    height, width = size_mm[0] * zoom, size_mm[1] * zoom
    drawn = _pens(overlay, models, pens)
    cropped = {name: overlay.masks[name][rows, columns] for name in drawn}
    lines = [_outline(cropped[name], overlay.pixel_mm, zoom, pen) for name, pen in drawn.items()]
    words = {name: _entry(name, name in models, bool(mask.any())) for name, mask in cropped.items()}
    legend, legend_height = _legend(drawn, words, height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE:g} {height + legend_height:.1f}" '
        f'role="img" class="overlay" font-family="sans-serif" font-size="11">'
        f"<title>{escape(overlay.case)}: {escape(overlay.title)}</title>"
        f'<g transform="translate({(SIDE - width) / 2:.1f} 0)">'
        f"{_ground(overlay, rows, columns, width, height)}{''.join(lines)}"
        f"{_scale_bar(zoom, width, height, overlay.hu is not None)}</g>{legend}</svg>"
    )


def _crop(overlay: Overlay) -> tuple[slice, slice]:
    """Rows and columns of all masks with a border of a quarter of their size, at least 20 mm; all without a mask."""
    union = np.any([*overlay.masks.values()], axis=0)
    if not union.any():
        return slice(0, union.shape[0]), slice(0, union.shape[1])
    found = []
    for axis in (0, 1):
        marked = np.flatnonzero(union.any(axis=1 - axis))
        first, last = int(marked[0]), int(marked[-1]) + 1
        border = int(np.ceil(max(20.0 / overlay.pixel_mm[axis], (last - first) / 4)))
        found.append(slice(max(first - border, 0), min(last + border, union.shape[axis])))
    return found[0], found[1]


def _ground(overlay: Overlay, rows: slice, columns: slice, width: float, height: float) -> str:
    box = f'width="{width:.1f}" height="{height:.1f}"'
    if overlay.hu is None:
        return f'<rect {box} fill="#fff" stroke="#bbb"/>'
    return f'<image {box} preserveAspectRatio="none" href="{slice_url(overlay.hu[rows, columns])}"/>'


@dataclass(frozen=True)
class _Pen:
    colour: str
    width: float
    dash: str


def _pens(overlay: Overlay, models: list[str], given: Mapping[str, Stroke]) -> dict[str, _Pen]:
    """Models first and thick, then the raters, each thinner than the one before; the order is the order of drawing."""
    raters = [name for name in overlay.masks if name not in models]
    widths = np.linspace(*RATER_WIDTHS, num=len(raters)) if len(raters) > 1 else [np.mean(RATER_WIDTHS)]
    sizes = dict(zip(raters, (round(float(width), 2) for width in widths), strict=False))
    ink = Stroke("#000" if overlay.hu is None else "#fff", "1 2")
    found = {}
    for name in (*models, *raters):
        stroke = ink if name == TRUTH and name not in given else given[name]
        found[name] = _Pen(stroke.colour, sizes.get(name, MODEL_WIDTH), stroke.dash)
    return found


def _outline(mask: BoolArray, pixel_mm: tuple[float, float], zoom: float, pen: _Pen) -> str:
    path = outline_path(mask)
    if not path:
        return ""
    scale = f"{pixel_mm[1] * zoom / 2:.4f} {pixel_mm[0] * zoom / 2:.4f}"
    return (
        f'<path transform="scale({scale})" d="{path}" fill="none" stroke="{pen.colour}" stroke-width="{pen.width:g}"'
        f'{_dash(pen)} stroke-linejoin="round" vector-effect="non-scaling-stroke"/>'
    )


def _dash(pen: _Pen) -> str:
    return f' stroke-dasharray="{pen.dash}"' if pen.dash else ""


def outline_path(mask: BoolArray) -> str:
    """The outline as SVG path data in half pixels (x along columns), with straight runs joined; empty for no mask.

    The line runs half-way between the centres of marked and unmarked pixels, so every vertex is a whole half pixel.

    Example:
        >>> outline_path(np.array([[False, True]]))
        'M3 2l-1 -1l1 -1l1 1l-1 1z'
    """
    parts = []
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        # +0.5: pixel (0, 0) covers 0..1; -1: the padding
        points = np.rint((contour - 0.5) * 2).astype(int)[:, ::-1]
        steps = np.diff(points, axis=0)
        turns = np.flatnonzero(np.any(steps[1:] != steps[:-1], axis=1)) + 1
        kept = points[[0, *turns, -1]]
        moves = "".join(f"l{x} {y}" for x, y in np.diff(kept, axis=0))
        parts.append(f"M{kept[0][0]} {kept[0][1]}{moves}z")
    return "".join(parts)


def _scale_bar(zoom: float, width: float, height: float, on_image: bool) -> str:
    length_mm = max((mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm * zoom <= 0.4 * width), default=1)
    ink, length, right, y = ("#fff" if on_image else "#000"), length_mm * zoom, width - 10, height - 10
    return (
        f'<path d="M{right - length:.1f} {y - 4:.1f}v4h{length:.1f}v-4" fill="none" stroke="{ink}" stroke-width="1.5"/>'
        f'<text x="{right:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{ink}">{length_mm} mm</text>'
    )


def _entry(name: str, is_model: bool, is_marked: bool) -> str:
    return short(name, 30) + (" (model)" if is_model else "") + ("" if is_marked else " (none here)")


def _legend(pens: Mapping[str, _Pen], words: Mapping[str, str], top: float) -> tuple[str, float]:
    """The entries, wrapped to the width of the drawing, and their height."""
    x, y, entries = 0.0, top + 18.0, []
    for name, pen in pens.items():
        length = 30 + LETTER * len(words[name])
        if x and x + length > SIDE:
            x, y = 0.0, y + 16
        colour = "currentColor" if name == TRUTH else pen.colour
        entries.append(
            f'<path d="M{x:.0f} {y - 4:.0f}h18" stroke="{colour}" stroke-width="{pen.width:g}"{_dash(pen)}/>'
            f'<text x="{x + 23:.0f}" y="{y:.0f}" fill="currentColor">{escape(words[name])}</text>'
        )
        x += length
    return "".join(entries), y + 8 - top
