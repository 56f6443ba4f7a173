"""Commands that judge segmentations: evaluate, agree, register, figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg import workflows
from medseg.cli.options import AllowMissing, InsecureCluster, Jobs, Out, Overwrite, Ray, Split, Tolerance
from medseg.cli.screen import by_name, counting, progress_bars, say, show, values
from medseg.errors import UsageError


def evaluate(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET")],
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of <case>.nii.gz.")],
    out: Out = ...,  # type: ignore[assignment]
    tolerance: Tolerance = 2.0,
    split: Split = None,
    jobs: Jobs = None,
    ray: Ray = None,
    insecure_cluster: InsecureCluster = False,
    allow_missing: AllowMissing = False,
    overwrite: Overwrite = False,
) -> None:
    """Score predictions per case, label and rater: Dice, IoU, NSD, HD95, ASSD, volumes."""
    with progress_bars() as progress:
        result = workflows.evaluate(dataset, predictions, out, tolerance_mm=tolerance, overwrite=overwrite,
                                    allow_missing=allow_missing, split=split, jobs=jobs, ray=ray,
                                    insecure_cluster=insecure_cluster,
                                    on_case=counting(progress, "Scoring"))  # fmt: skip
    show(workflows.score_table(result))
    say(f"scores.csv and evaluation.json: {out}")


def agree(
    dataset: Annotated[Path | None, typer.Argument(metavar="[DATASET]")] = None,
    predictions: Annotated[list[Path] | None, typer.Argument(metavar="[PREDICTIONS]...")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the result.")] = None,
    register: Annotated[
        Path | None, typer.Option(help="Only date this plan, before predictions exist: same as `medseg register`.")
    ] = None,
    raters: Annotated[Path | None, typer.Option(help="Instead of DATASET: folder of <rater>/<case>.nii.gz.")] = None,
    model: Annotated[list[Path] | None, typer.Option(help="Instead of PREDICTIONS: folder of <case>.nii.gz.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Instead of folders: a CSV or YAML list of readings.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="dice (default), iou, nsd, hd95, assd, hd, masd or volumetric_similarity.")
    ] = None,
    primary: Annotated[str | None, typer.Option(help="LABEL:METRIC, the question that decides.")] = None,
    secondary: Annotated[
        list[str] | None, typer.Option(help="LABEL:METRIC, confirmatory beside --primary (Holm); may be repeated.")
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(
            help="Largest difference that does not matter: 0.05, liver=0.02, or liver:hd95=2 for a secondary question; "
            "none: no verdict."
        ),
    ] = None,
    tolerance: Annotated[str | None, typer.Option(help="Of NSD in mm: 2, liver=2,lesion=1, or readers.")] = None,
    surface: Annotated[str, typer.Option(help="Of NSD: surfel (area) or voxel (border voxels).")] = "surfel",
    empty_policy: Annotated[
        str, typer.Option(help="A distance to nothing in plain means: diagonal or exclude.")
    ] = "diagonal",
    plan: Annotated[Path | None, typer.Option(help="A plan dated by `medseg register`.")] = None,
    null_control: Annotated[bool, typer.Option("--null-control", help="Each reader in turn plays the model.")] = False,
    degrade: Annotated[bool, typer.Option("--degrade", help="Damage by known amounts must flip the verdict.")] = False,
    lesions: Annotated[bool, typer.Option("--lesions", help="Match connected components as lesions.")] = False,
    viewers: Annotated[int, typer.Option(help="Pages of the worst cases in three planes: how many.")] = 0,
    labels: Annotated[str | None, typer.Option(help="Names of values: liver=1,kidney=2, or a file.")] = None,
    match: Annotated[str | None, typer.Option(help="File names of the model: {case}_seg.nii.gz.")] = None,
    raters_match: Annotated[str | None, typer.Option(help="File names of the raters.")] = None,
    model_labels: Annotated[Path | None, typer.Option(help="map.yaml: what the model calls the labels.")] = None,
    resample_to: Annotated[str | None, typer.Option(help="raters: put the model on the readers' grid.")] = None,
    rois: Annotated[Path | None, typer.Option(help="rois.yaml for structure sets and segmentations.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Of fractional segmentations.")] = None,
    ct: Annotated[Path | None, typer.Option("--ct", help="Folder of <case> images, for bare folders.")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Rater K is another person in every case.")] = False,
    strata: Annotated[
        list[str] | None, typer.Option(help="A further column of the manifest that groups cases; may be repeated.")
    ] = None,
    run: Annotated[
        list[str] | None, typer.Option(help="RUN or NAME=RUN: refuses its patients, names its readers.")
    ] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Show CT slices in the report.")] = True,
    split: Split = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    jobs: Jobs = None,
    ray: Ray = None,
    insecure_cluster: InsecureCluster = False,
    allow_missing: AllowMissing = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare the model's agreement with the experts with their agreement among themselves."""
    if register is not None:
        given = [path for path in (dataset, *(predictions or []), *(model or [])) if path is not None]
        say(str(workflows.register(register, predictions=given)[0]))
        return
    if out is None:
        raise UsageError("no output folder", expected="--out DIR")
    reading = workflows.ReadingOptions(labels=labels, match=match, raters_match=raters_match, model_labels=model_labels,
                                       resample_to=resample_to, rois=rois, threshold=threshold, images=ct,
                                       anonymous=anonymous, strata=tuple(strata or ()),
                                       runs=by_name(run))  # type: ignore[arg-type]  # fmt: skip
    with progress_bars() as progress:
        result = workflows.agree(dataset, predictions or None, out=out, raters=raters, model=model or None,
                                 manifest=manifest, reading=reading, metric=metric, primary=primary,
                                 margin=values(margin, "--margin"), plan=plan, lesions=lesions, viewers=viewers,
                                 tolerance_mm="readers" if tolerance == "readers" else values(tolerance, "--tolerance"),
                                 null_control=null_control, degrade=degrade, images=images, overwrite=overwrite,
                                 allow_missing=allow_missing, split=split, seed=seed, jobs=jobs, ray=ray,
                                 insecure_cluster=insecure_cluster, secondary=tuple(secondary or ()), surface=surface,
                                 empty_policy=empty_policy,
                                 on_case=counting(progress, "Comparing"))  # fmt: skip
    for name, verdict in result["verdict"].items():
        say((f"{name}: " if len(result["verdict"]) > 1 else "") + verdict["sentence"])
    say(f"Report: {out / 'report.html'}")


def register(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.yaml", help="Margins, metric, primary question, tolerance.")],
    predictions: Annotated[list[Path] | None, typer.Argument(metavar="[PREDICTIONS]...")] = None,
) -> None:
    """Date a plan of comparison before predictions exist; `agree --plan` then calls it pre-specified."""
    path, _ = workflows.register(plan, predictions=predictions or [])
    say(str(path))


def figure(
    agreement: Annotated[Path, typer.Argument(metavar="agreement.json")],
    out: Annotated[Path, typer.Option("--out", help="File: .pdf, .svg or .png.")] = ...,  # type: ignore[assignment]
    kind: Annotated[str, typer.Option(help="forest, scatter, matrix, bland-altman ...")] = "forest",
    width: Annotated[str, typer.Option(help="Such as 85mm.")] = "85mm",
    label: Annotated[str | None, typer.Option(help="Structure; the one with the lowest D by default.")] = None,
    metric: Annotated[str | None, typer.Option(help="The judged one by default.")] = None,
    dpi: Annotated[int, typer.Option(help="Of PNG.")] = 600,
    overwrite: Overwrite = False,
) -> None:
    """Draw one figure of an agreement for a paper: fonts embedded, no date or path inside."""
    workflows.figure(agreement, kind=kind, out=out, width=width, label=label, metric=metric, dpi=dpi,
                     overwrite=overwrite)  # fmt: skip
    say(str(out))
