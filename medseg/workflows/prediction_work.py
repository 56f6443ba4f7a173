"""What a worker of `medseg predict` does: one study in, its files out, the model loaded once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from medseg.data.folds import run_folders
from medseg.evaluation.hounsfield import doubt_hu, profile_hu
from medseg.imaging.prediction import MAPS
from medseg.imaging.volume import Volume
from medseg.inference.asked import Asked
from medseg.io.made_by import MadeBy
from medseg.workflows.postprocessing_file import postprocessing_doubts
from medseg.workflows.prediction_calibration import Calibrations, run_calibrations
from medseg.workflows.prediction_files import (
    Outputs,
    StudySource,
    has_files,
    kept_files,
    write_prediction,
)
from medseg.workflows.prediction_record import Origin, check_model, read_measurements, read_record, refresh, unchanged
from medseg.workflows.prediction_studies import Study
from medseg.workflows.run import Predictor, recorded

FAR_SPACING = 2.0  # times coarser or finer than the network's grid: nothing like it was seen in training
FAR_VIEW = 1.5  # times longer or shorter than any training case
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

    def load(self, runs: Sequence[Path], say: Callable[[str], None] = lambda text: None) -> Predictor:
        """The runs' predictor."""
        return Predictor.from_run(runs, checkpoint=self.checkpoint, device=self.device, as_rater=self.as_rater,
                                  ram=self.ram, vram=self.vram, postprocessing=self.postprocessing,
                                  say=say)  # fmt: skip


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
        volume = study.read()
        notes = cautions(volume, predictor, self.runs[0])
        if self.settings.postprocessing:
            notes += postprocessing_doubts(self.runs, self.made_by.model)
        asked = asked_of(self.outputs, self.settings)
        standard = predictor.standardise(volume, asked)
        if SHOWS_IMAGE.intersection(self.outputs.formats):
            source = source.showing(volume)
        del volume  # not needed while the network works
        on_tiles = partial(self.on_tiles, study.id) if self.on_tiles else lambda done, total: None
        prediction = predictor.predict(standard, probabilities=asked.probabilities, maps=asked.maps,
                                       uncertainty=asked.uncertainty, on_progress=on_tiles)  # fmt: skip
        calibrations, doubts = self.calibrations if asked.sums else ({}, ())
        files = write_prediction(self.folder, study.id, prediction, source, outputs=self.outputs, made_by=self.made_by,
                                 notes=(*notes, *doubts), calibrations=calibrations)  # fmt: skip
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


def cautions(volume: Volume, predictor: Predictor, run: Path) -> tuple[str, ...]:
    """What speaks against trusting the prediction of this study: its numbers, voxels or extent."""
    notes = []
    if (doubt := doubt_hu(profile_hu(volume.hu))) is not None:
        notes.append(f"{doubt.what}. {doubt.do}")
    usual, own = predictor.plans[0].spacing_mm, volume.geometry.canonical().spacing_mm
    if any(not 1 / FAR_SPACING <= mm / grid <= FAR_SPACING for mm, grid in zip(own, usual, strict=True)):
        sizes = [" x ".join(f"{mm:.3g}" for mm in spacing) for spacing in (own, usual)]
        notes.append(f"voxels of {sizes[0]} mm, far from the {sizes[1]} mm that the network works on")
    return (*notes, *_views(volume, run))


def _views(volume: Volume, run: Path) -> list[str]:
    """Where the study is longer or shorter than any that was learned from."""
    folds: Any = [view for each in run_folders(run) if (view := recorded(each).get("field_of_view_mm"))]
    if not folds:
        return []
    seen = [(min(low for low, _ in ends), max(high for _, high in ends)) for ends in zip(*folds, strict=True)]
    notes = []
    for axis, length, (low, high) in zip("XYZ", volume.geometry.canonical().field_of_view_mm, seen, strict=True):
        if length < low / FAR_VIEW:  # longer ones may be air; shorter ones lack what the network looks for
            notes.append(f"{length:.0f} mm of the patient along {axis}, and no training case had less than {low:.0f}")
        elif axis == "Z" and length > high * FAR_VIEW:
            notes.append(f"{length:.0f} mm along {axis}, and no training case had more than {high:.0f}")
    return notes
