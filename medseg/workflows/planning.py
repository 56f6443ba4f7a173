"""`medseg plan`: what a data set asks for, written down with the reason for each decision."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from medseg.config import write_config
from medseg.errors import OutputExistsError, UsageError
from medseg.models.registry import ModelConfig
from medseg.preprocessing.plan import Fingerprint, PlanConfig, PreprocessingConfig, fit_plan
from medseg.preprocessing.planning import Stage, choose_spacing, coarser_spacing, plan_stage
from medseg.preprocessing.topology import find_topology
from medseg.shapes import IntTriple, Triple
from medseg.training.footprint import footprint
from medseg.workflows.plan_file import PlanFile, PlannedStage, Precision
from medseg.workflows.readings import open_dataset
from medseg.workflows.training_data import open_cases

RESERVE_MIB = 600.0  # CUDA's context and libraries
HEADROOM = 0.85  # of the rest: convolution algorithms ask for working memory that no count sees
RESENC_BLOCKS = (1, 3, 4, 6, 6, 6)
SHORTEST = 16  # voxels of a patch's longest axis: three levels of a U-Net
NETWORKS = {  # each name of a network to its class of settings
    name: config
    for config in get_args(get_args(ModelConfig)[0])
    for name in get_args(config.model_fields["name"].annotation)
}
Progress = Callable[[str, int, int, str], None]


def plan(
    dataset: str | Path,
    *,
    out: str | Path,
    vram: str | float = "10G",
    network: str = "unet",
    precision: Precision = "bf16",
    split: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
) -> PlanFile:
    """Measures the training cases and writes spacing, patch, batch and network with their reasons to `out`.

    Args:
        dataset: a `dataset.yaml` or its folder.
        out: the file, such as `plan.yaml`.
        vram: graphics memory that a training step may take: `10G`, `9500M`, or a number of GiB.
        network: a name of `medseg.models.registry`; U-Nets get depth and strides too.
        precision: of activations in training: bf16 on CUDA, fp32 on a CPU.
        split: cases to measure; by default all that are not the test set.

    Raises:
        UsageError: no such network, or no amount of memory.
        OutputExistsError: `out` exists and `overwrite` is False.
        InputError: no case has a labelled voxel, or the memory is too little for the smallest patch.
    """
    gib = read_gib(vram)
    if network not in NETWORKS:
        raise UsageError("unknown network", where="--network", expected="one of " + ", ".join(NETWORKS), got=network)
    if precision not in get_args(Precision):
        raise UsageError("unknown precision", where="--precision", expected="bf16 or fp32", got=precision)
    out = Path(out)
    if out.exists() and not overwrite:
        raise OutputExistsError("the plan is there already", where=out.name,
                                do="Choose another --out, or pass --overwrite.")  # fmt: skip
    data = open_cases(open_dataset(dataset), split)
    preprocessing = PreprocessingConfig()
    prints = data.measure(tuple(data.entries), preprocessing,
                          lambda done, total: progress("Measuring cases", done, total, ""))  # fmt: skip
    made = _decide(prints, gib, network, precision, dict(data.labels.values), preprocessing)
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


def _decide(
    prints: Sequence[Fingerprint], gib: float, network: str, precision: Precision, labels: dict[str, int],
    preprocessing: PreprocessingConfig,
) -> PlanFile:  # fmt: skip
    spacing, why = choose_spacing(prints)
    fitted = fit_plan(prints, PlanConfig(spacing_mm=spacing), preprocessing, (1, 1, 1))
    design = _design(network)
    budget = (gib * 1024 - RESERVE_MIB) * HEADROOM

    def cost(settings: dict[str, Any], patch: IntTriple, batch: int) -> float:
        model = _settings(network, settings).build(1, len(labels), patch)
        return footprint(model, batch, 1, patch, activation_bytes=2 if precision == "bf16" else 4).total

    stage = plan_stage(prints, spacing, design, cost, budget)
    coarse = coarser_spacing(stage, prints)
    low = plan_stage(prints, coarse, design, cost, budget) if coarse else None
    reasons = {"spacing_mm": why, "window_hu": "0.5 and 99.5 percentiles of labelled voxels",
               **stage.reasons, "low_resolution": _why_low(stage, low=coarse is not None)}  # fmt: skip
    return PlanFile(
        vram_gib=gib, precision=precision, cases=len(prints), labels=labels, volumes_ml=_volumes(prints, labels),
        window_hu=fitted.window_hu, mean_hu=fitted.mean_hu, std_hu=fitted.std_hu, preprocessing=preprocessing,
        stage=_planned(stage, network), low_resolution=_planned(low, network) if low else None, reasons=reasons,
    )  # type: ignore[arg-type]  # fmt: skip


def _design(network: str) -> Callable[[IntTriple, Triple], tuple[dict[str, Any], IntTriple]]:
    """Settings of the network for a patch, and what the patch must be a multiple of."""
    if network != "unet" and not network.startswith("resenc"):
        return lambda patch, spacing_mm: ({}, _settings(network, {}).downsampling)

    def shaped(patch: IntTriple, spacing_mm: Triple) -> tuple[dict[str, Any], IntTriple]:
        x, y, z = (max(n, SHORTEST) if n == max(patch) else n for n in patch)
        found = find_topology((x, y, z), spacing_mm)
        levels = len(found.channels)
        settings: dict[str, Any] = {"channels": found.channels, "strides": found.strides, "kernels": found.kernels,
                                    "deep_supervision": levels - 2}  # fmt: skip
        if network != "unet":
            settings["blocks"] = RESENC_BLOCKS[:levels]
        return settings, found.multiple

    return shaped


def _settings(network: str, settings: Mapping[str, Any]) -> Any:
    return TypeAdapter(ModelConfig).validate_python({"name": network, **settings})


def _planned(stage: Stage, network: str) -> PlannedStage:
    return PlannedStage(
        spacing_mm=stage.spacing_mm, median_shape=stage.median_shape, patch=stage.patch, batch=stage.batch,
        model=_settings(network, stage.network), estimate_gib=round((stage.estimate_mib + RESERVE_MIB) / 1024, 2),
    )  # fmt: skip


def _why_low(stage: Stage, *, low: bool) -> str:
    seen = f"a patch holds {stage.seen:.0%} of the median case"
    return f"{seen}, less than 25%" if low else seen


def _volumes(prints: Sequence[Fingerprint], labels: Mapping[str, int]) -> dict[str, tuple[float, int]]:
    found = {}
    for label, value in labels.items():
        volumes = sorted(each.volumes_ml[label] for each in prints if label in each.volumes_ml)
        if value:
            found[label] = (volumes[len(volumes) // 2] if volumes else 0.0, len(volumes))
    return found
