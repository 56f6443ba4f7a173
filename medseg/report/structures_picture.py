"""A label map as one PNG: three planes through the structures, outlined on the image, with their volumes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.imaging.prediction import Prediction
from medseg.report.structures import RESEARCH_ONLY, label_scene
from medseg.report.viewer import PLANES, WINDOWS_HU, window_of
from medseg.report.viewer_volumes import Scene
from medseg.report.wording import short
from medseg.shapes import FloatArray

LETTERS = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}
MOST_NAMES = 40  # in the legend
DECIMALS = 6  # of a figure's width: a thousandth of a pixel
WIDTH_INCH, HIGHEST_INCH, BESIDES_INCH, DPI = 12.0, 9.0, 1.3, 110
GROUND, INK, SOFT = "#101214", "#f2f2f2", "#9aa0a6"


def structures_picture(case: str, prediction: Prediction, hu: FloatArray | None, colours: Mapping[str, str]) -> bytes:
    """PNG bytes; the same label map gives the same bytes with the same version of matplotlib.

    Args:
        hu: the image, or None: then outlines stand on a dark ground.
        colours: `#rrggbb` by structure.
    """
    found = label_scene(prediction, hu)
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 9.0, "text.color": INK}):
        ratios = [_width(found, axis) for _, axis in PLANES]
        height = min(WIDTH_INCH / sum(ratios), HIGHEST_INCH) + BESIDES_INCH
        figure = Figure(figsize=(WIDTH_INCH, height), facecolor=GROUND, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 3, width_ratios=ratios)
        for panel, (plane, axis) in zip(panels, PLANES, strict=True):
            _draw(panel, found, plane, axis, colours)
        figure.suptitle(f"{short(case, 60)} · {RESEARCH_ONLY}", color=INK, fontsize=10)
        _legend(figure, found, colours)
        _settle(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None}, facecolor=GROUND)
    return stream.getvalue()


def _settle(figure: Figure) -> None:
    """Fixes the layout: its solver adds up in the order of memory addresses, and a last bit may move a pixel."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for panel in figure.axes:
        left, bottom, width, height = (round(part, DECIMALS) for part in panel.get_position(original=True).bounds)
        panel.set_position((left, bottom, width, height))


def _width(found: Scene, axis: int) -> float:
    """Width of a plane by its height, so that the three stand equally high."""
    across, up = (found.geometry.field_of_view_mm[other] for other in range(3) if other != axis)
    return max(across / up, 0.2)


def _draw(panel: Any, found: Scene, plane: str, axis: int, colours: Mapping[str, str]) -> None:
    place = found.start[axis]
    across, up = (found.geometry.spacing_mm[other] for other in range(3) if other != axis)
    panel.set_axis_off()
    if found.hu is not None:
        low, high = WINDOWS_HU[window_of(found, marked=True)]
        panel.imshow(_page(found.hu, axis, place), cmap="gray", vmin=low, vmax=high, aspect=up / across)
    for name, mask in found.masks.items():
        page = _page(mask, axis, place)
        if page.any():
            padded = np.pad(page, 1).astype(np.float32)
            down, right = (np.arange(-1, n + 1) for n in page.shape)
            panel.contour(right, down, padded, levels=[0.5], colors=[colours[name]], linewidths=1.3)
    wide, high = (found.geometry.shape[other] for other in range(3) if other != axis)
    panel.set(xlim=(-0.5, wide - 0.5), ylim=(high - 0.5, -0.5), aspect=up / across)
    panel.set_title(f"{plane} {found.first[axis] + place * found.steps[axis] + 1} of {found.whole[axis]}", color=SOFT,
                    fontsize=8)  # fmt: skip
    spots = ((0.01, 0.5, "left", "center"), (0.99, 0.5, "right", "center"), (0.5, 0.99, "center", "top"),
             (0.5, 0.01, "center", "bottom"))  # fmt: skip
    for letter, (x, y, horizontal, vertical) in zip(LETTERS[plane], spots, strict=True):
        panel.text(x, y, letter, transform=panel.transAxes, ha=horizontal, va=vertical, color=SOFT, fontsize=8)


def _page(array: npt.NDArray[Any], axis: int, place: int) -> npt.NDArray[Any]:
    """A plane as rows from top (front) to bottom (back) and columns from the patient's right (front) on."""
    return np.take(array, place, axis=axis)[::-1, ::-1].T


def _legend(figure: Figure, found: Scene, colours: Mapping[str, str]) -> None:
    """Names with volumes, the structures that were found; how many were not."""
    there = [name for name, ml in found.volumes_ml.items() if ml > 0]
    lines = [Line2D([], [], color=colours[name], linewidth=2) for name in there[:MOST_NAMES]]
    words = [f"{short(name, 30)} {_told_ml(found.volumes_ml[name])}" for name in there[:MOST_NAMES]]
    more, absent = len(there) - len(lines), len(found.volumes_ml) - len(there)
    remarks = [f"and {more} more"] if more else []
    remarks += [f"{absent} of {len(found.volumes_ml)} structures not found" if there else "no structure was found"
                ] if absent else []  # fmt: skip
    lines += [Line2D([], [], linestyle="none") for _ in remarks]
    words += remarks
    legend = figure.legend(lines, [""] * len(lines), loc="outside lower center", ncols=min(5, max(1, len(lines))),
                           frameon=False, fontsize=8, labelcolor=INK)  # fmt: skip
    for text, word in zip(legend.get_texts(), words, strict=True):  # set here, because a name may begin with `_`
        text.set_text(word)


def _told_ml(ml: float) -> str:
    return f"{ml:.2f} ml" if ml < 10 else f"{ml:.0f} ml"
