"""`medseg demo`: the whole road on phantoms, from making them to the report, with its numbers in `summary.json`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import medseg
from medseg.errors import FileReadError
from medseg.evaluation.overlap import dice
from medseg.evaluation.threshold import fit_windows, largest_piece
from medseg.files import open_output_folder, write_text
from medseg.io.manifest import CaseEntry, Dataset, read_dataset, read_image, read_truth
from medseg.phantom.anatomy import ORGANS
from medseg.report.page import Table
from medseg.workflows.agreement import agree
from medseg.workflows.evaluation import evaluate
from medseg.workflows.phantoms import phantom
from medseg.workflows.prediction import predict
from medseg.workflows.recipe import read_recipe
from medseg.workflows.telling import Progress, Say
from medseg.workflows.training import train

TRAIN_CASES, TEST_CASES, EXPERTS, MISSING, MARGIN = 24, 24, 3, 0.1, 0.05


def demo(
    out: str | Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    train_cases: int = TRAIN_CASES,
    test_cases: int = TEST_CASES,
    overrides: tuple[str, ...] = (),
    say: Say = lambda text: None,
    progress: Progress = lambda what, done, total, note: None,
) -> dict[str, Any]:
    """Makes phantoms, trains, predicts, evaluates, compares with the experts; returns what `summary.json` holds.

    Args:
        out: folder for `data/`, `run/`, `predictions/`, `evaluation/`, `agreement/`, `report.html`, `summary.json`.
        seed: of phantoms, experts, network and patches.
        train_cases, test_cases: how many phantoms.
        overrides: `key=value` changes to `configs/demo.yaml`.

    Raises:
        OutputExistsError: `out` holds something and `overwrite` is not given.
    """
    started = time.perf_counter()
    folder = open_output_folder(out, kind="demo", overwrite=overwrite)
    data, run = folder / "data", folder / "run"
    phantom(data, cases=train_cases + test_cases, test=test_cases, experts=EXPERTS, missing=MISSING, seed=seed,
            progress=progress)  # fmt: skip
    recipe = read_recipe(demo_recipe(), (f"data={data.as_posix()}", f"training.seed={seed}", *overrides))
    train(recipe, out=run, say=say, progress=progress)
    predictions = folder / "predictions"
    predict(run, data, predictions, split="test", progress=progress)
    dataset = read_dataset(data)
    baseline = baseline_dice(dataset, progress)
    evaluation = evaluate(data, predictions, folder / "evaluation", split="test",
                          on_case=lambda done, total: progress("Scoring", done, total, ""))  # fmt: skip
    scores = {label: raters["truth"]["dice"]["mean"] for label, raters in evaluation["labels"].items()}
    agreement = agree(data, predictions, out=folder / "agreement", split="test", margin=MARGIN, seed=seed,
                      tables=(_truth_table(scores, baseline),),
                      on_case=lambda done, total: progress("Comparing with experts", done, total, ""))  # fmt: skip
    write_text(folder / "report.html", (folder / "agreement" / "report.html").read_text(encoding="utf-8"))
    verdict = agreement["verdict"]["predictions"]
    summary = {
        "mean_dice": float(np.mean([scores[organ] for organ in ORGANS])),
        "baseline_mean_dice": float(np.mean([baseline[organ] for organ in ORGANS])),
        "dice": scores,
        "baseline_dice": baseline,
        "verdict": verdict["class"],
        "sentence": verdict["sentence"],
        "test_cases": test_cases,
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_mb": round(peak_memory_mb()),
    }
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary


def demo_recipe() -> Path:
    """`configs/demo.yaml`: inside an installed package, or beside it in a checkout.

    Raises:
        FileReadError: it is in neither place.
    """
    package = Path(medseg.__file__).parent
    for folder in (package, package.parent):
        if (path := folder / "configs" / "demo.yaml").is_file():
            return path
    raise FileReadError("the demo's recipe is missing", where="configs/demo.yaml", do="Install medseg again.")


def baseline_dice(dataset: Dataset, progress: Progress) -> dict[str, float]:
    """Mean Dice on the test cases of each organ's best HU window with its largest piece, fitted on the others."""
    learned = [_example(dataset, entry) for entry in dataset.select("train")]
    windows = fit_windows(learned, lambda done: progress("Searching the best HU windows", done, 0, ""))
    found: dict[str, list[float]] = {organ: [] for organ in ORGANS}
    for entry in dataset.select("test"):
        hu, masks = _example(dataset, entry)
        for organ, window in windows.items():
            found[organ].append(dice(masks[organ], largest_piece(hu, window)))
    return {organ: float(np.mean(values)) for organ, values in found.items()}


def _example(dataset: Dataset, entry: CaseEntry) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    truth = read_truth(dataset, entry)
    assert truth is not None  # phantoms have one
    return read_image(dataset, entry).hu, {organ: truth.mask(organ) for organ in ORGANS}


def _truth_table(scores: Mapping[str, float], baseline: Mapping[str, float]) -> Table:
    rows = [
        (organ.replace("_", " "), scores[organ], baseline[organ], scores[organ] - baseline[organ]) for organ in ORGANS
    ]
    return Table(
        "Against the phantom's truth",
        ("organ", "model, mean Dice", "best HU window, mean Dice", "gain"),
        rows,
        "The baseline takes the largest piece inside the HU window that does best on the training cases.",
    )


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6  # type: ignore[attr-defined]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
