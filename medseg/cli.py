"""The command line: parses, calls a workflow, prints. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from medseg import workflows
from medseg.cli_screen import counting, names, progress_bars, say, show, values
from medseg.errors import MedsegError, UsageError

app = typer.Typer(
    name="medseg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="CT segmentation that learns from several experts and is judged against them.",
    epilog="Errors are one line; add --debug for the traceback. No patient data leaves this machine.",
)

NOT_LIGHT = ("torch", "monai", "einops", "safetensors", "psutil")  # not in requirements-light.txt
Out = Annotated[Path, typer.Option("--out", help="Folder for the result.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a result that medseg wrote there before.")]
Split = Annotated[str | None, typer.Option(help="Only the cases of this split of the data set.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Go on where predictions are missing.")]
Tolerance = Annotated[float, typer.Option("--tolerance", help="Tolerance of NSD in mm.")]
Tilt = Annotated[str | None, typer.Option(help="Tilted gantry: resample (default for DICOM), keep or refuse.")]
Gaps = Annotated[str | None, typer.Option(help="Missing or uneven slices: refuse (default) or resample.")]
NanHu = Annotated[float | None, typer.Option(help="HU of undefined voxels (NaN), refused without it.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


@app.command()
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


@app.command()
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


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="key=value")] = None,
    out: Out = ...,  # type: ignore[assignment]
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a network; Ctrl-C saves, and --resume goes on from there."""
    with progress_bars() as progress:
        training = workflows.train(recipe, overrides or [], out=out, resume=resume, overwrite=overwrite, say=say,
                                   progress=progress)  # fmt: skip
    if not training.finished:
        say(f"Stopped at step {training.step}; everything is saved. The same command with --resume goes on.")
        raise typer.Exit(130)
    best = "" if training.best_dice is None else f", best mean validation Dice {training.best_dice:.3f}"
    say(f"{training.step} steps{best}: {out}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `medseg train` wrote.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="NIfTI files, DICOM folders, a data set.")],
    out: Out = ...,  # type: ignore[assignment]
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write class probabilities too.")] = False,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    split: Split = None,
    device: Device = "auto",
    tilt: Tilt = None,
    gaps: Gaps = None,
    nan_hu: NanHu = None,
    overwrite: Overwrite = False,
) -> None:
    """Write label maps on each input's own grid."""
    with progress_bars() as progress:
        written = workflows.predict(run, inputs, out, probabilities=probabilities, checkpoint=checkpoint, split=split,
                                    device=device, tilt=tilt, gaps=gaps, nan_hu=nan_hu, overwrite=overwrite,
                                    progress=progress)  # fmt: skip
    say(f"{len(written)} predictions: {out}")


@app.command()
def evaluate(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET")],
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of <case>.nii.gz.")],
    out: Out = ...,  # type: ignore[assignment]
    tolerance: Tolerance = 2.0,
    split: Split = None,
    allow_missing: AllowMissing = False,
    overwrite: Overwrite = False,
) -> None:
    """Score predictions per case, label and rater: Dice, IoU, NSD, HD95, ASSD, volumes."""
    with progress_bars() as progress:
        result = workflows.evaluate(dataset, predictions, out, tolerance_mm=tolerance, overwrite=overwrite,
                                    allow_missing=allow_missing, split=split,
                                    on_case=counting(progress, "Scoring"))  # fmt: skip
    show(workflows.score_table(result))
    say(f"scores.csv and evaluation.json: {out}")


@app.command()
def agree(
    dataset: Annotated[Path | None, typer.Argument(metavar="[DATASET]")] = None,
    predictions: Annotated[list[Path] | None, typer.Argument(metavar="[PREDICTIONS]...")] = None,
    out: Out = ...,  # type: ignore[assignment]
    raters: Annotated[Path | None, typer.Option(help="Instead of DATASET: folder of <rater>/<case>.nii.gz.")] = None,
    model: Annotated[list[Path] | None, typer.Option(help="Instead of PREDICTIONS: folder of <case>.nii.gz.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Instead of folders: a CSV or YAML list of readings.")] = None,
    metric: Annotated[str | None, typer.Option(help="The judged metric, dice by default.")] = None,
    primary: Annotated[str | None, typer.Option(help="LABEL:METRIC, the question that decides.")] = None,
    margin: Annotated[
        str | None, typer.Option(help="Largest difference that does not matter: 0.05, or liver=0.02; none: no verdict.")
    ] = None,
    tolerance: Annotated[str | None, typer.Option(help="Of NSD in mm: 2, liver=2,lesion=1, or readers.")] = None,
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
    images: Annotated[bool, typer.Option("--images/--no-images", help="Show CT slices in the report.")] = True,
    split: Split = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    jobs: Annotated[int, typer.Option(help="Cases scored at once.")] = 1,
    allow_missing: AllowMissing = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare the model's agreement with the experts with their agreement among themselves."""
    reading = workflows.ReadingOptions(labels=labels, match=match, raters_match=raters_match, model_labels=model_labels,
                                       resample_to=resample_to, rois=rois, threshold=threshold, images=ct,
                                       anonymous=anonymous)  # type: ignore[arg-type]  # fmt: skip
    with progress_bars() as progress:
        result = workflows.agree(dataset, predictions or None, out=out, raters=raters, model=model or None,
                                 manifest=manifest, reading=reading, metric=metric, primary=primary,
                                 margin=values(margin, "--margin"), plan=plan, lesions=lesions, viewers=viewers,
                                 tolerance_mm="readers" if tolerance == "readers" else values(tolerance, "--tolerance"),
                                 null_control=null_control, degrade=degrade, images=images, overwrite=overwrite,
                                 allow_missing=allow_missing, split=split, seed=seed, jobs=jobs,
                                 on_case=counting(progress, "Comparing"))  # fmt: skip
    for verdict in result["verdict"].values():
        say(verdict["sentence"])
    say(f"Report: {out / 'report.html'}")


@app.command()
def register(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.yaml", help="Margins, metric, primary question, tolerance.")],
    predictions: Annotated[list[Path] | None, typer.Argument(metavar="[PREDICTIONS]...")] = None,
) -> None:
    """Date a plan of comparison before predictions exist; `agree --plan` then calls it pre-specified."""
    path, _ = workflows.register(plan, predictions=predictions or [])
    say(str(path))


@app.command()
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


@app.command()
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


@app.command(name="import")
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


@app.command()
def export(
    layout: Annotated[str, typer.Argument(metavar="FORMAT", help="nnunet.")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset.yaml or its folder.")],
    out: Out = ...,  # type: ignore[assignment]
    rater: Annotated[str | None, typer.Option(help="Whose labels, where there are several raters.")] = None,
    raters: Annotated[str | None, typer.Option(help="majority: of all raters.")] = None,
    name: Annotated[str | None, typer.Option(help="Folder to make in OUT, such as Dataset123_Liver.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a data set as nnU-Net's raw data, to compare on the same cases."""
    with progress_bars() as progress:
        made = workflows.export(layout, dataset, out, rater=rater, raters=raters, name=name, overwrite=overwrite,
                                progress=progress)  # fmt: skip
    for note in made.notes:
        say(f"Note: {note}")
    say(f"{made.training} training and {made.test} test cases: {made.path}")


@app.command()
def demo(
    out: Out = ...,  # type: ignore[assignment]
    seed: Annotated[int, typer.Option(help="Of phantoms, experts and training.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Phantom, train, predict, evaluate, agree, report: everything once, in a few minutes on a CPU."""
    with progress_bars() as progress:
        summary = workflows.demo(out, seed=seed, overwrite=overwrite, say=say, progress=progress)
    say(f"Mean organ Dice {summary['mean_dice']:.3f}; best HU window {summary['baseline_mean_dice']:.3f}; "
        f"{summary['seconds']:.0f} s, peak memory {summary['peak_memory_mb']} MB.")  # fmt: skip
    say(summary["sentence"])
    say(f"Report: {out / 'report.html'}")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that stand before the command; --debug may stand anywhere."""
    if version:
        from importlib.metadata import version as installed

        print(installed("medseg"))
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; an expected failure is one line on standard error and the error's exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        app([argument for argument in given if argument != "--debug"])
    except MedsegError as error:
        if debug:
            raise
        word = "usage error" if isinstance(error, UsageError) else "error"
        print(f"medseg: {word}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if debug or error.name not in NOT_LIGHT:
            raise
        print(f"medseg: usage error: this command needs {error.name}, which the light installation leaves out. "
              "Install everything: pip install -c constraints.txt -e .", file=sys.stderr)  # fmt: skip
        sys.exit(UsageError.exit_code)


if __name__ == "__main__":
    main()
