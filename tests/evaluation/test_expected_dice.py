"""Tests of the expected Dice: by hand, on drawn masks, and how often the interval holds."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError, InputError
from medseg.evaluation.expected_dice import (
    LEAST_CASES,
    DiceCalibration,
    expected_dice,
    read_calibrations,
    write_calibrations,
)


def test_certain_probabilities_promise_a_dice_of_one():
    assert expected_dice(inside=50.0, total=50.0, voxels=50) == 1.0


def test_a_structure_that_is_probable_but_nowhere_labelled_promises_zero():
    assert expected_dice(inside=0.0, total=3.0, voxels=0) == 0.0


def test_nothing_labelled_and_nothing_probable_is_undefined():
    assert math.isnan(expected_dice(inside=0.0, total=0.0, voxels=0))


def test_the_promise_is_the_mean_dice_with_masks_drawn_from_the_probabilities():
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(size=4000)
    labels = probabilities > 0.5
    drawn = rng.uniform(size=(200, 4000)) < probabilities
    dice = 2 * (drawn & labels).sum(1) / (drawn.sum(1) + labels.sum())
    promised = expected_dice(float(probabilities[labels].sum()), float(probabilities.sum()), int(labels.sum()))
    assert promised == pytest.approx(dice.mean(), abs=2e-3)


def test_pairs_on_a_line_give_the_line_and_no_width():
    raw = np.linspace(0.5, 1.0, 12)
    found = DiceCalibration.fit(raw, 0.8 * raw)(0.75)
    assert found == pytest.approx((0.6, 0.6, 0.6))


def test_a_falling_relation_gives_the_mean_everywhere():
    raw = np.linspace(0.5, 1.0, 12)
    calibration = DiceCalibration.fit(raw, 1.4 - raw)
    assert calibration(0.6).expected == pytest.approx(calibration(0.95).expected) == pytest.approx(0.65)


def test_the_expectation_rises_with_the_promise_and_stays_within_its_bounds():
    rng = np.random.default_rng(1)
    raw = rng.uniform(0.3, 1, 15)
    calibration = DiceCalibration.fit(raw, np.clip(raw - 0.1 + rng.normal(0, 0.1, 15), 0, 1))
    found = [calibration(x) for x in np.linspace(0, 1, 41)]
    assert all(0 <= each.low <= each.expected <= each.high <= 1 for each in found)
    assert all(a.expected <= b.expected for a, b in pairwise(found))


def test_a_promise_unlike_all_that_was_seen_has_a_wider_interval():
    rng = np.random.default_rng(2)
    raw = rng.uniform(0.85, 0.95, 20)
    calibration = DiceCalibration.fit(raw, np.clip(raw - 0.05 + rng.normal(0, 0.02, 20), 0, 1))
    near, far = calibration(0.9), calibration(0.5)
    assert far.high - far.low > 1.4 * (near.high - near.low)


def test_about_nine_in_ten_new_cases_lie_within_the_interval():
    rng = np.random.default_rng(3)

    def pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
        raw = rng.uniform(0.5, 1, n)
        return raw, np.clip(0.9 * raw - 0.05 + rng.normal(0, 0.05, n), 0, 1)

    held = []
    for _ in range(150):
        calibration = DiceCalibration.fit(*pairs(20))
        for raw, actual in zip(*pairs(10), strict=True):
            _, low, high = calibration(raw)
            held.append(low <= actual <= high)
    assert 0.87 < np.mean(held) < 0.96


def test_pairs_with_an_undefined_value_do_not_count():
    calibration = DiceCalibration.fit([0.9, math.nan, 0.8], [0.8, 0.9, math.nan])
    assert (calibration.n, calibration.raw) == (1, (0.9,))


def test_fewer_than_nine_cases_expect_nothing():
    few = DiceCalibration.fit([0.9] * (LEAST_CASES - 1), [0.8] * (LEAST_CASES - 1))
    enough = DiceCalibration.fit([0.9] * LEAST_CASES, [0.8] * LEAST_CASES)
    assert few(0.9) is None and math.isnan(few.mean_error)
    assert enough(0.9) == pytest.approx((0.8, 0.8, 0.8))


def test_an_undefined_promise_has_no_expectation():
    assert DiceCalibration.fit([0.9] * 10, [0.8] * 10)(math.nan) is None


def test_values_outside_of_zero_and_one_are_refused():
    with pytest.raises(InputError, match="within 0 and 1"):
        DiceCalibration((0.5,), (1.5,))


def test_calibrations_are_read_as_they_were_written(tmp_path: Path):
    made = {"liver": DiceCalibration.fit([0.9, 0.8], [0.85, 0.7]), "gtv": DiceCalibration((), ())}
    write_calibrations(tmp_path / "expected_dice.json", made, model="abc")
    assert read_calibrations(tmp_path / "expected_dice.json") == (made, {"model": "abc"})


HEAD = '{"schema": "medseg.expected_dice/1", "level": 0.9, "structures": '
DAMAGED = {"empty": "", "list": "[]", "nothing": "{}", "number": HEAD + "3}",
           "beyond one": HEAD + '{"a": {"raw": [2], "actual": [1]}}}'}  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str):
    (tmp_path / "expected_dice.json").write_text(text)
    with pytest.raises(FileReadError, match="cannot be read"):
        read_calibrations(tmp_path / "expected_dice.json")
