"""How a network runs on this machine: precision, layout in memory, compiled or not; measured where it matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from medseg.errors import UsageError
from medseg.shapes import IntTriple
from medseg.training.distributed import World
from medseg.training.faults import is_out_of_memory, release_memory, tensors_in
from medseg.training.precision import PrecisionCheck, check_bf16, stopwatch
from medseg.training.settings import TrainingConfig

LEAST_GAIN = 0.03  # of the time of a step, below which a difference is chance
WORTH_COMPILING = 2000  # steps; compiling a 3-D network takes about a minute


@dataclass(frozen=True)
class Machine:
    """A world and how the network runs in it; the default is a single process on the CPU in fp32."""

    world: World = field(default_factory=World)
    bf16: bool = False
    channels_last: bool = False
    compiled: bool = False

    @classmethod
    def of(cls, model: nn.Module) -> Machine:
        """A single process in fp32 where the network's weights are."""
        return cls(World(device=next(model.parameters()).device))

    @property
    def memory_format(self) -> torch.memory_format:
        """Of images on the device."""
        return torch.channels_last_3d if self.channels_last else torch.contiguous_format

    def prepared(self, model: nn.Module) -> nn.Module:
        """The network as it is called in a step. Its weights are laid out anew in place."""
        if self.world.device.type == "cuda":
            model.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        return self.world.wrapped(torch.compile(model) if self.compiled else model)  # type: ignore[arg-type]


def choose_machine(
    model: nn.Module, config: TrainingConfig, world: World, channels: int, patch: IntTriple
) -> tuple[Machine, list[str]]:
    """How to run `model` in a world, and sentences that say so; all processes settle on the same.

    On the CPU nothing is measured: fp32, not compiled, the layout as it is.

    Args:
        channels: of the image.
        patch: voxels along X, Y, Z.

    Raises:
        UsageError: the batch cannot be shared out evenly, or bf16 or compiling is asked for on the CPU.
    """
    check_wishes(config, world)
    if world.device.type == "cpu":
        return Machine(world), []
    bf16, said = choose_precision(config, world)
    machine = Machine(world, bf16=bf16)
    image = torch.randn(max(1, config.batch // world.size // config.accumulate), channels, *patch, device=world.device)
    times: dict[Machine, float] = {}
    layouts = [machine, replace(machine, channels_last=True)]
    for each in layouts:
        times[each] = _step_seconds(each, model, image)
    if config.compile == "on" or (config.compile == "auto" and config.steps >= WORTH_COMPILING):
        compiled = replace(fastest(times), compiled=True)
        times[compiled] = 0.0 if config.compile == "on" else _step_seconds(compiled, model, image)
    best = fastest(times)
    last, compiled = world.gathered((best.channels_last, best.compiled))[0]  # the first process's: all run the same
    machine = replace(machine, channels_last=last, compiled=compiled)
    model.zero_grad(set_to_none=True)
    layout = "channels last" if machine.channels_last else "channels first"
    return machine, [said, f"Layout: {layout}, {'compiled' if machine.compiled else 'not compiled'}."]


def choose_precision(
    config: TrainingConfig, world: World, check: Callable[[torch.device], PrecisionCheck] = check_bf16
) -> tuple[bool, str]:
    """Whether to run in bf16, and a sentence; all processes must pass the check.

    bf16 has the range of fp32, so no gradient vanishes and no GradScaler is needed.
    """
    if config.precision != "auto":
        return config.precision == "bf16", f"Precision: {config.precision}, as asked for."
    found = check(world.device)
    everyone = world.gathered((found.passed, found.sentence))
    worst = min(everyone, key=lambda one: one[0])
    return worst[0], worst[1]


def fastest(times: Mapping[Machine, float]) -> Machine:
    """The first machine, unless a later one takes clearly less time.

    >>> plain = Machine()
    >>> fastest({plain: 1.0, replace(plain, channels_last=True): 0.99}) == plain
    True
    """
    best, *others = times
    for other in others:
        if times[other] < (1 - LEAST_GAIN) * times[best]:
            best = other
    return best


def check_wishes(config: TrainingConfig, world: World) -> None:
    """Refuses what cannot be had in this world.

    Raises:
        UsageError: the batch cannot be shared out evenly, or bf16 or compiling is asked for on the CPU.
    """
    if config.batch % (world.size * config.accumulate):
        raise UsageError("the batch cannot be shared out evenly", where="training.batch",
                         expected=f"a multiple of {world.size * config.accumulate} ({world.size} processes, "
                         f"{config.accumulate} parts)", got=str(config.batch))  # fmt: skip
    if world.device.type == "cpu" and config.precision == "bf16":
        raise UsageError("bf16 is not for training on a CPU", where="training.precision",
                         got="gradients of small feature maps that are wrong or not finite in releases of torch, and "
                         "no gain in time", do="Use auto or fp32.")  # fmt: skip
    if world.device.type == "cpu" and config.compile == "on":
        raise UsageError("compiling is for CUDA", where="training.compile", do="Use auto or off.")


def _step_seconds(machine: Machine, model: nn.Module, image: torch.Tensor) -> float:
    """Seconds of a forward and backward pass in one process; infinite where the memory is not enough."""
    network = replace(machine, world=World(device=image.device)).prepared(model.train())
    given = [image.contiguous(memory_format=machine.memory_format)]
    if hasattr(model, "as_rater"):
        given.append(torch.zeros(len(image), dtype=torch.int64, device=image.device))

    def run() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=machine.bf16):
            output = network(*given)
        sum(logits.float().square().mean() for logits in tensors_in(output)).backward()  # type: ignore[union-attr]
        model.zero_grad(set_to_none=True)

    try:
        seconds = stopwatch(run, image.device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        seconds = float("inf")
    release_memory()
    return seconds
