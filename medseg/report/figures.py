"""The figures of a report. Each function returns a matplotlib `Figure`; `to_svg` turns it into text.

Values that are None or not finite are left out of a drawing and their number is written beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.report.canvas import FAINT, INK, SIDE_MM, new_figure, styled, to_svg
from medseg.report.figures_volume import bland_altman
from medseg.report.palette import CLASS_COLOURS, GREY, strokes
from medseg.report.tables import differences
from medseg.report.wording import (
    UNDEFINED,
    finite,
    interval,
    is_distance,
    known_interval,
    metric_name,
    number,
    short,
    structure,
)

__all__ = ["bland_altman", "forest", "matrix", "scatter", "to_svg", "training_curves"]

Row = Mapping[str, Any]
FOREST_MM = 120.0
LEAST_CELL_MM = 8.5  # of a matrix that has room for a number


@styled
def forest(agreement: Mapping[str, Any], metric: str, *, width_mm: float = FOREST_MM) -> Figure:
    """The paired difference D of every label and model with its 95 % interval, the zero line and minus the margin."""
    rows = list(differences(agreement, metric))
    several = len({model for _, model, _ in rows}) > 1
    figure = new_figure(width_mm, 23 + 10.7 * max(len(rows), 1))
    axes = figure.add_subplot()
    axes.axvline(0, color=FAINT, linewidth=1)
    for y, (_, _, entry) in enumerate(rows):
        _forest_row(axes, y, entry)
    axes.set_yticks(
        range(len(rows)), [structure(label) + (f" · {short(model)}" if several else "") for label, model, _ in rows]
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"difference D of {metric_name(metric)}")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)
    return figure


def _forest_row(axes: Axes, y: int, entry: Row) -> None:
    mean, bounds, margin = finite(entry.get("mean")), known_interval(entry.get("ci95")), finite(entry.get("margin"))
    verdict = str(entry.get("class") or "descriptive")
    colour = CLASS_COLOURS.get(verdict, GREY)
    if margin is not None:
        axes.plot([-margin, -margin], [y - 0.42, y + 0.42], color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    if bounds is not None:
        axes.plot(bounds, [y, y], color=colour, linewidth=2.4, solid_capstyle="butt")
    if mean is not None:
        axes.plot([mean], [y], marker="o", markersize=6, color=colour, linestyle="none")
    text = UNDEFINED
    if mean is not None:
        text = f"{number(mean, signed=True)} ({interval(entry.get('ci95'), signed=True)})\n{verdict}"
    axes.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)


@styled
def matrix(
    pairs: Sequence[Row], label: str, metric: str, *, models: Iterable[str] = (), width_mm: float | None = None
) -> Figure:
    """Mean pairwise score of readers and models as a heat map with numbers; a cell without a defined pair is blank.

    Args:
        pairs: rows as in `pairs.csv`.
        label: the structure.
        metric: key of the score.
        models: names that are models; they stand last. Found by `kind` when not given.
        width_mm: by default as wide as the numbers need. Where a narrower one leaves them no room, a scale of
            colours stands beside the cells instead.
    """
    names, scores = pairwise_means(pairs, label, metric, models)
    side = width_mm or max(SIDE_MM, 30 + 14 * len(names))
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    written = (side - 30) / max(len(names), 1) >= LEAST_CELL_MM
    known = scores[np.isfinite(scores)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    # At least 0.1 (1 mm) from one end of the colours to the other: chance must not look like a pattern.
    least = 1.0 if is_distance(metric) else 0.1
    norm = Normalize(min(low, high - least), high)
    picture = axes.imshow(
        np.ma.masked_invalid(scores), cmap="cividis_r" if is_distance(metric) else "cividis", norm=norm
    )
    if not written:
        figure.colorbar(picture, ax=axes, shrink=0.7, label=metric_name(metric)).outline.set_visible(False)
    for (row, column), value in np.ndenumerate(scores):
        if written and np.isfinite(value):
            bright = np.dot(picture.cmap(norm(value))[:3], (0.299, 0.587, 0.114)) > 0.5  # ITU-R BT.601 luma
            ink = "#000000" if bright else "#ffffff"
            axes.text(column, row, number(value), ha="center", va="center", color=ink, fontsize=8)
    shown = [short(name) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), shown)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f"{structure(label)}: mean {metric_name(metric)}")
    return figure


def pairwise_means(
    pairs: Sequence[Row], label: str, metric: str, models: Iterable[str] = ()
) -> tuple[list[str], np.ndarray]:
    """Names (readers, then models) and the symmetric (N, N) means over cases; NaN where there is no defined pair."""
    mine = [row for row in pairs if row["label"] == label]
    readers = {name for row in mine if row["kind"] == "human-human" for name in (row["a"], row["b"])}
    readers |= {row["a"] for row in mine if row["kind"] == "model-human"} if not readers else set()
    everyone = dict.fromkeys(name for row in mine for name in (row["a"], row["b"]))
    last = set(models) or set(everyone) - readers
    names = sorted(name for name in everyone if name not in last) + sorted(name for name in everyone if name in last)
    place = {name: index for index, name in enumerate(names)}
    totals, counts = np.zeros((2, len(names), len(names)))
    for row in mine:
        value = finite(row.get(metric))
        if value is not None:
            for cell in ((place[row["a"]], place[row["b"]]), (place[row["b"]], place[row["a"]])):
                totals[cell] += value
                counts[cell] += 1
    return names, np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)


@styled
def scatter(
    cases: Sequence[Row], label: str, metric: str, *, margin: float | None = None, width_mm: float = SIDE_MM
) -> Figure:
    """Every case as a point: agreement among readers against agreement of the model with readers.

    Points on the side marked "model nearer" are cases where the model is closer to the readers than they are to each
    other. A column `model` in the rows gives each model its colour.
    """
    mine = [row for row in cases if row["label"] == label and row["metric"] == metric]
    known = [row for row in mine if finite(row["human_human"]) is not None and finite(row["model_human"]) is not None]
    models = list(dict.fromkeys(str(row.get("model", "")) for row in known))
    pens = strokes([], models)
    figure = new_figure(width_mm, width_mm)
    axes = figure.add_subplot()
    for model in models:
        points = [(row["human_human"], row["model_human"]) for row in known if str(row.get("model", "")) == model]
        axes.plot(
            *zip(*points, strict=True), "o", markersize=4.5, alpha=0.75, color=pens[model].colour, markeredgewidth=0
        )
    _identity(axes, metric, margin)
    title = f"{structure(label)}, n = {len(known)} cases" if len(models) < 2 else structure(label)
    axes.set_title(title if len(known) == len(mine) else f"{title} ({len(mine) - len(known)} {UNDEFINED})")
    axes.set_xlabel(f"{metric_name(metric)}, reader with reader")
    axes.set_ylabel(f"{metric_name(metric)}, model with reader")
    if len(models) > 1:  # below, so that the square stays as large as those of its neighbours
        _legend(axes, models, [pens[model].colour for model in models], below=True)
    return figure


def _identity(axes: Axes, metric: str, margin: float | None) -> None:
    """Equal limits on both axes, the line of equality and, dashed, the margin on its unfavourable side."""
    ends = [*axes.get_xlim(), *axes.get_ylim()] if axes.lines else [0.0, 1.0]
    low, high = min(ends), max(ends)
    axes.plot([low, high], [low, high], color=INK, linewidth=1)
    if margin is not None:
        shift = margin if is_distance(metric) else -margin
        axes.plot([low, high], [low + shift, high + shift], color=INK, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    corner, anchor = ((0.97, 0.03), ("right", "bottom")) if is_distance(metric) else ((0.03, 0.97), ("left", "top"))
    axes.text(*corner, "model nearer", transform=axes.transAxes, ha=anchor[0], va=anchor[1], fontsize=8, style="italic")


@styled
def training_curves(rows: Sequence[Row]) -> Figure:
    """Loss and validation Dice per class over the steps of a run.

    Args:
        rows: the log, each with `step` and any of `loss` (a number) and `validation_dice` (class name to number).
    """
    figure = new_figure(163, 117)
    upper, lower = figure.subplots(2, 1, sharex=True)
    losses = [(row["step"], value) for row in rows if (value := finite(row.get("loss"))) is not None]
    if losses:
        dot = "o" if len(losses) == 1 else None  # a single point has no line by which it would be seen
        upper.plot(*zip(*losses, strict=True), color=INK, linewidth=1, marker=dot, markersize=3)
    upper.set_ylabel("loss")
    classes = list(dict.fromkeys(name for row in rows for name in row.get("validation_dice") or {}))
    pens = strokes(classes)
    for name in classes:
        points = [
            (row["step"], value)
            for row in rows
            if (value := finite((row.get("validation_dice") or {}).get(name))) is not None
        ]
        dashes = [float(length) for length in pens[name].dash.split()]
        style = (0, dashes) if dashes else "-"
        if points:
            lower.plot(*zip(*points, strict=True), color=pens[name].colour, linestyle=style, marker="o", markersize=3)
    lower.set_ylim(-0.02, 1.02)
    lower.set_ylabel("validation Dice")
    lower.set_xlabel("step")
    if classes:
        _legend(lower, classes, [pens[name].colour for name in classes])
    return figure


def _legend(axes: Axes, names: Sequence[str], colours: Sequence[str], *, below: bool = False) -> None:
    """A legend beside or below the axes; texts are set afterwards because matplotlib hides names beginning with `_`."""
    handles = [Line2D([], [], color=colour, marker="o", markersize=4, linestyle="none") for colour in colours]
    where: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    if below:
        where = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2}
    legend = axes.legend(handles, [str(place) for place in range(len(names))], **where)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(short(name))
