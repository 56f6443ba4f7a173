"""What a training shows while it runs: one line of numbers beside its bar."""

from __future__ import annotations

from medseg.training.events import StepEvent, ValidationEvent
from medseg.workflows.telling import Progress


class ProgressLine:
    """A watcher that tells `progress` of every step: loss, speed, waiting for data, and the last validation's Dice.

    Args:
        steps: optimiser steps in all.
        progress: called with ("Training", steps done, steps in all, the numbers in words).
    """

    def __init__(self, steps: int, progress: Progress) -> None:
        self.steps, self.progress = steps, progress
        self.loss, self.speed, self.dice = "", "", ""

    def tick(self, step: int, loss: float) -> None:
        """Shows a step, but for the last one, which is an event as well; until the first event its own loss."""
        if step < self.steps:
            self._show(step, self.loss or f"loss {loss:.3f}")

    def step(self, event: StepEvent) -> None:
        self.loss = f"loss {event.loss:.3f}"
        self.speed = f"{event.patches_per_second:.3g} patches/s, waiting {event.wait_share:.0%}"
        if event.step == self.steps:
            self._show(event.step, self.loss)

    def validation(self, event: ValidationEvent) -> None:
        each = ", ".join(f"{name} {value:.2f}" for name, value in event.dice.items())
        self.dice = f"Dice {event.mean:.3f} ({each})"

    def close(self) -> None:
        """Nothing is held open."""

    def _show(self, step: int, loss: str) -> None:
        self.progress("Training", step, self.steps, ", ".join(filter(None, (loss, self.speed, self.dice))))
