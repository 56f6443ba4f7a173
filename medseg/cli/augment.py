"""Commands around augmentation: augment-preview, and invariance, which measures what it taught."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg import workflows
from medseg.cli.options import AllowMissing, Device, Gaps, NanHu, Out, Overwrite, Split, Tilt
from medseg.cli.screen import names, progress_bars, say, show, triple
from medseg.errors import UsageError


def augment_preview(
    source: Annotated[Path, typer.Argument(metavar="CASE", help="An image, or a data set.")],
    out: Annotated[Path, typer.Option("--out", help="The page: page.html.")] = ...,  # type: ignore[assignment]
    preset: Annotated[str | None, typer.Option(help="nnunet, ct_default (without it), ct_strong ...")] = None,
    recipe: Annotated[Path | None, typer.Option(help="The transforms of this recipe instead.")] = None,
    case: Annotated[str | None, typer.Option(help="Of a data set; its first without.")] = None,
    steps: Annotated[str | None, typer.Option(help="Only these one by one: affine,noise.")] = None,
    samples: Annotated[int, typer.Option(help="Of the whole set.")] = 6,
    seed: Annotated[int, typer.Option(help="The same seed gives the same page.")] = 0,
    spacing: Annotated[str | None, typer.Option(help="Grid in mm, such as 2,2,2.")] = None,
    series: Annotated[str | None, typer.Option(help="Of a DICOM folder with several.")] = None,
    tilt: Tilt = None,
    gaps: Gaps = None,
    nan_hu: NanHu = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Show CT slices.")] = True,
) -> None:
    """Show what a set of transforms makes of a case, with the parameters that were drawn, before training with it."""
    given = {"series": series, "tilt": tilt, "gaps": gaps, "nan_hu": nan_hu}
    page = workflows.augment_preview(
        source, out=out, preset=preset, recipe=recipe, case=case, steps=names(steps), samples=samples, seed=seed,
        spacing_mm=triple(spacing, "--spacing"), images=images,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    say(f"Page: {page}")


def invariance(
    inputs: Annotated[list[Path], typer.Argument(metavar="[RUN] DATASET", help="The run to test, and the cases.")],
    out: Out = ...,  # type: ignore[assignment]
    versus: Annotated[list[Path] | None, typer.Option(help="Further runs to compare with, one each.")] = None,
    transforms: Annotated[str | None, typer.Option(help="rotation_z,noise,... ; all without it.")] = None,
    doses: Annotated[list[str] | None, typer.Option(help="rotation_z=0,15,30; once a transform.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer doses.")] = False,
    margin: Annotated[float, typer.Option(help="Largest drop of mean Dice that does not matter.")] = 0.05,
    cases: Annotated[int | None, typer.Option(help="Only the first so many.")] = None,
    split: Split = None,
    export_inputs: Annotated[
        bool, typer.Option("--export-inputs", help="Only write the transformed inputs, for another tool.")
    ] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="Instead of RUN: what another tool made of exported inputs.")
    ] = None,
    model_labels: Annotated[Path | None, typer.Option(help="map.yaml: what that tool calls the labels.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    device: Device = "auto",
    images: Annotated[bool, typer.Option("--images/--no-images", help="Show CT slices in the report.")] = True,
    seed: Annotated[int, typer.Option(help="Of noise, hidden cubes and the bootstrap.")] = 0,
    allow_missing: AllowMissing = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure how Dice falls as the input is turned, scaled, shifted, blurred or hidden; one run or several."""
    run = _run_of(inputs, needs_run=not export_inputs and predictions is None)
    with progress_bars() as progress:
        if export_inputs:
            made = workflows.export_inputs(inputs[-1], out=out, transforms=transforms, doses=doses, quick=quick,
                                           cases=cases, split=split, seed=seed, overwrite=overwrite,
                                           progress=progress)  # fmt: skip
            say(f"Inputs: {made}")
            return
        result = workflows.invariance(
            run, inputs[-1], out=out, versus=versus or [], predictions=predictions, model_labels=model_labels,
            transforms=transforms, doses=doses, quick=quick, cases=cases, split=split, margin=margin, seed=seed,
            checkpoint=checkpoint, device=device, images=images, allow_missing=allow_missing, overwrite=overwrite,
            progress=progress,
        )  # fmt: skip
    show(workflows.threshold_table(result))
    first, *others = result["models"]
    say(workflows.headline(result, first))
    for other in others:
        say(workflows.versus_sentence(result, other))
    say(f"Report: {out / 'report.html'}")


def _run_of(inputs: list[Path], *, needs_run: bool) -> Path | None:
    wanted = 2 if needs_run else 1
    if len(inputs) != wanted:
        raise UsageError("wrong number of arguments", expected="RUN DATASET" if needs_run else "DATASET alone",
                         got=str(len(inputs)))  # fmt: skip
    return inputs[0] if needs_run else None
