"""Readers and models as points on a plane: who draws like whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medseg.report.canvas import FAINT, INK, SIDE_MM, new_figure, styled
from medseg.report.palette import GREY, strokes
from medseg.report.wording import finite, short, structure

HEIGHT = 0.8  # of the width


@styled
def embedding(block: Mapping[str, Any], label: str, *, models: Iterable[str] = (), width_mm: float = SIDE_MM) -> Figure:
    """A map on which the distance of two names stands for their disagreement; its axes mean nothing.

    Args:
        block: `names`, `coordinates` (N, 2) in the same order and, where known, `explained`: the share of the
            squared disagreement that two dimensions hold, 0 to 1. A name without finite coordinates is left out and
            counted.
        label: the structure.
        models: names that are models: large points in their colours; readers are grey crosses.
    """
    places = np.array([[_or_nan(value) for value in pair] for pair in block["coordinates"]], dtype=float).reshape(-1, 2)
    pens = strokes([], models)
    figure = new_figure(width_mm, width_mm * HEIGHT)
    axes = figure.add_subplot()
    known = np.isfinite(places).all(axis=1)
    for name, (x, y) in zip(np.array(block["names"], dtype=object)[known], places[known], strict=True):
        colour, mark, size = (pens[name].colour, "o", 7) if name in pens else (GREY, "X", 6)
        axes.plot([x], [y], mark, color=colour, markersize=size, markeredgewidth=0)
        axes.annotate(short(name, 16), (x, y), (0, 6), textcoords="offset points", ha="center", color=INK)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.35)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(FAINT)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(structure(label) if known.all() else f"{structure(label)} ({(~known).sum()} not placed)")
    share = finite(block.get("explained"))
    axes.set_xlabel("near: they agree" + ("" if share is None else f" (two dimensions hold {share * 100:.0f} %)"))
    return figure


def _or_nan(value: object) -> float:
    known = finite(value)
    return np.nan if known is None else known
