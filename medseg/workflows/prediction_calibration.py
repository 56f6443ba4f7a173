"""The calibration of the expected Dice that `medseg validate` left in a run, where it is that of the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.evaluation.expected_dice import FILE, DiceCalibration, read_calibrations
from medseg.io.made_by import MadeBy

Calibrations = dict[str, DiceCalibration]


def run_calibrations(runs: Sequence[Path], made_by: MadeBy) -> tuple[Calibrations, tuple[str, ...]]:
    """The calibrations by structure, and sentences where the run has some that do not hold here.

    They hold for the weights and the postprocessing that they were fitted with, so for no average of several runs.

    Raises:
        FileReadError: the file is damaged.
    """
    files = [path for run in runs if (path := run / FILE).exists()]
    if not files:
        return {}, ()
    if len(runs) > 1:
        return {}, ("the expected Dice is left out: it was calibrated for each of the runs, not for their mean",)
    found, facts = read_calibrations(files[0])
    if facts.get("model_sha256") != made_by.model:
        return {}, (f"the expected Dice is left out: {FILE} is of another checkpoint or rater",)
    if facts.get("postprocessing_sha256") != made_by.postprocessing:
        return {}, (f"the expected Dice is left out: {FILE} is of other postprocessing",)
    return found, ()
