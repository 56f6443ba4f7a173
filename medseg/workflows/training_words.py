"""Sentences that a training says at its start."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medseg.data.store import StoredCase
from medseg.preprocessing.plan import Plan
from medseg.training.distributed import World
from medseg.workflows.run import Run


def describe(run: Run, model: torch.nn.Module, world: World) -> str:
    plan = run.plan
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    patch, spacing = (" x ".join(f"{value:g}" for value in triple) for triple in (plan.patch, plan.spacing_mm))
    low, high = plan.window_hu
    places = f"{world.size} x " if world.size > 1 else ""
    return (
        f"{run.recipe.model.name} with {weights:.2f} million weights on {places}{world.device.type}; "
        f"patches of {patch} voxels of {spacing} mm; {low:g} to {high:g} HU."
    )


def describe_padding(cases: Sequence[StoredCase], plan: Plan) -> str:
    """A sentence about the cases that are smaller than the patch; empty when none is."""
    small = sum(any(n < wanted for n, wanted in zip(c.hu.shape[1:], plan.patch, strict=True)) for c in cases)
    if not small:
        return ""
    patch = " x ".join(map(str, plan.patch))
    return (
        f"The patch of {patch} voxels is larger than {small} of {len(cases)} training images; they are padded with air."
    )
