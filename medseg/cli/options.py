"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder for the result.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a result that medseg wrote there before.")]
Split = Annotated[str | None, typer.Option(help="Only the cases of this split of the data set.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Go on where predictions are missing.")]
Tolerance = Annotated[float, typer.Option("--tolerance", help="Tolerance of NSD in mm.")]
Tilt = Annotated[str | None, typer.Option(help="Tilted gantry: resample (default for DICOM), keep or refuse.")]
Gaps = Annotated[str | None, typer.Option(help="Missing or uneven slices: refuse (default) or resample.")]
NanHu = Annotated[float | None, typer.Option(help="HU of undefined voxels (NaN), refused without it.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Jobs = Annotated[int | None, typer.Option(help="Cases worked on at once, by a process each. [1; with --ray all cores]")]
Ray = Annotated[str | None, typer.Option(metavar="[ADDRESS]", help="Ray on this machine, or a cluster's address.")]
InsecureCluster = Annotated[bool, typer.Option("--insecure-cluster", help="Accept a cluster that asks for no token.")]


def with_ray_alone(arguments: list[str]) -> list[str]:
    """The arguments with `--ray local` for a `--ray` that stands last or before another option: typer needs a value.

    >>> with_ray_alone(["predict", "--ray", "--out", "X"]), with_ray_alone(["--ray", "10.0.0.5:6379"])
    (['predict', '--ray', 'local', '--out', 'X'], ['--ray', '10.0.0.5:6379'])
    """
    found: list[str] = []
    for text, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        found += [text, "local"] if text == "--ray" and following.startswith("-") else [text]
    return found
