"""What a training tells while it runs, and who listens."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

Cases = Mapping[str, Mapping[str, float]]  # Dice by case and structure; what is undefined in a case is absent


@dataclass(frozen=True)
class StepEvent:
    """The last few steps, told every `log_every` steps and at the end.

    Args:
        step: optimiser steps done.
        steps: optimiser steps in all.
        loss: mean over the steps since the last event.
        learning_rate: of the last step.
        seconds: since the last event, validation and checkpoints included.
        patches_per_second: learned from since the last event, on all devices together.
        wait_share: share of `seconds` spent waiting for data.
        gradient_norm: of the last step, before clipping.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    patches_per_second: float
    wait_share: float
    gradient_norm: float


@dataclass(frozen=True)
class ValidationEvent:
    """Dice on cases held out.

    Args:
        step: optimiser steps done.
        dice: mean over the cases, by structure.
        mean: of `dice` over the structures.
        cases: by case and structure; a structure that is marked in neither reference nor prediction is absent.
    """

    step: int
    dice: Mapping[str, float]
    mean: float
    cases: Cases


class Watcher(Protocol):
    """Somebody who is told how a training goes. On several devices only the first one has watchers."""

    def step(self, event: StepEvent) -> None:
        """Called every `log_every` steps."""
        ...

    def validation(self, event: ValidationEvent) -> None:
        """Called after each validation, before the checkpoint is written."""
        ...

    def close(self) -> None:
        """Called once, when training ends, is interrupted or fails."""
        ...


def summarise_validation(step: int, cases: Cases, chosen: Collection[str] | None = None) -> ValidationEvent:
    """The event of these cases, or of the `chosen` ones among them; no Dice at all: mean 0.

    >>> summarise_validation(9, {"c1": {"liver": 0.5, "spleen": 1.0}, "c2": {"liver": 0.7}}).dice
    {'liver': 0.6, 'spleen': 1.0}
    """
    found: dict[str, list[float]] = {}
    kept = {case: scores for case, scores in cases.items() if chosen is None or case in chosen}
    for scores in kept.values():
        for name, score in scores.items():
            found.setdefault(name, []).append(score)
    dice = {name: round(sum(values) / len(values), 5) for name, values in found.items()}
    return ValidationEvent(step, dice, round(sum(dice.values()) / max(len(dice), 1), 5), kept)
