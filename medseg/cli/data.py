"""Commands around data sets and studies: phantom, check, convert, import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg import workflows
from medseg.cli.options import Gaps, NanHu, Out, Overwrite, Tilt
from medseg.cli.screen import counting, names, progress_bars, say, show
from medseg.errors import UsageError


def phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the data set.")],
    cases: Annotated[int, typer.Option(help="Number of studies.")] = 12,
    experts: Annotated[int, typer.Option(help="Simulated experts per study.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same studies.")] = 0,
    test: Annotated[int | None, typer.Option(help="Studies in the test split; default a third.")] = None,
    missing: Annotated[float, typer.Option(help="Chance that an expert did not read a study.")] = 0.0,
    spacing_mm: Annotated[float, typer.Option(help="Mean voxel spacing in the plane.")] = 4.0,
    overwrite: Overwrite = False,
) -> None:
    """Write the embedded data set: CT bodies with known truth and simulated experts."""
    with progress_bars() as progress:
        path = workflows.phantom(folder, cases=cases, experts=experts, seed=seed, test=test, missing=missing,
                                 spacing_mm=spacing_mm, overwrite=overwrite, progress=progress)  # fmt: skip
    say(f"{cases} studies, {experts} experts: {path}")


def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset.yaml or its folder.")],
    deep: Annotated[bool, typer.Option("--deep", help="Read every voxel, not only the headers.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page; with --deep each case in three planes.")] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Show CT slices on the page.")] = True,
    jobs: Annotated[int | None, typer.Option(help="Cases looked at at once.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """List cases, raters, geometry, labels, what is wrong and how to mend it; exit code 1 on an error."""
    with progress_bars() as progress:
        report = workflows.check(dataset, deep=deep, html=html, images=images, jobs=jobs,
                                 on_case=counting(progress, "Checking"))  # fmt: skip
    if as_json:
        print(report.to_json())
    else:
        show(workflows.render(report))
        if html is not None:
            say(f"Page: {html}")
    raise typer.Exit(0 if report.ok else 1)


def convert(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="DICOM folder, zip, DICOMDIR or file; NRRD, MHA.")],
    out: Annotated[Path | None, typer.Argument(metavar="OUT.nii.gz")] = None,
    series: Annotated[str | None, typer.Option(help="The series_... to take where there are several.")] = None,
    list_series: Annotated[bool, typer.Option("--list", help="Only list the series; writes nothing.")] = False,
    tilt: Tilt = None,
    gaps: Gaps = None,
    nan_hu: NanHu = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert a study to NIfTI in HU; what is no even, upright volume is refused unless you say how to read it."""
    if list_series:
        for line in workflows.list_series(study):
            say(line)
        return
    if out is None:
        raise UsageError("no output", expected="STUDY OUT.nii.gz, or STUDY --list")
    with progress_bars() as progress:
        written = workflows.convert(study, out, series=series, tilt=tilt, gaps=gaps, nan_hu=nan_hu,
                                    overwrite=overwrite, say=say,
                                    progress=progress)  # fmt: skip
    say(str(written))


def import_(
    layout: Annotated[str, typer.Argument(metavar="FORMAT", help="nnunet msd bids kits lidc curvas raters dicom")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of the data set.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for dataset.yaml.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy voxels as NIfTI with nothing else in the header.")] = False,
    sources: Annotated[Path | None, typer.Option(help="CSV for the private key from case to source.")] = None,
    labels: Annotated[str | None, typer.Option(help="Names and values: a YAML file or liver=1,kidney=2.")] = None,
    partial: Annotated[str | None, typer.Option(help="The only structures looked for: liver,kidney.")] = None,
    rater: Annotated[str | None, typer.Option(help="Name of the rater where the source tells none.")] = None,
    raters: Annotated[str | None, typer.Option(help="Take only these raters: A,B.")] = None,
    rater_from: Annotated[str | None, typer.Option(help="BIDS: pipeline, or an entity such as desc.")] = None,
    only: Annotated[str | None, typer.Option(help="Of several channels or phases this one.")] = None,
    assume_ct: Annotated[bool, typer.Option("--assume-ct", help="The one channel holds HU.")] = False,
    kits_labels: Annotated[str | None, typer.Option(help="KiTS: annotations or aggregated.")] = None,
    nan_hu: NanHu = None,
    rois: Annotated[Path | None, typer.Option(help="DICOM: rois.yaml, what each region becomes.")] = None,
    suggest_rois: Annotated[Path | None, typer.Option(help="DICOM: only write a rois.yaml to begin with.")] = None,
    trust: Annotated[
        str | None, typer.Option(help="DICOM: what ties labels to a CT: all, frame, images or positions.")
    ] = None,
    crossing: Annotated[str | None, typer.Option(help="DICOM: outlines that overlap in part: union or xor.")] = None,
    fill_slices: Annotated[bool, typer.Option("--fill-slices", help="DICOM: interpolate left-out outlines.")] = False,
    threshold: Annotated[float | None, typer.Option(help="DICOM: of fractional segmentations.")] = None,
    show_paths: Annotated[bool, typer.Option("--show-paths", help="DICOM: messages name files by path.")] = False,
    tilt: Tilt = None,
    gaps: Gaps = None,
    overwrite: Overwrite = False,
) -> None:
    """Import a data set of a known layout: writes OUT/dataset.yaml, without copying voxels unless asked."""
    if suggest_rois is not None:
        say(f"Check every line: {workflows.suggest_rois(source, suggest_rois, overwrite=overwrite)}")
        return
    if out is None:
        raise UsageError("no output folder", expected="--out DIR")
    given = {"labels": labels, "partial": names(partial), "rater": rater, "raters": names(raters), "only": only,
             "rater_from": rater_from, "assume_ct": assume_ct, "kits_labels": kits_labels, "nan_hu": nan_hu,
             "rois": rois, "trust": trust, "crossing": crossing, "fill_slices": fill_slices, "threshold": threshold,
             "show_paths": show_paths, "tilt": tilt, "gaps": gaps}  # fmt: skip
    options = workflows.ImportOptions(**{name: value for name, value in given.items() if value is not None})
    with progress_bars() as progress:
        made = workflows.import_(layout, source, out, copy=copy, sources=sources, overwrite=overwrite, options=options,
                                 progress=progress)  # fmt: skip
    for note in made.notes:
        say(f"Note: {note}")
    say(f"{made.cases} case{'' if made.cases == 1 else 's'}, raters {', '.join(made.raters) or 'none'}: {made.path}")


def export(
    what: Annotated[str, typer.Argument(metavar="RUN | FORMAT", help="A run with --format, or nnunet.")],
    dataset: Annotated[
        Path | None, typer.Argument(metavar="[DATASET]", help="After nnunet: dataset.yaml or its folder.")
    ] = None,
    out: Out = ...,  # type: ignore[assignment]
    format: Annotated[str | None, typer.Option(help="Of a run: onnx, torch-export, monai-bundle.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Of a run: best (default) or last.")] = None,
    as_rater: Annotated[str | None, typer.Option(help="Of a run that knows its raters: answer like this one.")] = None,
    rater: Annotated[str | None, typer.Option(help="Of a data set: whose labels, where there are several.")] = None,
    raters: Annotated[str | None, typer.Option(help="Of a data set: majority, of all raters.")] = None,
    name: Annotated[str | None, typer.Option(help="Folder to make in OUT, such as Dataset123_Liver.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a run's network for other programs, or a data set as nnU-Net's raw data to compare on the same cases."""
    if (format is None) == (dataset is None):
        raise UsageError("nothing says what to export", expected="RUN --format onnx, or nnunet DATASET")
    source = what if dataset is None else dataset
    own = {name: value for name, value in {"checkpoint": checkpoint, "as_rater": as_rater}.items() if value}
    with progress_bars() as progress:
        made = workflows.export(format or what, source, out, rater=rater, raters=raters, name=name, overwrite=overwrite,
                                progress=progress, **own)  # fmt: skip
    if hasattr(made, "difference"):
        say(f"{made.format}, logits within {made.difference:.1g} of the run's: {made.path}")
        return
    for note in made.notes:
        say(f"Note: {note}")
    say(f"{made.training} training and {made.test} test cases: {made.path}")
