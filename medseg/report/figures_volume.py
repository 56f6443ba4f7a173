"""Bland-Altman: volumes of single pairs, model minus reader and reader minus reader on the same axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.evaluation.volumes import bland_altman as plain_limits
from medseg.report.canvas import FAINT, SIDE_MM, new_figure, styled
from medseg.report.palette import GREY, strokes
from medseg.report.wording import finite, known_interval, short, structure
from medseg.shapes import FloatArray

Row = Mapping[str, Any]
READERS = "readers"  # key of the limits between readers
HEIGHT = 0.92  # of the width


@styled
def bland_altman(
    pairs: Sequence[Row],
    label: str,
    *,
    models: Iterable[str] = (),
    bands: Mapping[str, Row] | None = None,
    width_mm: float = SIDE_MM,
) -> Figure:
    """Volume differences of single pairs against their mean, with bias and 95 % limits of agreement.

    Both clouds use single readers, never the readers' mean, whose smaller variance would flatter the readers. Two
    readers have no order, so both differences of a pair count and their bias is 0.

    Args:
        pairs: rows as in `pairs.csv`.
        label: the structure.
        models: names that are models.
        bands: by `readers` and by model `bias`, `lower`, `upper` and their `..._ci95` in ml, as `volume_bands` finds
            them in `agreement.json`; drawn as lines on a shaded interval. A cloud without them gets its plain mean and
            1.96 standard deviations (Bland and Altman, 1986) without interval.
    """
    figure = new_figure(width_mm, width_mm * HEIGHT)
    axes = figure.add_subplot()
    axes.axhline(0, color=FAINT, linewidth=0.8)
    clouds = _clouds(pairs, label, list(models))
    for cloud in clouds:
        _draw(axes, cloud, (bands or {}).get(cloud.key) or _plain(cloud))
    axes.set_title(structure(label))
    axes.set_xlabel("mean volume of a pair (ml)")
    axes.set_ylabel("difference (ml)")
    _key(figure, clouds)
    return figure


def volume_bands(agreement: Mapping[str, Any], label: str) -> dict[str, Row]:
    """Limits of agreement with their intervals from `agreement.json`, by model and for the readers; what there is."""
    entry = agreement["labels"][label]
    found = {READERS: ((entry.get("volume") or {}).get("bland_altman") or {}).get("readers")}
    for model, block in entry.get("models", {}).items():
        found[model] = ((block.get("volume") or {}).get("bland_altman") or {}).get("model")
    return {name: limits for name, limits in found.items() if limits}


@dataclass(frozen=True, eq=False)
class _Cloud:
    """(N, 2) volumes in ml of one kind of pairs; the difference is second minus first."""

    key: str
    title: str
    colour: str
    volumes: FloatArray

    @property
    def both_orders(self) -> FloatArray:
        """The pairs as they are drawn: those of two readers in either order."""
        return np.vstack([self.volumes, self.volumes[:, ::-1]]) if self.key == READERS else self.volumes


def _clouds(pairs: Sequence[Row], label: str, models: Sequence[str]) -> list[_Cloud]:
    """The readers first; models are told apart where their names are given."""
    found = [_Cloud(READERS, "reader − reader", GREY, _volumes(pairs, label, "human-human", ()))]
    pens = strokes([], models or [""])
    for model in models or [""]:
        volumes = _volumes(pairs, label, "model-human", [model] if model else ())
        title = "model − reader" if len(models) < 2 else f"{short(model, 16)} − reader"
        found.append(_Cloud(model, title, pens[model].colour, volumes))
    return [cloud for cloud in found if len(cloud.volumes)]


def _volumes(pairs: Sequence[Row], label: str, kind: str, models: Sequence[str]) -> FloatArray:
    """(N, 2) volumes in ml of the pairs of that kind in which both are known; the model's stands second."""
    found = []
    for row in pairs:
        both = (finite(row["volume_a_ml"]), finite(row["volume_b_ml"]))
        ours = not models or row["a"] in models or row["b"] in models
        if row["label"] == label and row["kind"] == kind and ours and None not in both:
            found.append(both[::-1] if row["a"] in models else both)
    return np.array(found, dtype=float).reshape(-1, 2)


def _plain(cloud: _Cloud) -> Row:
    limits = plain_limits(*cloud.both_orders.T)
    return {} if limits is None else {"bias": limits.bias, "lower": limits.limits[0], "upper": limits.limits[1]}


def _draw(axes: Axes, cloud: _Cloud, limits: Row) -> None:
    means, differences = cloud.both_orders.mean(axis=1), np.diff(cloud.both_orders, axis=1)[:, 0]
    readers = cloud.key == READERS
    axes.plot(
        means, differences, "o" if not readers else "x", markersize=3, alpha=0.55, color=cloud.colour,
        markeredgewidth=0.7 if readers else 0, zorder=2,
    )  # fmt: skip
    for key in ("lower", "upper", "bias"):
        height, interval = finite(limits.get(key)), known_interval(limits.get(f"{key}_ci95"))
        if interval is not None:
            axes.axhspan(*interval, color=cloud.colour, alpha=0.16, linewidth=0, zorder=0)
        if height is not None:
            dashes = "-" if key == "bias" else (0, (4, 2))
            axes.axhline(height, color=cloud.colour, linewidth=1.1, linestyle=dashes, zorder=3)


def _key(figure: Figure, clouds: Sequence[_Cloud]) -> None:
    """Marks and their meaning below the figure, with the number of pairs."""
    handles = [
        Line2D([], [], color=cloud.colour, marker="x" if cloud.key == READERS else "o", markersize=4, linestyle="none")
        for cloud in clouds
    ]
    legend = figure.legend(
        handles, [str(place) for place in range(len(clouds))], loc="outside lower center", fontsize=8,
        handletextpad=0.1, labelspacing=0.2,
    )  # fmt: skip
    for text, cloud in zip(legend.get_texts(), clouds, strict=True):  # here a name may begin with `_`
        text.set_text(f"{cloud.title}, n = {len(cloud.volumes)}")
