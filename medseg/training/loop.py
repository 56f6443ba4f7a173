"""The training loop: tensors in, weights out. It knows no CT."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from medseg.errors import MedsegError, TrainingError, WriteError
from medseg.training.distributed import choose_device
from medseg.training.events import Cases, StepEvent, Watcher, summarise_validation
from medseg.training.faults import is_lost_worker, is_out_of_memory, release_memory
from medseg.training.machine import Machine
from medseg.training.settings import TrainingConfig
from medseg.training.state import TrainingState, new_state
from medseg.training.step import Batch, Learner, Outcome

__all__ = ["Batch", "Hooks", "TrainingConfig", "TrainingState", "choose_device", "new_state", "stop_signal",
           "train_steps"]  # fmt: skip

Asked = Callable[[], bool]
LONGEST_UNSAVED_S = 600.0  # slow steps are saved before `checkpoint_every` of them are done


@dataclass
class Hooks:
    """What the loop calls, in every process of the training.

    Args:
        validate: called with whether all cases are wanted, and a question whether training was asked to stop; gives
            Dice per case and structure, or None when it stopped half way.
        save: writes a checkpoint, called with whether it is the best so far.
        watchers: are told how it goes.
        tick: shows every step.
        prepare: makes a step's batch, on the device, of what the loader gave.
        compared: cases by which validations along the way and the one at the end are compared; None: all.
    """

    validate: Callable[[bool, Asked], Cases | None]
    save: Callable[[bool], None]
    watchers: Sequence[Watcher] = ()
    tick: Callable[[int, float], None] = lambda step, loss: None
    prepare: Callable[[Any], Batch] = lambda batch: batch
    compared: Collection[str] | None = None
    losses: list[float] = field(default_factory=list)
    waited: float = 0.0
    stepped: float = 0.0

    @property
    def wait_share(self) -> float:
        """Share of the time of all steps that went into waiting for the loader; 0 before the first."""
        return self.waited / (self.waited + self.stepped) if self.waited else 0.0


def train_steps(
    state: TrainingState,
    batches: Iterable[Any],
    loss: nn.Module,
    config: TrainingConfig,
    hooks: Hooks,
    machine: Machine | None = None,
) -> bool:
    """Runs from `state.step` to `config.steps`; False when the user interrupted (the state is saved first).

    Args:
        batches: one for each step to come, of this process's own patches.
        machine: how the network runs; by default in a single process, in fp32, where its weights are.

    Raises:
        TrainingError: loss or gradient are not finite (the step, the cases, the patch and the layer are named), or the
            memory is not enough (the state is saved, and the largest batch that fits is named), also that of the
            loader's processes or of a validation.
    """
    machine = machine or Machine.of(state.model)
    try:
        with stop_signal() as stopped:
            return _Course(Learner(state, loss, config, machine), config, hooks, stopped).run(batches)
    finally:
        for watcher in hooks.watchers:
            watcher.close()


@dataclass
class _Course:
    """The steps of one training, with what is due between them."""

    learner: Learner
    config: TrainingConfig
    hooks: Hooks
    stopped: Asked
    saved: float = field(default_factory=time.monotonic)

    def run(self, batches: Iterable[Any]) -> bool:
        try:
            return self._steps(batches)
        except RuntimeError as error:  # torch raises it wherever the process is when one of the loader's is gone
            if not is_lost_worker(error):
                raise
        raise self._loader_fault("the system ended a process of the loader, probably because memory ran out", batches)

    def _steps(self, batches: Iterable[Any]) -> bool:
        state, report = self.learner.state, _Report(self.config, self.hooks)
        if self._validation_is_due() and not self._validate_and_save(stop=False):
            return False  # a run that was interrupted while it validated does so again
        iterator = self._loaded(lambda: iter(batches), batches)
        while state.step < self.config.steps and not state.ended:
            asked = time.perf_counter()
            batch = self._loaded(lambda: next(iterator), batches)
            got = time.perf_counter()
            outcome = self._learn(batch)
            alone = self.learner.machine.world.size == 1
            report.add(state.step, outcome, got - asked, time.perf_counter() - got)
            if not self._validate_and_save(self.stopped() if alone else outcome.stop):
                return False
        return True

    def _loaded(self, ask: Callable[[], Any], batches: Iterable[Any]) -> Any:
        try:
            return ask()
        except (RuntimeError, MemoryError, OSError) as error:
            if not is_out_of_memory(error):
                raise
        raise self._loader_fault("out of memory while the loader made a batch", batches)

    def _loader_fault(self, what: str, batches: Iterable[Any]) -> TrainingError:
        """Saves what can be saved; fewer loader processes give the same batches in less memory."""
        release_memory()
        kept, workers = self._keep(), getattr(batches, "num_workers", 0)
        advice = f"go on with --resume sampling.workers={workers // 2}, which gives the same batches in less memory"
        if not workers:
            advice = "free some memory and go on with --resume"
        return TrainingError(what, where=f"step {self.learner.state.step + 1}", do=f"{kept}; {advice}.")

    def _keep(self) -> str:
        """Saves the state where it is whole; says what is kept."""
        if self.learner.updating:
            return "The last checkpoint is intact"
        self._save(False)
        return "Everything is saved"

    def _save(self, best: bool) -> None:
        self.hooks.save(best)
        self.saved = time.monotonic()

    def _learn(self, given: Any) -> Outcome:
        batch = None
        try:
            batch = self.hooks.prepare(given)
            return self.learner.step(batch, self.stopped)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if self.learner.machine.world.size > 1 and not self.learner.updating:
                    self._save(False)  # another process is gone, and these weights are those of the last step
                raise
        # Not in the handler, whose traceback holds the tensors of the failed step.
        raise self._out_of_memory(batch)

    def _out_of_memory(self, batch: Batch | None) -> TrainingError:
        """Saves what can be saved and finds out what would fit; without a batch, it was the making of it."""
        release_memory()
        kept = self._keep()
        where = f"step {self.learner.state.step + 1}"
        if batch is None:
            return TrainingError(
                "out of memory while a batch was augmented on the device",
                where=where,
                do=f"{kept}; go on with --resume training.augment_on=loader, which augments in the loader's processes.",
            )
        world, own = self.learner.machine.world, len(batch["image"])
        fits = self.learner.largest_part(batch)
        parts = next((n for n in range(1, own + 1) if own % n == 0 and own // n <= fits), 0)
        advice = f"go on with --resume training.accumulate={parts}, which computes the same batch in {parts} parts"
        if not parts:
            advice = "take a smaller plan.patch or network"
        return TrainingError(
            "out of memory",
            where=where,
            expected=f"a batch of at most {fits * world.size} patches at a time" if fits else "memory for one patch",
            got=f"{own * world.size // self.config.accumulate}",
            do=f"{kept}; {advice}.",
        )

    def _validate_and_save(self, stop: bool) -> bool:
        """What is due after a step; False when training was interrupted."""
        state, before = self.learner.state, self.learner.state.facts
        try:
            return self._validated_and_saved(stop)
        except WriteError:
            raise
        except (MedsegError, RuntimeError, MemoryError) as error:
            state.restore(before)  # as if the validation had not begun: it is done again on resume
            if not is_out_of_memory(error):
                self._save(False)
                raise
        release_memory()  # not in the handler, whose traceback holds what did not fit
        self._save(False)
        raise TrainingError("out of memory while validating", where=f"step {state.step}",
                            do="Everything is saved; free some memory and go on with --resume.")  # fmt: skip

    def _validated_and_saved(self, stop: bool) -> bool:
        state, config = self.learner.state, self.config
        best = False
        if self._validation_is_due():
            verdict = self._validate()
            if verdict is None:
                self._save(False)
                return False
            best = verdict
        last = state.step == config.steps or state.ended
        late = time.monotonic() - self.saved >= LONGEST_UNSAVED_S
        if best or stop or late or state.step % config.checkpoint_every == 0 or last:
            self._save(best)
        return last or not stop

    def _validation_is_due(self) -> bool:
        state, config = self.learner.state, self.config
        due = state.step % config.validate_every == 0 or state.step == config.steps
        return due and state.validated < state.step

    def _validate(self) -> bool | None:
        """Whether the mean Dice is the best so far; None when the validation was interrupted."""
        state = self.learner.state
        last = state.step == self.config.steps
        cases = self.hooks.validate(last, self.stopped)
        if cases is None:
            return None
        if not any(cases.values()):
            state.validated = state.step
            return last  # nothing to validate on: the last weights are the best that we know
        best = state.note_validation(summarise_validation(state.step, cases, self.hooks.compared).mean, self.config)
        if state.ended and not last and self.hooks.compared is not None:
            cases = self.hooks.validate(True, lambda: False) or cases
        event = summarise_validation(state.step, cases)
        for watcher in self.hooks.watchers:
            watcher.validation(event)
        return best


class _Report:
    """Counts steps and time between two events."""

    def __init__(self, config: TrainingConfig, hooks: Hooks) -> None:
        self.config, self.hooks = config, hooks
        self._begin()

    def _begin(self) -> None:
        self.clock, self.waited, self.steps = time.perf_counter(), 0.0, 0

    def add(self, step: int, outcome: Outcome, waited: float, stepped: float) -> None:
        """Notes a step and tells the watchers when it is time."""
        hooks, config = self.hooks, self.config
        self.steps, self.waited = self.steps + 1, self.waited + waited
        hooks.waited, hooks.stepped = hooks.waited + waited, hooks.stepped + stepped
        hooks.losses.append(outcome.loss)
        hooks.tick(step, outcome.loss)
        if step % config.log_every and step != config.steps:
            return
        seconds, recent = max(time.perf_counter() - self.clock, 1e-9), hooks.losses[-self.steps :]
        event = StepEvent(
            step=step,
            steps=config.steps,
            loss=sum(recent) / len(recent),
            learning_rate=config.learning_rate(step - 1),
            seconds=seconds,
            patches_per_second=len(recent) * config.batch / seconds,
            wait_share=self.waited / seconds,
            gradient_norm=outcome.gradient_norm,
        )
        for watcher in hooks.watchers:
            watcher.step(event)
        self._begin()


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
