"""Sentences that a training says at its start."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medseg.data.store import StoredCase
from medseg.preprocessing.plan import whole_patch
from medseg.shapes import IntTriple
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


def describe_padding(run: Run, cases: Sequence[StoredCase]) -> str:
    """A sentence about the cases that are smaller than the patch, with the patch that holds the largest of them all;
    empty when none is."""
    patch, shapes = run.plan.patch, [case.hu.shape[1:] for case in cases]
    small = sum(any(n < wanted for n, wanted in zip(shape, patch, strict=True)) for shape in shapes)
    if not small:
        return ""
    x, y, z = (min(patch[axis], max(shape[axis] for shape in shapes)) for axis in range(3))
    enough = whole_patch((x, y, z), run.recipe.model.downsampling)
    sentence = f"The patch of {_size(patch)} voxels is larger than {small} of {len(cases)} training images; they are " \
               "padded with air."  # fmt: skip
    if any(axis < wanted for axis, wanted in zip(enough, patch, strict=True)):
        sentence += f" None is larger than {_size(enough)}, so plan.patch={list(enough)} spares time and memory."
    return sentence


def _size(patch: IntTriple) -> str:
    return " x ".join(map(str, patch))
