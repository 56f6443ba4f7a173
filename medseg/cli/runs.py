"""Commands around what is there already: runs, masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg import workflows
from medseg.cli.options import Gaps, Out, Overwrite, Tilt
from medseg.cli.screen import names, say, show

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


def masks(
    file: Annotated[Path, typer.Argument(metavar="MASKS", help="NIfTI, NRRD or MetaImage of label values.")],
    study: Annotated[Path, typer.Option("--study", help="The CT that was segmented.")],
    out: Out = ...,  # type: ignore[assignment]
    labels: Annotated[str | None, typer.Option(help="Names and values: a YAML file or liver=1,kidney=2.")] = None,
    format: Annotated[
        str, typer.Option(help="nifti, nrrd, dicom-seg, rtstruct, png, viewer; several by commas.")
    ] = "dicom-seg,rtstruct",
    made_by: Annotated[str, typer.Option(help="Program and version, or who drew them.")] = "not told",
    way: Annotated[str, typer.Option(help="automatic, semiautomatic or manual.")] = "automatic",
    series: Annotated[str | None, typer.Option(help="Of a study with several.")] = None,
    tilt: Tilt = None,
    gaps: Gaps = None,
    codes: Annotated[Path | None, typer.Option(help="YAML or CSV: your codes of the structures, for DICOM.")] = None,
    short_names: Annotated[bool, typer.Option("--short-names", help="RTSTRUCT: names of at most 16 letters.")] = False,
    no_images: Annotated[bool, typer.Option("--no-images", help="Pictures and pages without the CT.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write masks of another tool, or drawn by hand, as DICOM SEG, RTSTRUCT and the other formats of predict."""
    found = workflows.masks(file, study, out, labels=labels, formats=names(format), made_by=made_by, way=way,
                            series=series, tilt=tilt, gaps=gaps, codes=codes, short_names=short_names,
                            images=not no_images, overwrite=overwrite)  # fmt: skip
    for note in found.notes:
        say(f"Note: {note}")
    kept = f", {len(found.kept)} of them there before" if found.kept else ""
    say(f"{len(found.paths) - 1} file{'s' if len(found.paths) > 2 else ''}{kept}: {out}")


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
