"""Curves: how often a probability is right, and NSD at every tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.report.canvas import FAINT, INK, SIDE_MM, new_figure, styled
from medseg.report.palette import GREY, strokes
from medseg.report.wording import finite, number, short, structure
from medseg.shapes import FloatArray

Block = Mapping[str, Any]
HEIGHT = 0.92  # of the width
MARKS = "osD^"  # one for each model, beside its colour


@styled
def reliability(blocks: Mapping[str, Block], label: str, *, width_mm: float = SIDE_MM) -> Figure:
    """Share of voxels that readers marked against the model's probability, with the readers' envelope.

    The line is the mean over readers, the shade reaches from the reader who marked least to the one who marked most;
    bins with more voxels have larger points. On the diagonal a probability means what it says.

    Args:
        blocks: by model the block `reliability` of a calibration: `probability`, `observed_soft` and `voxels` (B,),
            `observed` (R, B). Empty bins are left out.
        label: the structure.
    """
    figure = new_figure(width_mm, width_mm * HEIGHT)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    pens = strokes([], blocks)
    for place, (model, block) in enumerate(blocks.items()):
        _reliability_line(axes, block, pens[model].colour, MARKS[place % len(MARKS)])
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="model's probability", ylabel="share marked by readers", aspect="equal")
    axes.set_title(structure(label))
    if len(blocks) > 1:
        lines = [
            Line2D([], [], color=pens[model].colour, marker=MARKS[n % len(MARKS)]) for n, model in enumerate(blocks)
        ]
        _names(axes, list(zip(blocks, lines, strict=True)), "upper left")
    return figure


def _reliability_line(axes: Axes, block: Block, colour: str, mark: str) -> None:
    x, mean = numbers(block["probability"]), numbers(block["observed_soft"])
    readers = np.array([numbers(row) for row in block["observed"]]).reshape(-1, len(x))
    voxels = np.nan_to_num(numbers(block["voxels"]))
    known = np.isfinite(x) & np.isfinite(mean)
    if not known.any():
        return
    if len(readers):
        seen = known & np.isfinite(readers).any(axis=0)
        low, high = np.nanmin(readers[:, seen], axis=0), np.nanmax(readers[:, seen], axis=0)
        axes.fill_between(x[seen], low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x[known], mean[known], color=colour, linewidth=1.3)
    sizes = 6 + 34 * np.sqrt(voxels[known] / max(voxels[known].max(), 1))
    axes.scatter(x[known], mean[known], s=sizes, color=colour, marker=mark, linewidths=0, zorder=3, clip_on=False)


@styled
def surface_distance_curves(
    blocks: Mapping[str, Block], label: str, *, tolerance_mm: float | None = None, width_mm: float = SIDE_MM
) -> Figure:
    """Mean share of the surface (NSD) within each tolerance: readers among each other and every model with readers.

    Args:
        blocks: by model `tolerance_mm`, `human_human`, `model_human` (T,) or null and `n_patients`; under any name,
            without `model_human`, where there are readers only.
        label: the structure.
        tolerance_mm: the one that NSD was judged at: a dashed line.
    """
    figure = new_figure(width_mm, width_mm * HEIGHT)
    axes = figure.add_subplot()
    named: list[tuple[str, Line2D]] = []
    for colour, name, x, y, dashes in _distance_lines(blocks):
        named.append((name, axes.plot(x, y, color=colour, linewidth=1.6, linestyle=dashes)[0]))
    if tolerance_mm is not None:
        axes.axvline(tolerance_mm, color=INK, linewidth=1, linestyle=(0, (3, 2)))
        axes.annotate(
            f"{number(tolerance_mm).rstrip('0').rstrip('.')} mm", (tolerance_mm, 0.02), (3, 0),
            xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=8,
        )  # fmt: skip
    patients = {block.get("n_patients") for block in blocks.values()}
    axes.set_title(structure(label) + (f", n = {patients.pop()} patients" if len(patients) == 1 else ""))
    axes.set(xlabel="tolerance (mm)", ylabel="NSD", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    if named:
        _names(axes, named, "lower right")
    return figure


def _distance_lines(blocks: Mapping[str, Block]) -> list[tuple[str, str, FloatArray, FloatArray, Any]]:
    """Colour, name, tolerances, NSD and dashes of every line; the readers' line once where all models share it."""
    pens = strokes([], blocks)
    found: list[tuple[str, str, FloatArray, FloatArray, Any]] = []
    drawn: list[FloatArray] = []
    for model, block in blocks.items():
        x = numbers(block["tolerance_mm"])
        if block.get("human_human") is not None:
            y = numbers(block["human_human"])
            if not any(np.array_equal(y, other, equal_nan=True) for other in drawn):
                name = "readers" if not drawn else f"readers (cases of {short(model, 16)})"
                found.append((GREY, name, x, y, (0, (5, 1.5))))
                drawn.append(y)
        if block.get("model_human") is not None:
            found.append((pens[model].colour, short(model), x, numbers(block["model_human"]), "-"))
    return found


def numbers(values: Sequence[object]) -> FloatArray:
    """(N,) with NaN for what is not finite."""
    return np.array([np.nan if (known := finite(value)) is None else known for value in values], dtype=float)


def _names(axes: Axes, named: Sequence[tuple[str, Line2D]], where: Literal["upper left", "lower right"]) -> None:
    """A legend; the texts are set afterwards because matplotlib hides names that begin with `_`."""
    legend = axes.legend(
        [line for _, line in named], [str(place) for place in range(len(named))], loc=where, fontsize=8
    )
    for text, (name, _) in zip(legend.get_texts(), named, strict=True):
        text.set_text(short(name))
