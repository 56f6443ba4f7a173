"""Commands that make a model and use it: plan, preprocess, train, predict, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medseg import workflows
from medseg.cli.options import Device, Gaps, InsecureCluster, Jobs, NanHu, Out, Overwrite, Ray, Split, Tilt
from medseg.cli.screen import names, progress_bars, say, show


def plan(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset.yaml or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="The file: plan.yaml.")] = ...,  # type: ignore[assignment]
    vram: Annotated[
        str | None,
        typer.Option(help="Graphics memory of a training step: 10G, 9500M. Default 10G; resenc-m 9G, resenc-l 24G."),
    ] = None,
    network: Annotated[str, typer.Option(help="unet, resenc-m, resenc-l, mednext, segresnet ...")] = "unet",
    precision: Annotated[str, typer.Option(help="Of training: bf16 (CUDA) or fp32 (CPU).")] = "bf16",
    split: Split = None,
    overwrite: Overwrite = False,
) -> None:
    """Decide grid, patch, batch and network from the training cases; every decision with its reason."""
    with progress_bars() as progress:
        made = workflows.plan(dataset, out=out, vram=vram, network=network, precision=precision, split=split,
                              overwrite=overwrite, progress=progress)  # type: ignore[arg-type]  # fmt: skip
    for decision, reason in made.reasons.items():
        say(f"{decision}: {made.decision(decision)} ({reason})")
    say(f"Plan: {out}")


def preprocess(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset.yaml or its folder.")],
    plan: Annotated[Path, typer.Argument(metavar="PLAN.yaml", help="What `medseg plan` wrote.")],
    out: Out = ...,  # type: ignore[assignment]
    stage: Annotated[str, typer.Option(help="Of the plan: full, or low for its coarser stage.")] = "full",
    other_data: Annotated[bool, typer.Option("--other-data", help="The plan may be of another data set.")] = False,
    layout: Annotated[str, typer.Option(help="blosc2 (compressed), memmap (faster) or auto.")] = "auto",
    jobs: Jobs = None,
    ray: Ray = None,
    insecure_cluster: InsecureCluster = False,
    overwrite: Overwrite = False,
) -> None:
    """Bring every case to the plan's grid once; `medseg train` then takes the folder as its data."""
    with progress_bars() as progress:
        store = workflows.preprocess(dataset, plan, out=out, stage=stage, layout=layout, jobs=jobs, ray=ray,
                                     insecure_cluster=insecure_cluster, overwrite=overwrite,
                                     other_data=other_data, say=say,
                                     progress=progress)  # type: ignore[arg-type]  # fmt: skip
    say(f"{len(store.cases)} cases, {store.layout}: {out}")


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="key=value")] = None,
    out: Out = ...,  # type: ignore[assignment]
    fold: Annotated[
        str | None, typer.Option(help="Hold out fold 0, 1, ...; all: none; each: one after another.")
    ] = None,
    init: Annotated[str | None, typer.Option(help="Weights to begin with: RUN, FILE.safetensors, nnunet:DIR.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a network; Ctrl-C saves, and --resume goes on from there."""
    options: dict[str, Any] = {"init": init, "resume": resume, "overwrite": overwrite, "say": say}
    with progress_bars(lines=True) as progress:
        if fold == "each":
            trainings = workflows.train_folds(recipe, overrides or [], out=out, progress=progress, **options)
        else:
            number = int(fold) if fold and fold.isdecimal() else fold
            trainings = [workflows.train(recipe, overrides or [], out=out, fold=number, progress=progress, **options)]
    for training in trainings:
        _tell(training)


def _tell(training: Any) -> None:
    """One line on how a training ended; leaves with 130 if it was interrupted."""
    if not training.finished and training.first:
        say(f"Stopped at step {training.step}; everything is saved. The same command with --resume goes on.")
    if not training.finished:
        raise typer.Exit(130)
    if not training.first:
        return
    best = "" if training.best_dice is None else f", best mean validation Dice {training.best_dice:.3f}"
    say(f"{training.step} steps{best}: {training.run.folder}")


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `medseg train` wrote.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="NIfTI files, DICOM folders, a data set.")],
    out: Out = ...,  # type: ignore[assignment]
    format: Annotated[
        str, typer.Option(help="nifti, nrrd, dicom-seg, rtstruct, png, viewer; several by commas.")
    ] = "nifti",
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write class probabilities too.")] = False,
    maps: Annotated[str | None, typer.Option(help="Also write maps of: entropy, disagreement.")] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Measure what is left open: volumes, expected Dice.")
    ] = False,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    together: Annotated[
        list[Path] | None, typer.Option("--with", help="Another run to average with; repeatable.")
    ] = None,
    as_rater: Annotated[str | None, typer.Option("--as-rater", help="Predict like this rater of the run.")] = None,
    split: Split = None,
    device: Device = "auto",
    ram: Annotated[str | None, typer.Option(help="The most memory of the process: 8G.")] = None,
    vram: Annotated[str | None, typer.Option(help="The most memory of the GPU: 6G.")] = None,
    no_cpu: Annotated[
        bool, typer.Option("--no-cpu", help="Set a study aside that the GPU cannot hold; else the CPU takes it.")
    ] = False,
    tilt: Tilt = None,
    gaps: Gaps = None,
    nan_hu: NanHu = None,
    no_postprocessing: Annotated[
        bool, typer.Option("--no-postprocessing", help="Leave the labels as the network gives them.")
    ] = False,
    codes: Annotated[Path | None, typer.Option(help="YAML or CSV: your codes of the structures, for DICOM.")] = None,
    short_names: Annotated[bool, typer.Option("--short-names", help="RTSTRUCT: names of at most 16 letters.")] = False,
    no_images: Annotated[bool, typer.Option("--no-images", help="Pictures and pages without the CT.")] = False,
    jobs: Jobs = None,
    ray: Ray = None,
    insecure_cluster: InsecureCluster = False,
    overwrite: Overwrite = False,
) -> None:
    """Write labels on each input's own grid; a study that fails is set aside, and the same command goes on."""
    runs = [run, *(together or [])]
    with progress_bars(lines=True) as progress:
        outcomes: list[Any] = []
        try:
            workflows.predict(runs, inputs, out, formats=names(format), probabilities=probabilities,
                              maps=names(maps) if maps else (), uncertainty=uncertainty, checkpoint=checkpoint,
                              as_rater=as_rater, split=split, device=device, ram=ram, vram=vram,
                              may_use_cpu=not no_cpu, say=say,
                              tilt=tilt, gaps=gaps, nan_hu=nan_hu, postprocessing=not no_postprocessing,
                              codes=codes, short_names=short_names, images=not no_images, jobs=jobs, ray=ray,
                              insecure_cluster=insecure_cluster, overwrite=overwrite, progress=progress,
                              on_done=outcomes.extend)  # fmt: skip
        finally:
            _tell_predictions(outcomes, out)


def _tell_predictions(outcomes: list[Any], out: Path) -> None:
    """What is worth knowing of each study, and a table where several were asked for."""
    for outcome in outcomes:
        for note in outcome.result.notes if outcome.result else ():
            say(f"{outcome.item.id}: {note}")
    if len(outcomes) > 1 and not any(outcome.error for outcome in outcomes):  # else the error shows it
        show(workflows.summary_table(outcomes, title="Summary", name=lambda study: study.id))
    if done := [outcome for outcome in outcomes if outcome.result]:
        before = sum(outcome.tries == 0 for outcome in done)
        kept = f", {before} of them there before" if before else ""
        say(f"{len(done)} prediction{'s' if len(done) > 1 else ''}{kept}: {out}")


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
