"""What `medseg invariance` writes: JSON, a table of every score, and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.files import write_text
from medseg.report.invariance import invariance_page
from medseg.report.invariance_pictures import WorstCase
from medseg.workflows.invariance_result import Tested
from medseg.workflows.outputs import plain, write_csv, write_json

COLUMNS = ("model", "case", "patient", "transform", "dose", "unit", "label", "reference", "dice")


def write_invariance(folder: Path, result: Mapping[str, Any], tested: Tested, pictures: Sequence[WorstCase]) -> None:
    """Writes `invariance.json`, `invariance.csv` and `report.html`."""
    rows = [
        {"model": model, "unit": CHALLENGES[line.transform].unit, **line._asdict()}
        for model, lines in tested.lines.items()
        for line in lines
    ]
    write_json(folder / "invariance.json", result)
    write_csv(folder / "invariance.csv", plain(rows), COLUMNS)
    write_text(folder / "report.html", invariance_page(result, pictures))
