"""One figure of an agreement, at the width of a journal's column, as a file that holds its own fonts."""

from __future__ import annotations

import difflib
import io
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from medseg.errors import UsageError
from medseg.files import atomic_path
from medseg.report.canvas import INCH_MM
from medseg.report.figure_data import FigureData
from medseg.report.figures import forest, matrix, scatter
from medseg.report.figures_curves import reliability, surface_distance_curves
from medseg.report.figures_map import embedding
from medseg.report.figures_volume import bland_altman, volume_bands
from medseg.report.tables import differences, judged_metric
from medseg.report.wording import finite

WIDTH_MM = 85.0  # one column of most journals
WIDTHS_MM = (40.0, 400.0)
DPI = (50, 2400)
PRINT_SCALE = 0.85  # of the letters on a page: 9 points become 7.7, which journals take
SELF_CONTAINED: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "medseg",
    "text.parse_math": False,
}
NAMELESS: dict[str, dict[str, Any]] = {  # what matplotlib would write about time and program
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class View:
    """What of an agreement is drawn."""

    label: str
    metric: str
    width_mm: float

    def absent(self, what: str) -> UsageError:
        """The error for a file that lacks what a figure needs."""
        return UsageError(f"the agreement holds no {what} of '{self.label}'", do="Choose another --label or --kind.")


def draw(
    kind: str,
    data: FigureData,
    *,
    width_mm: float = WIDTH_MM,
    label: str | None = None,
    metric: str | None = None,
) -> Figure:
    """A matplotlib Figure of one of KINDS.

    Args:
        kind: key of KINDS.
        data: as `read_figure_data` reads it.
        width_mm: of the figure; its height follows.
        label: the structure, for all but the forest; by default the one with the lowest D, as the figure's title says.
        metric: by default the judged one.

    Raises:
        UsageError: an unknown kind, label or metric (the nearest known one is named), a width that cannot be drawn,
            or a block that this agreement does not hold.
    """
    _known(kind, KINDS, "--kind", "kind of figure")
    if not WIDTHS_MM[0] <= width_mm <= WIDTHS_MM[1]:
        raise UsageError("a width that cannot be drawn", where="--width", expected="40 to 400 mm", got=f"{width_mm:g}")
    judged = metric or judged_metric(data.agreement)
    if metric:
        _known(metric, _metrics(data), "--metric", "metric of this agreement")
    structure = label or _lowest(data.agreement, judged)
    _known(structure, data.agreement["labels"], "--label", "label of this agreement")
    figure = KINDS[kind](data, View(structure, judged, width_mm))
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(float(text.get_fontsize()) * PRINT_SCALE)
    return figure


def save(figure: Figure, path: str | Path, *, dpi: int = 600) -> None:
    """Writes PDF, SVG or PNG by the ending of `path`; the same figure gives the same bytes every time.

    Fonts are embedded (PDF) or drawn as outlines (SVG); no date, program, machine or folder is written. PNG has a
    white ground.

    Raises:
        UsageError: another ending, or a resolution outside 50 to 2400 dots per inch.
        WriteError: the disk refused.
    """
    path = Path(path)
    form = path.suffix.lower().removeprefix(".")
    _known(form, NAMELESS, path.name, "figure format")
    if not DPI[0] <= dpi <= DPI[1]:
        raise UsageError("a resolution that cannot be drawn", where="--dpi", expected="50 to 2400", got=str(dpi))
    ground = {"facecolor": "white", "transparent": False} if form == "png" else {"transparent": True}
    stream = io.BytesIO()
    with matplotlib.rc_context(SELF_CONTAINED), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name in letters that the font lacks
        figure.savefig(stream, format=form, dpi=dpi, metadata=NAMELESS[form], **ground)
    with atomic_path(path) as temporary:
        temporary.write_bytes(stream.getvalue())


def width_in_mm(text: str) -> float:
    """Reads a width such as `85mm`, `8.5 cm`, `3.3in` or `85` (mm).

    Raises:
        UsageError: no number with one of these units.

    Example:
        >>> width_in_mm("85mm"), width_in_mm("8.5 cm"), width_in_mm("2in")
        (85.0, 85.0, 50.8)
    """
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*(mm|cm|in)?\s*", text)
    if not found:
        raise UsageError("a width that cannot be read", where="--width", expected="such as 85mm", got=repr(text[:40]))
    return float(found[1]) * {"mm": 1.0, "cm": 10.0, "in": INCH_MM}[found[2] or "mm"]


def _known(name: str, known: Mapping[str, Any] | set[str], where: str, what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"unknown {what}", where=where, expected="one of " + ", ".join(known), got=repr(name), do=hint)


def _metrics(data: FigureData) -> set[str]:
    return {metric for entry in data.agreement["labels"].values() for metric in entry.get("human_human", {})} | {
        metric for _, _, found in _models(data.agreement) for metric in found.get("model_human", {})
    }


def _models(agreement: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [
        (label, model, block)
        for label, entry in agreement["labels"].items()
        for model, block in entry.get("models", {}).items()
    ]


def _lowest(agreement: Mapping[str, Any], metric: str) -> str:
    """The label with the lowest D; the first where none has a D."""
    means = [
        (mean, label)
        for label, _, entry in differences(agreement, metric)
        if (mean := finite(entry.get("mean"))) is not None
    ]
    return min(means, key=lambda found: found[0])[1] if means else next(iter(agreement["labels"]), "")


def _forest(data: FigureData, view: View) -> Figure:
    if not data.agreement["design"]["models"]:
        raise UsageError("readers alone have no difference D", where="--kind", expected="an agreement with a model")
    return forest(data.agreement, view.metric, width_mm=view.width_mm)


def _matrix(data: FigureData, view: View) -> Figure:
    _not_anonymous(data)
    models = data.agreement["design"]["models"]
    return matrix(_rows(data.pairs, view), view.label, view.metric, models=models, width_mm=view.width_mm)


def _embedding(data: FigureData, view: View) -> Figure:
    _not_anonymous(data)
    block = data.agreement["labels"][view.label].get("embedding")
    if not block:
        raise view.absent("embedding")
    return embedding(block, view.label, models=data.agreement["design"]["models"], width_mm=view.width_mm)


def _scatter(data: FigureData, view: View) -> Figure:
    rows = [row for row in _rows(data.cases, view) if row["metric"] == view.metric]
    if not rows:
        raise view.absent(f"cases with '{view.metric}'")
    margins = {
        finite(entry.get("margin")) for name, _, entry in differences(data.agreement, view.metric) if name == view.label
    }
    margin = margins.pop() if len(margins) == 1 else None
    return scatter(rows, view.label, view.metric, margin=margin, width_mm=view.width_mm)


def _bland_altman(data: FigureData, view: View) -> Figure:
    bands, models = volume_bands(data.agreement, view.label), data.agreement["design"]["models"]
    return bland_altman(_rows(data.pairs, view), view.label, models=models, bands=bands, width_mm=view.width_mm)


def _reliability(data: FigureData, view: View) -> Figure:
    blocks = _blocks(data, view, "reliability")
    return reliability(blocks, view.label, width_mm=view.width_mm)


def _distances(data: FigureData, view: View) -> Figure:
    blocks = _blocks(data, view, "surface_curves")
    stated = (data.agreement.get("config", {}).get("tolerance_mm") or {}).get(view.label)
    return surface_distance_curves(blocks, view.label, tolerance_mm=finite(stated), width_mm=view.width_mm)


def _blocks(data: FigureData, view: View, key: str) -> dict[str, Mapping[str, Any]]:
    """A block by model, or that of the label itself where there are readers only."""
    entry = data.agreement["labels"][view.label]
    found = {model: block[key] for model, block in entry.get("models", {}).items() if block.get(key)}
    found = found or ({"readers": entry[key]} if entry.get(key) else {})
    if not found:
        raise view.absent(key.replace("_", " "))
    return found


def _rows(rows: Any, view: View) -> list[Mapping[str, Any]]:
    found = [row for row in rows if row["label"] == view.label]
    if not found:
        raise view.absent("rows")
    return found


def _not_anonymous(data: FigureData) -> None:
    if data.agreement["design"].get("anonymous"):
        raise UsageError("the readers are anonymous: a name may stand for different people", where="--kind",
                         expected="a figure without single readers, such as scatter")  # fmt: skip


KINDS: dict[str, Callable[[FigureData, View], Figure]] = {
    "forest": _forest,
    "scatter": _scatter,
    "matrix": _matrix,
    "embedding": _embedding,
    "bland-altman": _bland_altman,
    "reliability": _reliability,
    "surface-distance": _distances,
}
