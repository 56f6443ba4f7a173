"""How a training goes, written into `run.json` while it does: state, step, seconds, best Dice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np

from medseg.data.store import StoredCase
from medseg.imaging.geometry import Geometry
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.seen import Seen
from medseg.training.loop import TrainingState
from medseg.workflows.run import Run, record, recorded

RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


@contextmanager
def course(run: Run, state: TrainingState) -> Iterator[Callable[[], None]]:
    """Yields what is to be called at each checkpoint; the seconds of trainings that were resumed add up.

    A training that was killed stays `running`: `run_lock.is_locked` tells whether it still is.
    """
    steps, before = run.recipe.training.steps, recorded(run.folder)
    started = time.monotonic()

    def note(word: str) -> None:
        seconds = before.get("seconds", 0.0) + time.monotonic() - started
        record(run, state=word, step=state.step, steps=steps, seconds=round(seconds, 1), best_dice=state.best,
               ended_utc=None if word == RUNNING else _now())  # fmt: skip

    record(run, fold=run.recipe.folds.fold, started_utc=before.get("started_utc", _now()))
    note(RUNNING)
    ended = FAILED
    try:
        yield lambda: note(RUNNING)
        ended = FINISHED if state.step >= steps or state.ended else STOPPED
    finally:
        note(ended)


def seen(cases: Sequence[StoredCase], plan: Plan) -> dict[str, Any]:
    """What the training cases were like from outside, so that a study unlike them is noticed later."""
    grids = [Geometry(tuple(case.hu.shape[1:]), np.diag([*plan.spacing_mm, 1.0])) for case in cases]  # type: ignore[arg-type]
    return Seen.of([grid.field_of_view_mm for grid in grids], [case.looks for case in cases]).facts


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
