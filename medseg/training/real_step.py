"""The memory that a training step really takes on a CUDA device."""

from __future__ import annotations

from math import inf

import torch
from torch import nn

from medseg.shapes import IntTriple
from medseg.training.distributed import World
from medseg.training.faults import is_out_of_memory, release_memory
from medseg.training.machine import Machine
from medseg.training.optim import AdamWConfig
from medseg.training.settings import TrainingConfig
from medseg.training.state import TrainingState
from medseg.training.step import Learner

MIB = 2**20
STEPS = 2  # the optimiser's own numbers come to be at the end of the first step


def device_name() -> str | None:
    """The CUDA device that a training would use; None where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def step_memory(
    model: nn.Module, loss: nn.Module, batch: int, shape: tuple[int, IntTriple, int], *, bf16: bool
) -> float:
    """Largest MiB that PyTorch held during a step on the CUDA device; `inf`: it ran out of memory.

    Args:
        batch: patches per step.
        shape: channels of the image, voxels of the patch, classes.
    """
    device = torch.device("cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        run_steps(model, loss, batch, shape, Machine(World(device=device), bf16=bf16))
        return torch.cuda.max_memory_allocated(device) / MIB
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return inf
    finally:
        model.to("meta")
        release_memory()


def run_steps(
    model: nn.Module, loss: nn.Module, batch: int, shape: tuple[int, IntTriple, int], machine: Machine
) -> None:
    """A few whole training steps on random patches: forward, loss, backward, clipping, optimiser."""
    channels, patch, classes = shape
    device = machine.world.device
    model.to(device)
    state = TrainingState(model, AdamWConfig().build(model))
    learner = Learner(state, loss, TrainingConfig(steps=STEPS, batch=batch), machine)
    labels = torch.randint(classes, (batch, *patch), device=device)
    sample = {
        "image": torch.randn((batch, channels, *patch), device=device),
        "target": torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float(),
        "weight": torch.ones((batch, 1, *patch), device=device),
    }
    for _ in range(STEPS):
        learner.step(sample)
