"""What `medseg agree` writes: tables of pairs and cases, figures and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.evaluation.agreement import Json, LabelAgreement, Protocol
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores, kind_of
from medseg.files import write_text
from medseg.report.checklists import checklists_markdown
from medseg.report.drawings import Drawings
from medseg.report.overlay import Overlay
from medseg.report.page import Table, agreement_page
from medseg.report.wording import number, structure
from medseg.workflows.outputs import write_csv, write_json
from medseg.workflows.readings import Readings
from medseg.workflows.slices import case_overlay, shown_cases

PAIR_COLUMNS = (
    "case", "patient", "label", "a", "b", "kind", *METRICS, "volume_a_ml", "volume_b_ml", "flag",
)  # fmt: skip
CASE_COLUMNS = ("case", "patient", "label", "metric", "human_human", "model_human", "difference", "everyone_marked")
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Extras:
    """What the page shows besides the numbers.

    Args:
        slices: with everybody's outline.
        tables: further tables.
        viewers: case to its viewer page, from the folder of the report.
    """

    slices: Sequence[Overlay] = ()
    tables: Sequence[Table] = ()
    viewers: Mapping[str, str] = field(default_factory=dict)


def pair_rows(cases: Sequence[CaseScores], raters: Sequence[str], models: Sequence[str]) -> list[Json]:
    """Lines of `pairs.csv`: two readers, or a model and a reader."""
    return [
        {
            "case": case.case,
            "patient": case.patient,
            **score.as_record(),
            "kind": kind,
        }
        for case in cases
        for score in case.scores
        if (kind := next(filter(None, (kind_of(score, raters, model) for model in models or [None])), ""))
    ]


def case_rows(found: Sequence[LabelAgreement]) -> list[Json]:
    """Lines of `cases.csv`: one per label, model, metric and case."""
    return [
        {column: getattr(row, column) for column in CASE_COLUMNS} | {"model": model}
        for label in found
        for model, rows in label.rows.items()
        for row in rows
    ]


def overlays(
    source: Readings, found: Sequence[LabelAgreement], deciding: str | None, protocol: Protocol, images: bool
) -> list[Overlay]:
    """Best, median and worst case of the label that decided, by the first model."""
    label = next((label for label in found if label.label == deciding), None)
    rows = [row for row in next(iter(label.rows.values())) if row.metric == protocol.metric] if label else []
    drawn = []
    for name, row in shown_cases(rows):
        volume = source.image(row.case) if images and source.image else None
        value = row.difference if not np.isnan(row.difference) else row.human_human
        what = f"D {number(value, signed=True)}" if not np.isnan(row.difference) else f"readers {number(value)}"
        title = f"{name} case, {structure(row.label)}: {what} ({METRICS[protocol.metric].title})"
        drawn.append(case_overlay(source.read(row.case), row.label, title, volume))
    return drawn


def write_agreement(folder: Path, result: Json, pairs: Rows, cases: Rows, extras: Extras) -> None:
    """Writes the JSON, both tables, the checklists, the figures and the page."""
    write_json(folder / "agreement.json", result)
    write_csv(folder / "pairs.csv", pairs, PAIR_COLUMNS)
    write_csv(folder / "cases.csv", cases, (*CASE_COLUMNS, "model"))
    drawings = Drawings(result, pairs, cases)
    for name, svg in drawings.files().items():
        write_text(folder / "figures" / f"{name}.svg", svg)
    write_text(folder / "checklists.md", checklists_markdown(result))
    page = agreement_page(result, pairs, cases, extras.slices, extras.tables, extras.viewers, drawings)
    write_text(folder / "report.html", page)
