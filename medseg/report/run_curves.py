"""The curves of a training, one small figure each: loss, Dice, learning rate, speed, waiting for data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.report.canvas import FAINT, INK, SIDE_MM, new_figure, styled
from medseg.report.palette import Stroke, strokes
from medseg.report.wording import finite

Row = Mapping[str, Any]
HEIGHT_MM = 62.0
MOST_COLOURED = 12  # structures that get a colour of their own; of more, those that are worst


@styled
def number_curve(rows: Sequence[Row], key: str, label: str, *, factor: float = 1.0, top: float | None = None) -> Figure:
    """A number of the log over the steps; rows without it, or where it is not finite, are left out.

    Args:
        rows: of the log, each with `step`.
        key: of the number.
        factor: the number is multiplied by it.
        top: upper end of the axis, whose lower end is then 0.
    """
    figure, axes = _axes(label, rows)
    points = [(row["step"], value * factor) for row in rows if (value := finite(row.get(key))) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=INK, linewidth=1, marker=_dot(points), markersize=3)
    if top is not None:
        axes.set_ylim(0, top)
    return figure


@styled
def dice_curves(rows: Sequence[Row]) -> Figure:
    """Validation Dice of every structure and, thick, the mean of several; those without an own stroke are faint."""
    figure, axes = _axes("validation Dice", rows)
    validations = [row for row in rows if isinstance(row.get("validation_dice"), Mapping)]
    pens = curve_strokes(rows)
    names = _structures(validations)
    for name in names:
        pen = pens.get(name)
        dashes = [float(length) for length in pen.dash.split()] if pen else []
        points = [(row["step"], finite(row["validation_dice"].get(name))) for row in validations]
        _line(axes, points, pen.colour if pen else FAINT, 1.3 if pen else 0.5, (0, dashes) if dashes else "-")
    if len(names) > 1:
        _line(axes, [(row["step"], finite(row.get("mean_dice"))) for row in validations], INK, 2.4, "-")
    axes.set_ylim(-0.02, 1.02)
    return figure


def curve_strokes(rows: Sequence[Row]) -> dict[str, Stroke]:
    """The stroke of each structure in `dice_curves`; of more than twelve, those of lowest Dice at the end."""
    validations = [row["validation_dice"] for row in rows if isinstance(row.get("validation_dice"), Mapping)]
    names = _structures([{"validation_dice": each} for each in validations])
    if len(names) > MOST_COLOURED:
        last = validations[-1]
        worst = sorted((name for name in names if finite(last.get(name)) is not None), key=lambda name: last[name])
        names = [name for name in names if name in worst[:MOST_COLOURED]]
    return strokes(names)


def _structures(validations: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in validations for name in row["validation_dice"]))


def _axes(label: str, rows: Sequence[Row]) -> tuple[Figure, Axes]:
    """Axes over all steps of the log, so that the curves stand above each other."""
    figure = new_figure(SIDE_MM, HEIGHT_MM)
    axes = figure.add_subplot()
    axes.set(xlabel="step", ylabel=label)
    axes.set_xlim(0, max((row["step"] for row in rows), default=1) * 1.03)
    return figure, axes


def _line(axes: Axes, points: Sequence[tuple[int, float | None]], colour: str, width: float, style: Any) -> None:
    known = [(step, value) for step, value in points if value is not None]
    if known:
        axes.plot(*zip(*known, strict=True), color=colour, linewidth=width, linestyle=style,
                  marker=_dot(known, 29), markersize=2 + width / 2)  # fmt: skip


def _dot(points: Sequence[Any], most: int = 1) -> str | None:
    """The marker of a curve of at most so many points: a single one has no line by which it would be seen."""
    return "o" if len(points) <= most else None
