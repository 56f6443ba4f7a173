"""Tests of held-out cases: Dice from counts, what nobody read, what is absent, and the calibration of promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.evaluation.held_out import HeldOutCase, Packed, calibrate, mean_dice, score
from medseg.imaging.postprocess import KeepLargest

NAMES = ("background", "liver", "tumour")
STRUCTURES = {"liver": (1,), "tumour": (2,), "whole": (1, 2)}


def _case(labels: list[int], reference: list[int], sought=(True, True, True), **promised: float) -> HeldOutCase:
    arrays = [Packed.pack(np.array(row, np.int16).reshape(-1, 1, 1)) for row in (labels, reference)]
    return HeldOutCase("c", "p", *arrays, sought, 0.5, promised)


def test_a_packed_array_comes_back_and_may_be_changed():
    array = np.random.default_rng(0).integers(-1, 5, (4, 3, 2)).astype(np.int16)
    unpacked = Packed.pack(array).unpack()
    np.testing.assert_array_equal(unpacked, array)
    unpacked[0, 0, 0] = 7


def test_dice_of_a_class_and_of_a_region():
    case = _case([1, 1, 2, 0], [1, 2, 2, 0])
    assert case.dice((1,)) == pytest.approx(2 / 3)
    assert case.dice((1, 2)) == 1


def test_voxels_that_nobody_read_do_not_count():
    assert _case([1, 1, 1, 0], [1, -1, -1, 0]).dice((1,)) == 1


def test_a_structure_that_the_reference_lacks_has_no_dice_but_may_be_a_false_alarm():
    alarm, agreed = _case([1, 0], [0, 0]), _case([0, 0], [0, 0])
    assert math.isnan(alarm.dice((1,))) and math.isnan(agreed.dice((1,)))
    assert (alarm.is_false_alarm((1,)), agreed.is_false_alarm((1,))) == (True, False)


def test_a_structure_for_which_nobody_looked_is_not_judged():
    case = _case([1, 1], [1, 0], sought=(True, False, True))
    assert math.isnan(case.dice((1,))) and not case.is_false_alarm((1,))


def test_a_step_changes_a_copy():
    before = _case([1, 1, 0, 1], [1, 1, 0, 0])
    after = before.apply(KeepLargest(("liver",)), NAMES)
    assert (before.dice((1,)), after.dice((1,))) == (pytest.approx(0.8), 1)


def test_the_mean_is_over_the_cases_that_have_the_structure():
    found = score([_case([1, 1], [1, 1]), _case([0, 1], [0, 0]), _case([0, 0], [1, 0])], STRUCTURES)["liver"]
    assert (found.dice, found.cases, found.false_alarms) == (0.5, 2, 1)


def test_a_structure_that_no_case_has_is_undefined_and_left_out_of_the_mean():
    cases = [_case([1, 1], [1, 1])]
    assert math.isnan(score(cases, STRUCTURES)["tumour"].dice)
    assert mean_dice(cases, STRUCTURES) == 1


def test_promises_are_calibrated_where_something_was_predicted():
    cases = [_case([1, 1], [1, 0], liver=0.9, tumour=0.1), _case([0, 1], [0, 0], liver=0.4, tumour=0.0),
             _case([0, 0], [1, 1], liver=0.3, tumour=0.0)]  # fmt: skip
    liver = calibrate(cases, NAMES)["liver"]
    assert (liver.raw, liver.actual) == ((0.9, 0.4), (pytest.approx(2 / 3), 0.0))  # a miss predicts nothing to judge
    assert calibrate(cases, NAMES)["tumour"].n == 0
