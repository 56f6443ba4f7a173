"""`medseg export --format onnx | torch-export | monai-bundle`: a run's network for programs that have no medseg."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from medseg.data.folds import run_folders
from medseg.errors import CheckpointError, UsageError
from medseg.files import replaced_folder, write_text
from medseg.inference.exported import (
    TOLERANCE,
    ExportedNetwork,
    difference_of_onnx,
    difference_of_torch_export,
    trace,
    write_onnx,
    write_torch_export,
)
from medseg.workflows.bundle import write_bundle
from medseg.workflows.export_formats import MODEL_FORMATS
from medseg.workflows.mirroring import check_mirroring, swap_rule
from medseg.workflows.postprocessing_file import FILE, read_postprocessing
from medseg.workflows.run import Run, open_run
from medseg.workflows.run_together import check_together

SCHEMA = "medseg.export/1"
EXAMPLE = "predict_without_medseg.py"
KIND = "exported network"


@dataclass(frozen=True)
class ExportedModel:
    """What an export made, and how far its logits are from the run's on one patch, relative to the largest."""

    path: Path
    format: str
    difference: float


def export_model(
    run: str | Path,
    out: str | Path,
    *,
    format: str = "onnx",
    checkpoint: str = "best",
    as_rater: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> ExportedModel:
    """Writes a run's network with its metadata into the folder `out`, and an example that predicts without medseg.

    The file takes patches of HU on the plan's grid and gives logits: clipping and normalisation are inside. Spacing,
    orientation, patch, labels and the rules of the sliding window are in its metadata and in `metadata.json`.

    Args:
        run: folder that `medseg train` wrote; its `fold_<k>` become one network, the mean of their probabilities.
        format: `onnx` (onnxruntime), `torch-export` (.pt2, PyTorch), `monai-bundle` (MONAI, with the .pt2 inside).
        checkpoint: `best` or `last`.
        as_rater: the rater that the network answers like, where it knows several; None is the consensus.

    Raises:
        UsageError: no such format or rater, or a package is missing.
        FileReadError, CheckpointError: see `open_run` and `Run.load`; the written file gives other logits.
    """
    if format not in MODEL_FORMATS:
        raise UsageError("no such format", where="--format", expected=", ".join(MODEL_FORMATS), got=format)
    folders = run_folders(Path(run)) or [Path(run)]
    runs = [open_run(folder) for folder in folders]
    if runs[0].recipe.cascade is not None:
        raise UsageError("a cascade is two networks and cannot be exported as one", where=Path(run).name,
                         do="Export its coarser run, which predicts alone.")  # fmt: skip
    network = ExportedNetwork([each.load_model(checkpoint, as_rater) for each in runs], [each.plan for each in runs])
    metadata = describe(runs, checkpoint, as_rater)
    metadata["postprocessing"] = describe_postprocessing(Path(run))
    if metadata["postprocessing"]["steps"]:
        say(f"The run's postprocessing ({FILE}) is not inside; its steps are named in the metadata.")
    say("Tracing the network.")
    program = trace(network)
    with replaced_folder(out, kind=KIND, overwrite=overwrite) as folder:
        if format == "onnx":
            file = folder / "model.onnx"
            write_onnx(file, program, metadata)
            difference = difference_of_onnx(file, network)
        else:
            file = folder / ("models/model.pt2" if format == "monai-bundle" else "model.pt2")
            write_torch_export(file, program, metadata)
            difference = difference_of_torch_export(file, network)
        if not difference <= TOLERANCE:  # nor a NaN
            file.unlink()
            raise CheckpointError("the exported network gives other logits than the run's", where=format,
                                  expected=f"at most {TOLERANCE:g} of the largest", got=f"{difference:.2g}",
                                  do="Choose another format.")  # fmt: skip
        if format == "monai-bundle":
            write_bundle(folder, metadata)
        else:
            write_text(folder / "metadata.json", json.dumps(metadata, indent=1) + "\n")
            write_text(folder / EXAMPLE, (files("medseg.inference") / EXAMPLE).read_text(encoding="utf-8"))
    return ExportedModel(Path(out), format, difference)


def describe_postprocessing(run: Path) -> dict[str, Any]:
    """The steps that `medseg predict` does after the network and that no exported network does.

    Raises:
        ConfigError: `postprocessing.yaml` is wrong.
    """
    found = read_postprocessing(run)
    steps = [] if found is None else [step.model_dump(mode="json") for step in found.steps]
    return {"inside": False, "steps": steps}


def describe(runs: list[Run], checkpoint: str, as_rater: str | None) -> dict[str, Any]:
    """What a program must know to use the network; nothing of data, patients or folders."""
    first = runs[0]
    plan, inference = first.plan, first.recipe.inference
    check_together(runs, inference)
    check_mirroring(first.recipe, first.labels)
    return {
        "schema": SCHEMA,
        "use": "RESEARCH USE ONLY - NOT REVIEWED",
        "input": "hu: float32 (batch, 1, X, Y, Z), CT numbers in HU; clipping and normalisation are inside",
        "output": "logits: float32 (batch, classes, X, Y, Z)",
        "orientation": "RAS",
        "spacing_mm": list(plan.spacing_mm),
        "patch": list(plan.patch),
        "normalisation": [
            {"window_hu": list(run.plan.window_hu), "mean_hu": run.plan.mean_hu, "std_hu": run.plan.std_hu}
            for run in runs
        ],
        "crop_to_body": plan.preprocessing.crop_to_body,
        "margin_mm": plan.preprocessing.margin_mm,
        "overlap": inference.overlap,
        "mirror_axes": list(inference.mirror_axes),
        "mirror_pairs": [list(pair) for pair in first.labels.mirror_indices],
        "mirror_swap": swap_rule(first.recipe),
        "labels": {name: first.labels.values[name] for name in first.labels.names},
        "classes": list(first.labels.names),
        "network": first.recipe.model.name,
        "as_rater": as_rater,
        "checkpoint_sha256": [run.load(checkpoint).facts["sha256"] for run in runs],
        "versions": {name: version(name) for name in ("medseg", "torch")},
    }
