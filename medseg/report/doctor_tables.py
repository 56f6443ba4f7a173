"""The tables of a check: the same rows for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from medseg.imaging.labels import BACKGROUND
from medseg.report.doctor import CaseRow, CheckReport, Problem
from medseg.report.tables import Table

MOST_ROWS = 50  # of a table in the terminal; JSON and the page hold all
VOLUMES = "Volumes in ml"
MOST_COLUMNS = 8  # structures side by side; more are only summarised


def render(report: CheckReport) -> Group:
    """The report for a terminal: cases, structures, problems, and a last line with the counts and what was read."""
    tables = [case_table(report), structure_table(report), volume_table(report)] if report.cases else []
    parts = [part for table in tables if table is not None for part in _rich(table)]
    parts += [_problem_table(report.problems)] if report.problems else []
    return Group(*parts, Text(report.verdict, style="bold green" if report.ok else "bold red"))


def case_table(report: CheckReport) -> Table:
    """A row per case; columns that say nothing for any case are left out."""
    columns = ("case", "patient", "group", "split", "voxels", "spacing mm", "axes", "field of view mm", "HU", "kernel",
               "raters", "slices")  # fmt: skip
    rows = [_case_cells(row) for row in report.cases]
    kept = [place for place in range(len(columns)) if place == 0 or any(cells[place] for cells in rows)]
    return Table("Cases", tuple(columns[i] for i in kept), [[cells[i] for i in kept] for cells in rows])


def _case_cells(row: CaseRow) -> list[str]:
    return [
        row.case,
        "" if row.patient == row.case else row.patient,
        row.group or "",
        row.split or "",
        " x ".join(map(str, row.shape)) if row.shape else "unreadable",
        _triple(row.spacing_mm, ".3g"),
        row.orientation or "",
        _triple(row.field_of_view_mm, ".0f"),
        f"{row.hu_range[0]:.0f} to {row.hu_range[1]:.0f}" if row.hu_range else "",
        row.kernel,
        ", ".join(row.raters) or "none",
        _slices(row),
    ]


def _triple(values: tuple[float, float, float] | None, form: str) -> str:
    return " x ".join(f"{value:{form}}" for value in values) if values else ""


def _slices(row: CaseRow) -> str:
    """What is to be known about the slices, in a few words."""
    filled = {index for structures in row.filled.values() for slices in structures.values() for index in slices}
    said = [
        f"tilt {row.tilt_deg:.3g}°" if row.tilt_deg else "",
        f"{len(row.invented)} invented" if row.invented else "",
        f"{len(filled)} filled" if filled else "",
    ]
    return ", ".join(word for word in said if word)


def structure_table(report: CheckReport) -> Table | None:
    """Volumes and components per structure and reading over all cases; None when no voxel was read."""
    rows = []
    for label in _structures(report):
        for reading in _readings(report):
            found = [row for row in report.cases if label in row.volumes_ml.get(reading, {})]
            volumes = [ml for row in found if (ml := row.volumes_ml[reading][label]) > 0]
            if not found:
                continue
            spread = f"{millilitres(min(volumes))} to {millilitres(max(volumes))}" if volumes else ""
            pieces = [row.components[reading][label] for row in found if row.volumes_ml[reading][label] > 0]
            rows.append([label, reading, str(len(found)), str(len(volumes)),
                         millilitres(median(volumes)) if volumes else "", spread, _pieces(pieces)])  # fmt: skip
    columns = ("structure", "reading", "cases read", "cases drawn", "median ml", "range ml", "components")
    return Table("Structures", columns, rows) if rows else None


def _pieces(pieces: Sequence[int]) -> str:
    return "" if not pieces else f"{pieces[0]}" if len(set(pieces)) == 1 else f"{min(pieces)} to {max(pieces)}"


def volume_table(report: CheckReport) -> Table | None:
    """A row per case and reading: ml of every structure, and in how many pieces when it is not one."""
    labels = _structures(report)
    rows = [
        [row.case, reading, *(_volume(row, reading, label) for label in labels)]
        for row in report.cases
        for reading in row.volumes_ml
    ]
    note = "In brackets the number of connected components where it is not 1."
    return Table(VOLUMES, ("case", "reading", *labels), rows, note) if rows else None


def _volume(row: CaseRow, reading: str, label: str) -> str:
    ml = row.volumes_ml[reading].get(label)
    if ml is None:
        return "not read"
    pieces = row.components[reading][label]
    return millilitres(ml) if pieces <= 1 else f"{millilitres(ml)} ({pieces})"


def millilitres(ml: float) -> str:
    """A volume with about three digits: nothing below 0.001 ml is printed as 0.

    >>> millilitres(1532.4), millilitres(12.34), millilitres(0.0123), millilitres(0)
    ('1532', '12.3', '0.0123', '0')
    """
    return f"{ml:.0f}" if ml >= 100 or ml == 0 else f"{ml:.3g}"


def _structures(report: CheckReport) -> list[str]:
    return [label for label in report.labels if label != BACKGROUND]


def _readings(report: CheckReport) -> list[str]:
    """Raters in their order, then the truth."""
    seen = {reading: None for row in report.cases for reading in row.volumes_ml}
    return [*(rater for rater in report.raters if rater in seen), *(name for name in seen if name not in report.raters)]


def _rich(table: Table) -> Iterator[RichTable | Text]:
    """The table, cut to what a terminal holds, and below it its note and what was cut."""
    columns = table.columns[: MOST_COLUMNS + 2] if table.title == VOLUMES else table.columns
    drawn = RichTable(*columns, title=table.title, title_justify="left")
    for cells in table.rows[:MOST_ROWS]:
        drawn.add_row(*(Text(str(cell)) for cell in cells[: len(columns)]))
    yield drawn
    cut = {"rows": len(table.rows) - MOST_ROWS, "structures": len(table.columns) - len(columns)}
    hidden = " and ".join(f"{count} more {word}" for word, count in cut.items() if count > 0)
    lines = [table.note, f"{hidden}: --json and --html hold all." if hidden else ""]
    if note := " ".join(filter(None, lines)):
        yield Text(f"{note[0].upper()}{note[1:]}", style="dim")


def _problem_table(problems: Iterable[Problem]) -> RichTable:
    table = RichTable("", "problem", "how to mend it", title="Problems", title_justify="left", show_lines=True)
    for problem in sorted(problems, key=lambda problem: problem.severity):
        colour = "red" if problem.severity == "error" else "yellow"
        table.add_row(Text(problem.severity, style=colour), Text(problem.message), Text(problem.do))
    return table
