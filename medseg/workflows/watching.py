"""Who watches a training: the progress line, the slices of validation cases, TensorBoard and MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medseg.training.events import Watcher
from medseg.training.state import TrainingState
from medseg.workflows.run import Run
from medseg.workflows.run_settings import shown_settings
from medseg.workflows.watching_line import Progress, ProgressLine
from medseg.workflows.watching_mlflow import Described, MLflow, open_store
from medseg.workflows.watching_settings import TrackingConfig
from medseg.workflows.watching_slices import Slices
from medseg.workflows.watching_tensorboard import FOLDER, TensorBoard


@dataclass(frozen=True)
class Watching:
    """The watchers of a training; `line` is also told every step, `slices` is shown every validated case."""

    line: ProgressLine
    slices: Slices
    others: Sequence[Watcher] = ()

    @property
    def watchers(self) -> list[Watcher]:
        """All of them, in the order in which they are told; the slices last, because they forget what they told."""
        return [self.line, *self.others, self.slices]


def check_tracking(tracking: TrackingConfig) -> None:
    """Opens what the recipe names, so that a fault shows before the data are read.

    Raises:
        UsageError: MLflow is not installed, or its store cannot be opened.
    """
    if tracking.mlflow is not None:
        open_store(tracking.mlflow)


def watch(run: Run, state: TrainingState, say: Callable[[str], None], progress: Progress) -> Watching:
    """The watchers that the run's recipe asks for, from the state on that training goes on from.

    Raises:
        UsageError, FileReadError: see `MLflow`.
    """
    tracking = run.recipe.tracking
    slices = Slices(run.folder, run.labels.names, run.plan.spacing_mm, tracking.images)
    others: list[Watcher] = []
    if tracking.tensorboard:
        others.append(TensorBoard(run.folder / FOLDER, state.step, slices))
    if tracking.mlflow is not None:
        settings = shown_settings(run.recipe.model_dump(mode="json"))
        steps = run.recipe.training.steps
        described = Described(_name(run), settings, lambda: state.ended or state.step >= steps)
        others.append(MLflow(tracking.mlflow, run.folder, described, say))
    return Watching(ProgressLine(run.recipe.training.steps, progress), slices, others)


def _name(run: Run) -> str:
    """The run's name in MLflow: its folder's, with that of the folder above for one of several folds."""
    folder = run.folder.resolve()
    return f"{folder.parent.name}, {folder.name}" if folder.name.startswith("fold_") else folder.name
