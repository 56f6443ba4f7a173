"""The training loop: tensors in, weights out. It knows no CT."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from medseg.config import Config
from medseg.errors import TrainingError, UsageError
from medseg.training.checkpoint import Checkpoint, pack_optimizer, unpack_optimizer
from medseg.training.events import Cases, StepEvent, Watcher, summarise_validation
from medseg.training.optim import AdamWConfig, OptimizerConfig, ScheduleConfig

Batch = dict[str, Any]


class TrainingConfig(Config):
    """Steps are optimiser steps. `validate_every` and `checkpoint_every` count steps; both also happen at the end.

    `augment_on`: the `loader`'s processes augment patch by patch, or the `device` a whole batch in the step; `auto` is
    the device on CUDA, else the loader.
    """

    steps: int = Field(default=1000, gt=0)
    batch: int = Field(default=2, gt=0)
    seed: int = Field(default=0, ge=0)
    optimizer: OptimizerConfig = AdamWConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    clip_norm: float = Field(default=12.0, gt=0)
    validate_every: int = Field(default=250, gt=0)
    checkpoint_every: int = Field(default=100, gt=0)
    log_every: int = Field(default=10, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    augment_on: Literal["auto", "loader", "device"] = "auto"

    def augments_on(self, device: torch.device) -> Literal["loader", "device"]:
        """Where augmentation happens in a training on `device`."""
        if self.augment_on != "auto":
            return self.augment_on
        return "device" if device.type == "cuda" else "loader"


@dataclass
class TrainingState:
    """All that changes during training, and all that a resumed run needs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float | None = None

    def pack(self, facts: dict[str, Any]) -> Checkpoint:
        """A checkpoint of this state; `facts` are stored with it."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in pack_optimizer(self.optimizer).items()}
        tensors["random.torch"] = torch.get_rng_state()  # dropout draws from it
        return Checkpoint(tensors, {**facts, "step": self.step, "best": self.best})

    def unpack(self, checkpoint: Checkpoint) -> None:
        """Takes over a packed state; the next step is the one that would have come."""
        self.model.load_state_dict(checkpoint.part("model"))
        unpack_optimizer(self.optimizer, checkpoint.part("optimizer"))
        torch.set_rng_state(checkpoint.tensors["random.torch"])
        self.step, self.best = checkpoint.facts["step"], checkpoint.facts["best"]


@dataclass
class Hooks:
    """What the loop calls: `validate` gives Dice per case and structure, `save` writes a checkpoint, `watchers` are
    told how it goes, `tick` shows every step, `prepare` makes a step's batch, on the device, of what the loader gave.
    """

    validate: Callable[[], Cases]
    save: Callable[[bool], None]
    watchers: Sequence[Watcher] = ()
    tick: Callable[[int, float], None] = lambda step, loss: None
    prepare: Callable[[Batch], Batch] = lambda batch: batch
    losses: list[float] = field(default_factory=list)
    waited: float = 0.0
    stepped: float = 0.0

    @property
    def wait_share(self) -> float:
        """Share of the time of all steps that went into waiting for the loader; 0 before the first."""
        return self.waited / (self.waited + self.stepped) if self.waited else 0.0


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA when there is one.

    Raises:
        UsageError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("this machine has no CUDA device", where="device cuda", do="Use cpu or auto.")
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError("unknown device", expected="auto, cpu or cuda", got=name)
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def train_steps(
    state: TrainingState, batches: Iterable[Batch], loss: nn.Module, config: TrainingConfig, hooks: Hooks
) -> bool:
    """Runs from `state.step` to `config.steps`; False when the user interrupted (the state is saved first).

    Raises:
        TrainingError: the loss is not finite; names the step and the cases of the batch.
    """
    device = next(state.model.parameters()).device
    clock, waited = time.perf_counter(), 0.0
    with stop_signal() as stopped:
        iterator = iter(batches)
        while state.step < config.steps:
            asked = time.perf_counter()
            batch = next(iterator)
            got = time.perf_counter()
            value, norm = _step(state, hooks.prepare(batch), loss, config, device)
            waited, hooks.waited = waited + got - asked, hooks.waited + got - asked
            hooks.stepped += time.perf_counter() - got
            hooks.losses.append(value)
            hooks.tick(state.step, value)
            if state.step % config.log_every == 0 or state.step == config.steps:
                elapsed = time.perf_counter() - clock
                recent = hooks.losses[-config.log_every :]
                event = StepEvent(
                    step=state.step,
                    steps=config.steps,
                    loss=sum(recent) / len(recent),
                    learning_rate=_learning_rate(config, state.step - 1),
                    seconds=elapsed,
                    patches_per_second=len(recent) * config.batch / max(elapsed, 1e-9),
                    wait_share=waited / max(elapsed, 1e-9),
                    gradient_norm=norm,
                )
                for watcher in hooks.watchers:
                    watcher.step(event)
                clock, waited = time.perf_counter(), 0.0
            best = _validate(state, config, hooks)
            if best or stopped() or state.step % config.checkpoint_every == 0 or state.step == config.steps:
                hooks.save(best)
            if stopped() and state.step < config.steps:
                return False
    return True


def _step(
    state: TrainingState, batch: Batch, loss: nn.Module, config: TrainingConfig, device: torch.device
) -> tuple[float, float]:
    """Loss and norm of the gradient."""
    for group in state.optimizer.param_groups:
        group["lr"] = _learning_rate(config, state.step)
    image, target, weight = (batch[key].to(device, non_blocking=True) for key in ("image", "target", "weight"))
    state.model.train()
    # bf16 on CUDA only: on the CPU its Conv3d gradients came back non-finite on small feature maps (torch 2.13).
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda"):
        output = state.model(image, batch["rater"].to(device)) if "rater" in batch else state.model(image)
    known = batch["known"].to(device) if batch.get("known") is not None else None
    value = loss(output, target, weight) if known is None else loss(output, target, weight, known)
    if isinstance(penalty := getattr(state.model, "penalty", None), Callable):
        value = value + penalty()
    if not torch.isfinite(value):
        raise TrainingError(
            "the loss is not finite",
            where=f"step {state.step + 1}, cases {', '.join(map(str, batch.get('id', [])))}",
            do="Lower training.optimizer.learning_rate; the last checkpoint is intact, so --resume goes on from there.",
        )
    state.optimizer.zero_grad(set_to_none=True)
    value.backward()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_norm, error_if_nonfinite=False)
    state.optimizer.step()
    state.step += 1
    return float(value.detach()), float(norm)


def _learning_rate(config: TrainingConfig, step: int) -> float:
    return config.optimizer.learning_rate * config.schedule.factor(step, config.steps)


def _validate(state: TrainingState, config: TrainingConfig, hooks: Hooks) -> bool:
    """Validates when it is due; True when the mean Dice is the best so far."""
    if state.step % config.validate_every and state.step != config.steps:
        return False
    cases = hooks.validate()
    if not any(cases.values()):
        return state.step == config.steps  # nothing to validate on: the last weights are the best that we know
    event = summarise_validation(state.step, cases)
    for watcher in hooks.watchers:
        watcher.validation(event)
    if state.best is None or event.mean > state.best:
        state.best = event.mean
        return True
    return False


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a question that is asked between steps; a second one acts at once.

    Outside the main thread, where Python allows no handlers, nothing is changed.
    """
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        previous = {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
