"""`medseg figure`: one figure of an agreement as a file for a paper."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from medseg.errors import OutputExistsError
from medseg.report.figure_data import read_figure_data
from medseg.report.figure_file import WIDTH_MM, draw, save, width_in_mm


def figure(
    agreement: str | Path,
    *,
    kind: str,
    out: str | Path | None = None,
    width: str | float = WIDTH_MM,
    label: str | None = None,
    metric: str | None = None,
    dpi: int = 600,
    overwrite: bool = False,
) -> Figure:
    """Draws a figure of what `agree` wrote and returns it; with `out` it is saved as PDF, SVG or PNG by its ending.

    Args:
        agreement: an `agreement.json`, with `pairs.csv` and `cases.csv` beside it.
        kind, label, metric: as in `report.figure_file.draw`.
        width: in mm, or with its unit such as `3.3in`.

    Raises:
        FileReadError, UsageError: see `read_figure_data`, `draw` and `save`.
        OutputExistsError: `out` exists and `overwrite` is False.
    """
    if out is not None and Path(out).exists() and not overwrite:
        raise OutputExistsError("the file exists", where=Path(out).name,
                                do="Choose another name, or pass --overwrite.")  # fmt: skip
    width_mm = width_in_mm(width) if isinstance(width, str) else width
    drawn = draw(kind, read_figure_data(agreement), width_mm=width_mm, label=label, metric=metric)
    if out is not None:
        save(drawn, out, dpi=dpi)
    return drawn
