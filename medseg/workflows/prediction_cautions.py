"""What speaks against trusting the prediction of a study: its numbers, voxels, extent, or the part of the body."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from medseg.data.folds import run_folders
from medseg.evaluation.hounsfield import doubt_hu, profile_hu
from medseg.imaging.volume import Volume
from medseg.inference.study import StandardisedStudy
from medseg.preprocessing.seen import Seen
from medseg.workflows.run import Predictor, recorded


def cautions(volume: Volume, predictor: Predictor, runs: Sequence[Path]) -> list[str]:
    """Of the study as it is: numbers that are no HU, voxels unlike those of the training cases."""
    doubt = doubt_hu(profile_hu(volume.hu))
    notes = [f"{doubt.what}. {doubt.do}"] if doubt is not None else []
    own, grid = volume.geometry.canonical().spacing_mm, predictor.plans[0].spacing_mm
    return notes + _seen(runs).doubts_of_spacing(own, grid)


def cautions_of_body(study: StandardisedStudy, predictor: Predictor, runs: Sequence[Path]) -> list[str]:
    """Of the study on the plan's grid, as the training cases were: how long and how thick the patient in it is."""
    plan = predictor.plans[0]
    return _seen(runs).doubts_of_body(study.hu, plan.spacing_mm, cropped=plan.preprocessing.crop_to_body)


def _seen(runs: Sequence[Path]) -> Seen:
    """What any of the runs and folds has learned from."""
    found = [Seen.read(recorded(fold)) for run in runs for fold in run_folders(run)]
    return reduce(Seen.joined, found) if found else Seen()
