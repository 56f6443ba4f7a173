"""What `medseg invariance` writes: JSON, a table of every score, the page, and the curves as a figure for a paper."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from medseg.errors import FileReadError, OutputExistsError
from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.evaluation.dose_response_scores import ALL
from medseg.files import write_text
from medseg.report.figure_file import save
from medseg.report.invariance import curves_figure, invariance_page
from medseg.report.invariance_figures import PAGE_MM
from medseg.report.invariance_pictures import WorstCase
from medseg.report.invariance_tables import break_table
from medseg.workflows.invariance_result import SCHEMA, Tested
from medseg.workflows.outputs import plain, write_csv, write_json

COLUMNS = ("model", "case", "patient", "transform", "dose", "unit", "label", "reference", "dice")


def write_invariance(folder: Path, result: Mapping[str, Any], tested: Tested, pictures: Sequence[WorstCase]) -> None:
    """Writes `invariance.json`, `invariance.csv`, `report.html` and `figures/curves.pdf` and `.svg`."""
    rows = [
        {"model": model, "unit": CHALLENGES[line.transform].unit, **line._asdict()}
        for model, lines in tested.lines.items()
        for line in lines
    ]
    write_json(folder / "invariance.json", result)
    write_csv(folder / "invariance.csv", plain(rows), COLUMNS)
    write_text(folder / "report.html", invariance_page(result, pictures))
    for ending in ("pdf", "svg"):
        save(curves_figure(result), folder / "figures" / f"curves.{ending}")


def invariance_figure(
    result: str | Path,
    out: str | Path,
    *,
    transforms: Sequence[str] | None = None,
    label: str = ALL,
    width_mm: float = PAGE_MM,
    overwrite: bool = False,
) -> Path:
    """Draws some curves of an `invariance.json` for a paper: PDF, SVG or PNG by the ending of `out`, which it returns.

    Args:
        transforms, label, width_mm: as in `report.invariance.curves_figure`.

    Raises:
        FileReadError: no such result; UsageError: no such transform or structure; OutputExistsError: `out` exists.
    """
    if Path(out).exists() and not overwrite:
        raise OutputExistsError("the file exists", where=Path(out).name,
                                do="Choose another name, or pass --overwrite.")  # fmt: skip
    save(curves_figure(read_invariance(result), transforms, label=label, width_mm=width_mm), out)
    return Path(out)


def threshold_table(result: Mapping[str, Any]) -> Table:
    """Where the first model breaks, for the screen: a line for each transform and side."""
    found = break_table(result, result["models"][0])
    shown = [
        place for place, column in enumerate(found.columns) if column == "transform" or column.endswith("breaks at")
    ]
    table = Table(title=found.title, title_justify="left", caption=found.note, caption_justify="left")
    for place in shown:
        table.add_column(found.columns[place])
    for row in found.rows:
        table.add_row(*(str(row[place]) for place in shown))
    return table


def read_invariance(path: str | Path) -> dict[str, Any]:
    """The content of an `invariance.json`, or of the one in a folder.

    Raises:
        FileReadError: it is missing or something else.
    """
    path = Path(path)
    path = path / "invariance.json" if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise FileReadError("not what `medseg invariance` wrote", where=path.name, expected=f"schema {SCHEMA}")
    return found
