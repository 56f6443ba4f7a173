"""What the training loop calls: validation on the cases held out, checkpoints, and those who are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medseg.data.store import StoredCase
from medseg.training.checkpoint import write_checkpoint
from medseg.training.distributed import World
from medseg.training.events import Cases
from medseg.training.logbook import Logbook
from medseg.training.loop import Hooks, TrainingState
from medseg.workflows.augmenting import Feed
from medseg.workflows.run import Run
from medseg.workflows.telling import Say
from medseg.workflows.training_validation import Look, Progress, validation_dice
from medseg.workflows.watching import watch


@dataclass(frozen=True)
class Validation:
    """Dice on the cases held out, which the processes of the training share; None when one of them was stopped."""

    run: Run
    state: TrainingState
    cases: Sequence[StoredCase]
    world: World
    progress: Progress
    look: Look

    def __call__(self, everything: bool, stopped: Callable[[], bool]) -> Cases | None:
        chosen = None if everything else self.run.recipe.training.compared([case.id for case in self.cases])
        cases = [case for case in self.cases if chosen is None or case.id in chosen]
        mine = validation_dice(
            self.state.predicting, self.world.share(cases), self.run, self.progress, self.look, stopped
        )
        parts = self.world.gathered(mine)
        if any(part is None for part in parts):
            return None
        found = {case_id: scores for part in parts if part is not None for case_id, scores in part.items()}
        return {case.id: found[case.id] for case in cases}


def first_hooks(
    run: Run, state: TrainingState, held_out: Sequence[StoredCase], feed: Feed, note: Callable[[], None], world: World,
    say: Say, progress: Progress,
) -> Hooks:  # fmt: skip
    """Of the process that writes and speaks; `note` is called at every checkpoint."""
    log = Logbook(run.log_file, resume_at=state.step)
    watching = watch(run, state, say, progress)

    def save(best: bool) -> None:
        checkpoint = state.pack({"labels": list(run.labels.names), "model": run.recipe.model.name})
        # `best` first: killed between the two, a training does these steps again and comes to the same `best`
        for which in ("best", "last") if best else ("last",):
            write_checkpoint(run.checkpoint_file(which), checkpoint)
        note()

    return Hooks(
        validate=Validation(run, state, held_out, world, progress, watching.slices.look),
        save=save,
        watchers=[log, *watching.watchers],
        tick=watching.line.tick,
        prepare=feed.prepare,
        compared=run.recipe.training.compared([case.id for case in held_out]),
    )


def other_hooks(
    run: Run, state: TrainingState, held_out: Sequence[StoredCase], feed: Feed, world: World
) -> Hooks:  # fmt: skip
    """Of the other processes: they learn and validate, and write nothing."""
    return Hooks(
        validate=Validation(run, state, held_out, world, lambda *each: None, lambda *each: None),
        save=lambda best: None,
        prepare=feed.prepare,
        compared=run.recipe.training.compared([case.id for case in held_out]),
    )
