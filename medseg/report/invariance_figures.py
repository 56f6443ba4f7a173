"""Small multiples: Dice against dose, one panel for each transform, with patient-bootstrap bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from medseg.report.canvas import FAINT, new_figure, styled
from medseg.report.figures_curves import numbers
from medseg.report.invariance_wording import dose_number

WIDTH_MM, HEIGHT_MM = 66.0, 50.0
FRAME = (0.15, 0.24, 0.81, 0.62)  # left, bottom, width, height: the same in every panel, so that they line up
MOST_TICKS = 6
PAGE_MM = 170.0  # two columns of a journal
LEAST_MM = 54.0  # narrowest panel of a figure
LEGEND_MM, TITLE_MM = 9.0, 4.0  # room for the legend and its title
STEEPNESS = 0.84  # height of a figure's panel as a share of its width
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """One line of a panel: points as in `invariance.json`, and how it is drawn."""

    points: Sequence[Mapping[str, Any]]
    colour: str
    dash: str = ""
    band: bool = True
    mark: str = "o"


@styled
def dose_panel(facts: Facts, curves: Sequence[Curve], *, margin: float | None = None) -> Figure:
    """Mean Dice at every dose; the shade is its 95 % interval, the upright line the dose that changes nothing.

    Args:
        facts: of the transform, as in `config.transforms`.
        curves: in the order of drawing.
        margin: a dotted line at so much below the first curve's value at the identity.
    """
    figure = new_figure(WIDTH_MM, HEIGHT_MM)
    figure.set_layout_engine("none")
    _panel(figure.add_axes(FRAME), facts, curves, margin)
    return figure


@styled
def dose_figure(
    panels: Mapping[str, Sequence[Curve]],
    facts: Mapping[str, Facts],
    names: Mapping[str, Curve],
    *,
    title: str = "",
    width_mm: float = PAGE_MM,
) -> Figure:
    """Several panels with one legend, as a figure for a paper.

    Args:
        panels: curves by transform, in order.
        facts: of every transform, as in `config.transforms`.
        names: of the lines in the legend, each with a curve that is drawn like it.
        title: of the legend.
    """
    columns = min(max(int(width_mm // LEAST_MM), 1), max(len(panels), 1))
    rows = -(-len(panels) // columns)
    legend_mm = LEGEND_MM + (TITLE_MM if title else 0)
    height_mm = rows * width_mm / columns * STEEPNESS + legend_mm
    figure = new_figure(width_mm, height_mm)
    figure.set_layout_engine("none")
    left, bottom, width, height = FRAME
    across, down = 1 / columns, (height_mm - legend_mm) / height_mm / rows
    for place, (name, curves) in enumerate(panels.items()):
        row, column = divmod(place, columns)
        box = ((column + left) * across, (rows - 1 - row + bottom) * down, width * across, height * down)
        _panel(figure.add_axes(box), facts[name], curves, None)
    _legend(figure, names, title)
    return figure


def _legend(figure: Figure, names: Mapping[str, Curve], title: str) -> None:
    handles = [Line2D([], [], color=curve.colour, linestyle=_dashes(curve), marker=curve.mark, markersize=3.2)
               for curve in names.values()]  # fmt: skip
    # matplotlib hides names that begin with `_`, so the texts are set afterwards
    legend = figure.legend(handles, [str(place) for place in range(len(names))], loc="upper center",
                           ncols=max(len(names), 1), title=title or None)  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


def _panel(axes: Axes, facts: Facts, curves: Sequence[Curve], margin: float | None) -> None:
    axes.axvline(_place(facts, facts["identity"]), color=FAINT, linewidth=0.8)
    for curve in curves:
        _draw(axes, facts, curve)
    at_identity = [p["mean"] for p in curves[0].points if p["dose"] == facts["identity"]] if curves else []
    if margin is not None and at_identity and at_identity[0] is not None:
        axes.axhline(at_identity[0] - margin, color=curves[0].colour, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(facts["title"], loc="left")
    _ticks(axes, facts)


def _draw(axes: Axes, facts: Facts, curve: Curve) -> None:
    x = np.array([_place(facts, point["dose"]) for point in curve.points])
    y = numbers([point["mean"] for point in curve.points])
    ends = [point.get("ci95") or (None, None) for point in curve.points]
    low, high = numbers([end[0] for end in ends]), numbers([end[1] for end in ends])
    # where all patients agree there is no interval, and the band narrows to the line
    low, high = np.where(np.isnan(low), y, low), np.where(np.isnan(high), y, high)
    if curve.band:
        axes.fill_between(x, low, high, color=curve.colour, alpha=0.18, linewidth=0)
    axes.plot(x, y, color=curve.colour, linestyle=_dashes(curve), linewidth=1.5, marker=curve.mark, markersize=3.2,
              markeredgewidth=0, clip_on=False)  # fmt: skip


def _dashes(curve: Curve) -> Any:
    return (0, tuple(float(length) for length in curve.dash.split())) if curve.dash else "-"


def _place(facts: Facts, dose: float) -> float:
    return float(np.log(dose)) if facts["logarithmic"] else float(dose)


def _ticks(axes: Axes, facts: Facts) -> None:
    """The tested doses themselves, thinned out where they would touch."""
    if facts["unit"] == "0 or 1":
        axes.set_xticks([0, 1], ["as it is", "flipped"])
        axes.set_xlim(-0.4, 1.4)
        return
    doses = list(facts["doses"])
    places = [_place(facts, dose) for dose in doses]
    gap = (max(places) - min(places)) / MOST_TICKS
    kept = {facts["identity"]: _place(facts, facts["identity"])}
    for dose, place in sorted(zip(doses, places, strict=True), key=lambda pair: -abs(pair[1])):
        if all(abs(place - other) >= gap for other in kept.values()):
            kept[dose] = place
    words = {place: dose_number(dose) for dose, place in kept.items()}
    axes.xaxis.set_major_locator(FixedLocator(sorted(words)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: words.get(place, "")))
    axes.set_xlabel(facts["unit"] or "factor")
