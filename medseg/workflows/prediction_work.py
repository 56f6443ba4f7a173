"""What a worker of `medseg predict` does: one study in, its files out, the model loaded once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch

from medseg.imaging.prediction import MAPS
from medseg.inference.asked import Asked
from medseg.inference.predictor import ALONE
from medseg.io.made_by import MadeBy
from medseg.workflows.fleet_gpus import part_of_gpu
from medseg.workflows.fleet_worker import sharing_here
from medseg.workflows.postprocessing_file import postprocessing_doubts
from medseg.workflows.prediction_calibration import Calibrations, run_calibrations
from medseg.workflows.prediction_cautions import cautions, cautions_of_body
from medseg.workflows.prediction_files import (
    Outputs,
    StudySource,
    has_files,
    kept_files,
    write_prediction,
)
from medseg.workflows.prediction_memory import around as what_is_around
from medseg.workflows.prediction_memory import grid_of
from medseg.workflows.prediction_record import Origin, check_model, read_measurements, read_record, refresh, unchanged
from medseg.workflows.prediction_studies import Study
from medseg.workflows.run import Predictor

SHOWS_IMAGE = {"png", "viewer"}
OnTiles = Callable[[str, int, int], None]  # study, tiles done, tiles in all


@dataclass(frozen=True)
class Predicted:
    """What became of one study.

    Args:
        files: all of its files, the first the one that is asked for first.
        notes: sentences for the user.
        seconds: from reading to the last file; 0 when it was there before.
    """

    id: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class PredictionSettings:
    """How studies are predicted: what `Predictor.from_run` and its call take, but for what `Outputs` says."""

    checkpoint: str = "best"
    device: str = "auto"
    as_rater: str | None = None
    ram: str | int | None = None
    vram: str | int | None = None
    uncertainty: bool = False
    postprocessing: bool = True
    may_use_cpu: bool = True
    scratch: Path | None = None

    def load(self, runs: Sequence[Path], say: Callable[[str], None] | None = None) -> Predictor:
        """The runs' predictor; what it says goes to the notes of the study at hand unless `say` takes it."""
        part = None if self.vram is not None or self.device == "cpu" else part_of_gpu(sharing_here(), torch)
        return Predictor.from_run(runs, checkpoint=self.checkpoint, device=self.device, as_rater=self.as_rater,
                                  ram=self.ram, vram=part or self.vram, postprocessing=self.postprocessing,
                                  may_use_cpu=self.may_use_cpu, scratch=self.scratch, say=say or Heard())  # fmt: skip


class Heard:
    """What a predictor says: of a study in the thread that works on it, or before the first study, then of all."""

    def __init__(self) -> None:
        self.before: list[str] = []
        self.here = threading.local()

    def __call__(self, text: str) -> None:
        getattr(self.here, "notes", self.before).append(text)

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """What is said in the block, and what was said before all studies."""
        self.here.notes = list(self.before)
        try:
            yield self.here.notes
        finally:
            del self.here.notes


@contextmanager
def listen(predictor: Predictor) -> Iterator[list[str]]:
    """What a predictor says in the block, where nobody else listens to it."""
    if isinstance(predictor.say, Heard):
        with predictor.say.listening() as notes:
            yield notes
    else:
        yield []


@dataclass(frozen=True)
class PredictStudies:
    """Called in a worker it loads the model and returns the function of one study.

    Args:
        runs: the run folders.
        folder: of the predictions.
        threads: of PyTorch in this worker; None leaves them.
        hear_members: whether the volumes of the members are asked for, and there are several.
        on_tiles: told of tiles, where the worker is in this process.
    """

    runs: tuple[Path, ...]
    folder: Path
    settings: PredictionSettings
    outputs: Outputs
    made_by: MadeBy
    threads: int | None = None
    hear_members: bool = False
    on_tiles: OnTiles | None = field(default=None, compare=False)

    def __call__(self) -> Callable[[Study], Predicted]:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return partial(self.predict, self.settings.load(self.runs))

    def finished(self, study: Study) -> Predicted | None:
        """The files of a study that were all there before, of the same model and by its stamp of the same study.

        Raises:
            OutputExistsError: those of another model are there and may not be replaced.
        """
        if self.outputs.overwrite or not has_files(self.folder, study.id):
            return None
        record = check_model(read_record(self.folder, study.id), self.made_by, study.id)
        stamp = study.stamp()
        return self._kept(study) if stamp and unchanged(record, study.reading, stamp) else None

    def predict(self, predictor: Predictor, study: Study) -> Predicted:
        """Reads, predicts and writes one study; one that only its stamp made look changed keeps its files.

        Raises:
            OutputExistsError: results are there of a study that was read in another way, or that has changed.
        """
        begun = time.perf_counter()
        study.check()
        source = StudySource(study.path, study.options, where=study.where)
        self.outputs.check(source)
        before = source.input  # before its voxels are read: a study that changes in between is not taken for this one
        if not self.outputs.overwrite and has_files(self.folder, study.id):
            Origin(self.made_by, before).check(read_record(self.folder, study.id), study.id)
            if kept := self._kept(study):
                refresh(self.folder, study.id, before)
                return kept
        asked, around = asked_of(self.outputs, self.settings), ALONE
        if predictor.budget.ram is not None:
            grid = grid_of(study)
            around = what_is_around(study, grid, self.outputs, len(predictor.label_set.foreground))
            predictor.check_room(grid, asked, around)
        volume = study.read()
        notes = cautions(volume, predictor, self.runs)
        if self.settings.postprocessing:
            notes += postprocessing_doubts(self.runs, self.made_by.model)
        on_tiles = partial(self.on_tiles, study.id) if self.on_tiles else lambda done, total: None
        with listen(predictor) as said:
            standard = predictor.standardise(volume, asked, around)
            notes += cautions_of_body(standard, predictor, self.runs)
            if SHOWS_IMAGE.intersection(self.outputs.formats):
                source = source.showing(volume)
            del volume  # not needed while the network works
            prediction = predictor.predict(standard, probabilities=asked.probabilities, maps=asked.maps,
                                           uncertainty=asked.uncertainty, on_progress=on_tiles)  # fmt: skip
        del standard  # nor while files are written
        calibrations, doubts = self.calibrations if asked.sums else ({}, ())
        files = write_prediction(self.folder, study.id, prediction, source, outputs=self.outputs, made_by=self.made_by,
                                 notes=(*notes, *said, *doubts), calibrations=calibrations)  # fmt: skip
        return Predicted(study.id, files.paths, files.notes, round(time.perf_counter() - begun, 2))

    def _kept(self, study: Study) -> Predicted | None:
        kept = kept_files(self.folder, study.id, self.outputs)
        if kept is None or not self._measured(study):
            return None
        return Predicted(study.id, kept.paths, kept.notes)

    def _measured(self, study: Study) -> bool:
        """Whether the record has what the sums of the probabilities say, where they are asked for."""
        found = read_measurements(self.folder, study.id)
        summed = not asked_of(self.outputs, self.settings).sums or all(each.expected_ml is not None for each in found)
        return summed and (not self.hear_members or all(each.members is not None for each in found))

    @cached_property
    def calibrations(self) -> tuple[Calibrations, tuple[str, ...]]:
        """Of the run's expected Dice, and what the user should know of them."""
        return run_calibrations(self.runs, self.made_by)


def asked_of(outputs: Outputs, settings: PredictionSettings) -> Asked:
    """What the files and measurements need of a prediction."""
    maps = tuple(name for name in MAPS if name in outputs.besides)
    return Asked("probabilities" in outputs.besides, maps, settings.uncertainty)
