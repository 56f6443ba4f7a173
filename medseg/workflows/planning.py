"""`medseg plan`: what a data set asks for, written down with the reason for each decision."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from medseg.config import write_config
from medseg.errors import OutputExistsError, UsageError
from medseg.preprocessing.measuring import Meter
from medseg.preprocessing.plan import Fingerprint, PlanConfig, PreprocessingConfig, fit_plan
from medseg.preprocessing.planning import Stage, choose_spacing, coarser_spacing, summarise
from medseg.workflows.plan_data import case_codes
from medseg.workflows.plan_file import PlanFile, Precision
from medseg.workflows.planning_stages import NETWORKS, Planner, cuda_meter, describe_network
from medseg.workflows.readings import open_dataset
from medseg.workflows.telling import Progress
from medseg.workflows.training_data import open_cases

CROP = "air around the body teaches nothing; {kept:.0%} of the voxels of the median case are left"
PRESETS_GIB = {"resenc-m": 9.0, "resenc-l": 24.0}  # what these networks were made for
WINDOW = "0.5 and 99.5 percentiles of labelled voxels; then their mean and deviation become 0 and 1"


def plan(
    dataset: str | Path,
    *,
    out: str | Path,
    vram: str | float | None = None,
    network: str = "unet",
    precision: Precision = "bf16",
    split: str | None = None,
    meter: Meter | None = None,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
) -> PlanFile:
    """Measures the training cases and writes spacing, patch, batch and network with their reasons to `out`.

    Args:
        dataset: a `dataset.yaml` or its folder.
        out: the file, such as `plan.yaml`.
        vram: graphics memory that a training step may take: `10G`, `9500M`, or a number of GiB; by default 9 for
            `resenc-m`, 24 for `resenc-l`, 10 for the others.
        network: a name of `medseg.models.registry`; U-Nets get depth and strides too, the others have fixed ones.
        precision: of activations in training: bf16 on CUDA, fp32 on a CPU.
        split: cases to measure; by default all that are not the test set.
        meter: what a training step really takes; by default one is measured on the CUDA device where there is one.

    Raises:
        UsageError: no such network, or no amount of memory.
        OutputExistsError: `out` exists and `overwrite` is False.
        InputError: no case has a labelled voxel, or the memory is too little for the smallest patch.
    """
    gib = PRESETS_GIB.get(network, 10.0) if vram is None else read_gib(vram)
    if network not in NETWORKS:
        raise UsageError("unknown network", where="--network", expected="one of " + ", ".join(NETWORKS), got=network)
    if precision not in get_args(Precision):
        raise UsageError("unknown precision", where="--precision", expected="bf16 or fp32", got=precision)
    out = Path(out)
    if out.exists() and not overwrite:
        raise OutputExistsError("the plan is there already", where=out.name,
                                do="Choose another --out, or pass --overwrite.")  # fmt: skip
    listed = open_dataset(dataset)
    data = open_cases(listed, split)
    preprocessing = PreprocessingConfig()
    prints = data.measure(tuple(data.entries), preprocessing,
                          lambda done, total: progress("Measuring cases", done, total, ""))  # fmt: skip
    labels = dict(data.labels.values)
    measure, device = cuda_meter(network, len(labels), precision) if meter is None else (meter, "the meter")
    made = _decide(Planner(prints, network, len(labels), gib, precision, measure, device), labels, preprocessing)
    made = made.model_copy(update={"data": " ".join(sorted(case_codes(listed, data.entries.values()).values()))})
    write_config(out, made)
    return made


def read_gib(text: str | float) -> float:
    """`10G`, `9500M` or a number as GiB.

    Raises:
        UsageError: neither.

    >>> read_gib("10G"), read_gib("512M"), read_gib(8)
    (10.0, 0.5, 8.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:(G|M)(?:i?B)?)?", str(text).strip(), re.IGNORECASE)
    gib = float(match[1]) / (1024 if (match[2] or "G").upper() == "M" else 1) if match else 0.0
    if not gib:
        raise UsageError("no amount of memory", where="--vram", expected="10G or 9500M", got=str(text))
    return gib


def _decide(planner: Planner, labels: dict[str, int], preprocessing: PreprocessingConfig) -> PlanFile:
    prints = planner.prints
    spacing, why = choose_spacing(prints)
    fitted = fit_plan(prints, PlanConfig(spacing_mm=spacing), preprocessing, (1, 1, 1))
    full = planner.stage(spacing)
    coarse = coarser_spacing(full.stage, prints)
    low = planner.stage(coarse) if coarse else None
    stage = planner.write(full)
    measured = summarise(prints)
    reasons = {
        "spacing_mm": why,
        "preprocessing": CROP.format(kept=measured.kept_of_image),
        "window_hu": WINDOW,
        **full.stage.reasons,
        "network": describe_network(stage),
        "memory": planner.describe_memory(full),
        "low_resolution": _why_low(full.stage, low.stage if low else None),
    }
    return PlanFile(
        vram_gib=planner.gib, precision=planner.precision, cases=len(prints), fingerprint=measured, labels=labels,
        volumes_ml=_volumes(prints, labels), window_hu=fitted.window_hu, mean_hu=fitted.mean_hu, std_hu=fitted.std_hu,
        preprocessing=preprocessing, stage=stage, low_resolution=planner.write(low) if low else None, reasons=reasons,
    )  # fmt: skip


def _why_low(stage: Stage, low: Stage | None) -> str:
    seen = f"a patch holds {stage.seen:.0%} of the median case"
    if low is None:
        return f"{seen}; below 25% a coarser stage would show more of it first"
    return f"{seen}, less than 25%; on the coarser grid a patch holds {low.seen:.0%}"


def _volumes(prints: Sequence[Fingerprint], labels: Mapping[str, int]) -> dict[str, tuple[float, int]]:
    found = {}
    for label, value in labels.items():
        volumes = sorted(each.volumes_ml[label] for each in prints if label in each.volumes_ml)
        if value:
            found[label] = (volumes[len(volumes) // 2] if volumes else 0.0, len(volumes))
    return found
