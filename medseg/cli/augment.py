"""Commands around augmentation: augment-preview."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg import workflows
from medseg.cli.options import Gaps, NanHu, Tilt
from medseg.cli.screen import names, say, triple


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
