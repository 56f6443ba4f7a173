"""One optimiser step: forward, loss, backward, clipping, update."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.errors import TrainingError
from medseg.training.faults import (
    all_finite,
    first_nonfinite,
    largest_that_fits,
    nonfinite_gradient,
    same_random_numbers,
    tensors_in,
)
from medseg.training.machine import Machine
from medseg.training.settings import TrainingConfig
from medseg.training.state import TrainingState

Batch = dict[str, Any]
GENTLER = 0.1  # the share of the learning rate that is advised after a loss that exploded


@dataclass(frozen=True)
class Outcome:
    """Loss of the whole batch, norm of the gradient before clipping, and whether any process was asked to stop."""

    loss: float
    gradient_norm: float
    stop: bool


class Learner:
    """A network with its loss and optimiser, on the machine as it was settled.

    Args:
        loss: of (output, target, weight) or (output, target, weight, known); its sums over the batch are pooled over
            the processes, see `medseg.losses.pooling`.
    """

    def __init__(self, state: TrainingState, loss: nn.Module, config: TrainingConfig, machine: Machine) -> None:
        self.state, self.loss, self.config, self.machine = state, loss, config, machine
        self.forward = machine.prepared(state.model)
        self.penalty: Callable[[], Tensor] | None = getattr(state.model, "penalty", None)
        self.updating = False  # True while the weights are between two steps

    def step(self, batch: Batch, asked_to_stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Learns from a batch.

        Raises:
            TrainingError: loss or gradient are not finite; the weights are then those before the step.
        """
        state, config = self.state, self.config
        batch = self.moved(batch)
        state.model.train()
        state.optimizer.zero_grad(set_to_none=True)
        self._seed()
        value = self._whole(batch) if config.accumulate == 1 else self._in_parts(batch)
        length = float(nn.utils.get_total_norm(self._gradients()))
        loss, world = float(value), self.machine.world
        failed = not (math.isfinite(loss) and math.isfinite(length))
        failures, stops, total = world.summed(failed, asked_to_stop(), 0.0 if failed else loss)
        if failures:
            raise self._fault(batch, math.isfinite(loss))
        if length > config.clip_norm:
            nn.utils.clip_grads_with_norm_(state.model.parameters(), config.clip_norm, torch.tensor(length))
        for group in state.optimizer.param_groups:
            group["lr"] = config.learning_rate(state.step)
        self.updating = True
        state.optimizer.step()
        state.step += 1
        if state.average is not None:
            state.average.update(state.model, state.step)
        self.updating = False
        return Outcome(total / world.size, length, stops > 0)

    def _gradients(self) -> list[Tensor]:
        return [weight.grad for weight in self.state.model.parameters() if weight.grad is not None]

    def moved(self, batch: Batch) -> Batch:
        """The batch with its tensors on the device, in the layout that the network runs in."""
        world, layout = self.machine.world, self.machine.memory_format
        moved = {
            key: value.to(world.device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }
        return {**moved, "image": moved["image"].contiguous(memory_format=layout)}

    def largest_part(self, batch: Batch) -> int:
        """The largest number of patches that a forward and backward pass has memory for; found by trying."""
        batch = self.moved(batch)
        patches = len(batch["image"]) // self.config.accumulate

        def attempt(count: int) -> None:
            part = _cut(batch, 0, count)
            with same_random_numbers(self.machine.world.device):
                output = self._output(part, self.state.model)
                # other processes do not take part, so the pooled loss cannot be had; these tensors are as large
                sum(-torch.log_softmax(logits.float(), dim=1).exp().square().mean() for logits in tensors_in(output)
                    ).backward()  # type: ignore[union-attr]  # fmt: skip
            self.state.optimizer.zero_grad(set_to_none=True)

        self.state.optimizer.zero_grad(set_to_none=True)
        return largest_that_fits(patches, attempt)

    def _seed(self) -> None:
        """Dropout draws from the step's own numbers, so a resumed run needs no state of the generators."""
        world = self.machine.world
        numbers = np.random.SeedSequence([self.config.seed, self.state.step, world.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(numbers[0]) >> 1)

    def _output(self, batch: Batch, network: nn.Module) -> Tensor | list[Tensor]:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.machine.bf16):
            return network(batch["image"], batch["rater"]) if "rater" in batch else network(batch["image"])

    def _loss(self, output: Tensor | list[Tensor], batch: Batch) -> Tensor:
        known = batch.get("known")
        return self.loss(output, batch["target"], batch["weight"], *(() if known is None else (known,)))

    def _whole(self, batch: Batch) -> Tensor:
        value = self._loss(self._output(batch, self.forward), batch)
        if self.penalty is not None:
            value = value + self.penalty()
        value.backward()
        return value.detach()

    def _in_parts(self, batch: Batch) -> Tensor:
        """The gradient of the loss of the whole batch, with the activations of one part in memory at a time.

        A first pass without gradients gives all logits, the loss of the batch its slope at the logits, and a second
        pass carries the slope through each part (the gradient cache of Gao et al., Scaling Deep Contrastive Learning
        Batch Size, RepL4NLP 2021). So the Dice of the batch, the hardest voxels and counts of what is known are those
        of the whole batch, which the mean over the parts' losses would not give; the price is one more forward pass.
        """
        count = len(batch["image"]) // self.config.accumulate
        parts = [_cut(batch, first, first + count) for first in range(0, len(batch["image"]), count)]
        with torch.no_grad(), same_random_numbers(self.machine.world.device):
            seen = [_listed(self._output(part, self.forward)) for part in parts]
        logits = [torch.cat(level).requires_grad_() for level in zip(*seen, strict=True)]
        del seen
        value = self._loss(logits if len(logits) > 1 else logits[0], batch)
        value.backward()
        added = None if self.penalty is None else self.penalty()
        slopes = [level.grad.split(count) if level.grad is not None else None for level in logits]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else self._unsynchronised():
                levels = zip(_listed(self._output(part, self.forward)), slopes, strict=True)
                outputs = [(level, slope[number]) for level, slope in levels if slope is not None]
                if last and added is not None and added.requires_grad:
                    outputs.append((added, torch.ones_like(added)))
                torch.autograd.backward([level for level, _ in outputs], [slope for _, slope in outputs])
        return value.detach() if added is None else value.detach() + added.detach()

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        no_sync = getattr(self.forward, "no_sync", nullcontext)
        return no_sync()

    def _fault(self, batch: Batch, loss_is_finite: bool) -> TrainingError:
        """What went wrong where, told alike in every process."""
        world = self.machine.world
        mine = self._describe_fault(batch, loss_is_finite)
        told = [fault for fault in world.gathered(mine) if fault is not None]
        cases, cause = told[0] if told else ([], "")
        scale = GENTLER * self.config.learning_rate_scale
        return TrainingError(
            "the loss is not finite" if not loss_is_finite else "the gradient is not finite",
            where=f"step {self.state.step + 1}" + (f", cases {', '.join(cases)}" if cases else ""),
            got=cause,
            do=f"Go on from the last checkpoint with a lower rate, --resume training.learning_rate_scale={scale:g}; or "
            "check the data.",
        )

    def _describe_fault(self, batch: Batch, loss_is_finite: bool) -> tuple[list[str], str] | None:
        ids, places = [str(one) for one in batch.get("id", [])], batch.get("place", [])
        if loss_is_finite:
            return ids, nonfinite_gradient(self.state.model)
        self._seed()
        for number in range(len(batch["image"])):
            part = _cut(batch, number, number + 1)
            layer = "the image" if not all_finite(part["image"]) else first_nonfinite(
                self.state.model, lambda part=part: self._output(part, self.state.model)
            )  # fmt: skip
            if layer:
                patch = f", patch at {places[number]}" if number < len(places) else ""
                return ids[number : number + 1], f"the first numbers that are not finite in {layer}{patch}"
        return None if self.machine.world.size > 1 else (ids, "finite outputs of every layer, so it is the loss itself")


def _cut(batch: Batch, first: int, end: int) -> Batch:
    return {key: value[first:end] for key, value in batch.items()}


def _listed(output: Tensor | list[Tensor]) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)
