"""The command that learns from held-out cases how to treat a run's predictions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg import workflows
from medseg.cli.options import Device, Overwrite
from medseg.cli.screen import progress_bars, say, show


def validate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that `medseg train` wrote.")],
    data: Annotated[
        Path | None, typer.Option(help="The data set or store, where it is not where the recipe says.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    device: Device = "auto",
    keep_postprocessing: Annotated[
        bool, typer.Option("--keep-postprocessing", help="Measure the run's postprocessing.yaml instead of choosing.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Choose a run's postprocessing on its held-out cases, and calibrate the expected Dice."""
    with progress_bars(lines=True) as progress:
        found = workflows.validate(runs, data=data, checkpoint=checkpoint, device=device,
                                   keep_postprocessing=keep_postprocessing, overwrite=overwrite, say=say,
                                   progress=progress)  # fmt: skip
    for each in found:
        _tell(each)


def _tell(found: Any) -> None:
    """The structures in a table, then the steps, then where all of it lies."""
    _show_structures(found)
    for each in found.chosen:
        say(f"{' and '.join(each.step.of)}: {each.step}; Dice {each.dice_before:.4f} -> {each.dice_after:.4f} "
            f"(n {each.cases}; {each.left_out_gain:+.4f} on patients left out)")  # fmt: skip
    if not found.postprocessing.steps:
        few = f"{found.patients} patients are too few to choose postprocessing by (5 are needed)."
        say(few if found.too_few else "No postprocessing gains Dice beyond noise.")
    if few := [name for name, each in found.expected.items() if each(1.0) is None]:
        say(f"Too few cases to say which Dice to expect (9 are needed): {', '.join(few)}.")
    say(f"{found.cases} held-out cases: {found.run}")


def _show_structures(found: Any) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    head = ("structure", "n", "Dice", "postprocessed", "false alarms", "expected Dice is off by")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        table.add_column(name, justify="left" if name == "structure" else "right")
    for name, before in found.before.items():
        after, expected = found.after[name], found.expected.get(name)
        alarms = f"{before.false_alarms} -> {after.false_alarms}" if before.false_alarms else "0"
        off = _number(expected.mean_error) if expected is not None else ""
        table.add_row(Text(name), str(before.cases), _number(before.dice), _number(after.dice), alarms, off)
    show(table)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
