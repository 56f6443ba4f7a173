"""The command that compares runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg import workflows
from medseg.cli.screen import say, show

MOST_BESIDE = 8  # runs whose settings stand beside each other; those of more are lines


def runs(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN|FOLDER...", help="Run folders, or folders with some.")],
    sort: Annotated[str, typer.Option(help="name, best, last, steps or time.")] = "name",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Write report.html into each run anew.")] = False,
    no_images: Annotated[bool, typer.Option("--no-images", help="Outlines alone in the reports.")] = False,
) -> None:
    """Compare runs: Dice, steps, state, time and the settings in which they differ."""
    if report:
        for page in workflows.report_runs(paths, images=not no_images):
            typer.echo(f"Report: {page}", err=as_json)
    table = workflows.runs(paths, sort=sort)
    if as_json:
        say(table.to_json())
        return
    _show(*table.cells())
    head, body = table.settings()
    if body and len(table.rows) <= MOST_BESIDE:
        _show(head, body)
    elif body:
        for number, row in enumerate(table.rows, 1):
            say(f"{number}: " + ", ".join(f"{key}={value}" for key, value in row.differs.items()))


def _show(head: list[str], body: list[list[str]]) -> None:
    """A table of texts as they are: a setting such as [1, 2] is no markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        shown.add_column(Text(name), overflow="fold", no_wrap=name in ("step", "time", ""))
    for row in body:
        shown.add_row(*(Text(cell) for cell in row))
    show(shown)
