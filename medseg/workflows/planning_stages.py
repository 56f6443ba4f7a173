"""The stages of a plan: networks of one name, counted, and measured where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from pydantic import TypeAdapter

from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig
from medseg.models.registry import ModelConfig
from medseg.preprocessing.measuring import Measured, Meter, measured_stage
from medseg.preprocessing.plan import Fingerprint
from medseg.preprocessing.planning import Stage, plan_stage
from medseg.preprocessing.topology import describe_topology, find_topology, is_anisotropic
from medseg.shapes import IntTriple, Triple
from medseg.training.footprint import footprint
from medseg.training.real_step import device_name, step_memory
from medseg.workflows.plan_file import PlannedStage, Precision

RESERVE_MIB = 600.0  # CUDA's context and libraries
HEADROOM = 0.85  # of the rest: convolution algorithms ask for working memory that no count sees
MEASURED_HEADROOM = 0.95  # of the rest, where a real step was measured: the allocator's blocks leave gaps
RESENC_BLOCKS = (1, 3, 4, 6, 6, 6)
SHORTEST = 16  # voxels of a patch's longest axis: three levels of a U-Net
NETWORKS = {  # each name of a network to its class of settings
    name: config
    for config in get_args(get_args(ModelConfig)[0])
    for name in get_args(config.model_fields["name"].annotation)
}


@dataclass(frozen=True)
class Planner:
    """Plans stages of one network for one amount of memory.

    Args:
        prints: of the training cases.
        network: a name of `NETWORKS`.
        classes: of the logits.
        gib, precision: what a step may take, and in what numbers.
        meter: what a step really takes.
        device: the meter's name.
    """

    prints: Sequence[Fingerprint]
    network: str
    classes: int
    gib: float
    precision: Precision
    meter: Meter
    device: str

    def stage(self, spacing_mm: Triple) -> Measured:
        """The largest patch and batch on this grid of which a step fits.

        Raises:
            InputError: not even the smallest patch fits.
        """
        room = self.gib * 1024 - RESERVE_MIB

        def make(factor: float) -> Stage:
            # Where the count was corrected by a real step, the working memory is known.
            share = HEADROOM if factor == 1 else MEASURED_HEADROOM
            return plan_stage(
                self.prints, spacing_mm, design_of(self.network),
                lambda *step: factor * self.count(*step), room * share,
                tell=lambda mib: f"{(mib / share + RESERVE_MIB) / 1024:.3g} GiB",
            )  # fmt: skip

        return measured_stage(make, self.meter, room * MEASURED_HEADROOM, self.device)

    def describe_memory(self, found: Measured) -> str:
        """What of the memory is planned with, and whether a real step agrees."""
        return f"of {self.gib:.3g} GiB, {RESERVE_MIB:g} MiB are left to CUDA and {1 - HEADROOM:.0%} of the rest to " \
               f"working memory that no count sees; {found.reason}"  # fmt: skip

    def count(self, settings: Mapping[str, Any], patch: IntTriple, batch: int) -> float:
        """MiB of a training step, counted without computing anything."""
        with torch.device("meta"):  # weights of a size, without numbers that nobody needs
            model = settings_of(self.network, settings).build(1, self.classes, patch)
        return footprint(model, batch, 1, patch, activation_bytes=2 if self.precision == "bf16" else 4).total

    def write(self, found: Measured) -> PlannedStage:
        """The stage as the plan file holds it."""
        stage, settings = found.stage, settings_of(self.network, found.stage.network)
        counted = self.count(stage.network, stage.patch, stage.batch)
        return PlannedStage(
            spacing_mm=stage.spacing_mm, median_shape=stage.median_shape, patch=stage.patch, batch=stage.batch,
            model=settings, estimate_gib=_gib(counted),
            measured_gib=None if found.mib is None else _gib(found.mib),
        )  # fmt: skip


def cuda_meter(network: str, classes: int, precision: Precision) -> tuple[Meter, str]:
    """What a step of this network really takes on the CUDA device, and the device's name; nothing without one."""
    name = device_name()
    if name is None:
        return (lambda settings, patch, batch: None), "no GPU"
    loss = DeepSupervision(DiceCEConfig().build())

    def measure(settings: Mapping[str, Any], patch: IntTriple, batch: int) -> float:
        model = settings_of(network, settings).build(1, classes, patch)
        return step_memory(model, loss, batch, (1, patch, classes), bf16=precision == "bf16")

    return measure, name


def design_of(network: str) -> Callable[[IntTriple, Triple], tuple[dict[str, Any], IntTriple]]:
    """Settings of the network for a patch and a spacing, and what the patch must be a multiple of."""
    if network == "unet" or network.startswith("resenc"):
        return lambda patch, spacing_mm: _u_net(network, patch, spacing_mm)

    def fixed(patch: IntTriple, spacing_mm: Triple) -> tuple[dict[str, Any], IntTriple]:
        settings = {"spacing_mm": spacing_mm} if network == "segresnet" and is_anisotropic(spacing_mm) else {}
        return settings, settings_of(network, settings).downsampling

    return fixed


def describe_network(stage: PlannedStage) -> str:
    """Why the network of a stage is as it is."""
    model = stage.model
    if model.name in ("unet", "resenc-m", "resenc-l"):
        return describe_topology(model.all_strides)  # type: ignore[union-attr]
    if model.name == "segresnet" and model.spacing_mm is not None:  # type: ignore[union-attr]
        return "of fixed size; axes with thick voxels are halved once the others have caught up with them"
    return "of fixed size; patches are multiples of " + " x ".join(map(str, model.downsampling))


def settings_of(network: str, settings: Mapping[str, Any]) -> Any:
    """The class of settings of a network, filled in."""
    return TypeAdapter(ModelConfig).validate_python({"name": network, **settings})


def _u_net(network: str, patch: IntTriple, spacing_mm: Triple) -> tuple[dict[str, Any], IntTriple]:
    x, y, z = (max(n, SHORTEST) if n == max(patch) else n for n in patch)
    found = find_topology((x, y, z), spacing_mm)
    levels = len(found.channels)
    settings: dict[str, Any] = {"channels": found.channels, "strides": found.strides, "kernels": found.kernels,
                                "deep_supervision": levels - 2}  # fmt: skip
    if network != "unet":
        settings["blocks"] = RESENC_BLOCKS[:levels]
    return settings, found.multiple


def _gib(mib: float) -> float:
    return round((mib + RESERVE_MIB) / 1024, 2)
