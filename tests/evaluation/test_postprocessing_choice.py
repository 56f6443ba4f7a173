"""Tests of the choice of postprocessing: mistakes that were put in are mended, and noise chooses nothing."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.held_out import HeldOutCase, Packed
from medseg.evaluation.postprocessing_choice import choose, choose_steps, surrounding_organs
from medseg.imaging.postprocess import DropApart, DropSmall, FillCavities, KeepLargest

NAMES = ("background", "liver", "tumour")
CLASSES = {"liver": (1,), "tumour": (2,)}


def _body(size: int = 24) -> np.ndarray:
    """A liver with a tumour of 27 voxels in it."""
    labels = np.zeros((size, size, size), np.int16)
    labels[4:16, 4:16, 4:16] = 1
    labels[8:11, 8:11, 8:11] = 2
    return labels


def _cases(mistake, count: int = 8, reference=_body) -> list[HeldOutCase]:
    found = []
    for number in range(count):
        truth = reference()
        labels = truth.copy()
        mistake(labels, number)
        found.append(
            HeldOutCase(f"c{number}", f"p{number}", Packed.pack(labels), Packed.pack(truth), [True] * 3, 0.001)
        )
    return found


def _steps(cases: list[HeldOutCase], structures=CLASSES) -> list:
    return [each.step for each in choose_steps(cases, NAMES, structures)[0]]


def test_a_perfect_prediction_is_left_alone():
    assert _steps(_cases(lambda labels, number: None)) == []


def test_islands_of_an_organ_are_removed():
    def mistake(labels: np.ndarray, number: int) -> None:
        labels[20:22, 20:22, 18 + number % 3] = 1

    chosen, after = choose_steps(_cases(mistake), NAMES, CLASSES)
    assert [each.step for each in chosen] == [KeepLargest(("liver",))]
    assert chosen[0].dice_before < chosen[0].dice_after == 1
    assert (chosen[0].cases, all(case.dice((1,)) == 1 for case in after)) == (8, True)


def test_the_gain_that_is_told_is_that_on_the_voxels():
    def mistake(labels: np.ndarray, number: int) -> None:
        labels[20, 20, 20] = 1

    (chosen,), _ = choose_steps(_cases(mistake), NAMES, CLASSES)
    liver = 12**3 - 27
    assert chosen.dice_before == pytest.approx(2 * liver / (2 * liver + 1))
    assert chosen.left_out_gain == pytest.approx(1 - chosen.dice_before, abs=1e-4)


def test_specks_beside_several_real_lesions_are_removed_by_their_volume():
    def three() -> np.ndarray:
        labels = _body()
        labels[5:8, 12:15, 5:8] = labels[12:15, 5:8, 12:15] = 2
        return labels

    def mistake(labels: np.ndarray, number: int) -> None:
        labels[5, 5, 14] = labels[14, 14, 5] = 2

    (step,) = _steps(_cases(mistake, reference=three))
    assert isinstance(step, DropSmall) and step.of == ("tumour",) and step.below_ml > 0.001


def test_a_speck_beside_the_only_lesion_goes_by_its_volume_because_a_patient_may_have_two():
    def mistake(labels: np.ndarray, number: int) -> None:
        labels[5, 5, 14] = 2

    (step,) = _steps(_cases(mistake))
    assert step == DropSmall(("tumour",), below_ml=0.002)


def test_lesions_outside_of_their_organ_are_removed_when_they_are_as_large_as_real_ones():
    def mistake(labels: np.ndarray, number: int) -> None:
        labels[18:22, 18:22, 18:22] = 2

    assert _steps(_cases(mistake)) == [DropApart(("tumour",), ("liver",))]


def test_cavities_are_filled():
    def mistake(labels: np.ndarray, number: int) -> None:
        labels[6:8, 13, 13] = 0

    assert _steps(_cases(mistake)) == [FillCavities(("liver",))]


def test_real_cavities_are_not_filled():
    def hollow() -> np.ndarray:
        labels = _body()
        labels[13, 13, 13] = 0
        return labels

    assert _steps(_cases(lambda labels, number: None, reference=hollow)) == []


def test_regions_of_several_classes_are_asked_as_one():
    def mistake(labels: np.ndarray, number: int) -> None:
        labels[18:21, 18:21, 18:21] = 1
        labels[19, 19, 19] = 2

    steps = _steps(_cases(mistake), {"whole": (1, 2), **CLASSES})
    assert steps[0] == KeepLargest(("liver", "tumour"))


def test_two_real_pieces_are_not_made_one():
    def pair() -> np.ndarray:
        labels = np.zeros((24, 24, 24), np.int16)
        labels[2:8, 4:16, 4:16] = labels[14:20, 4:16, 4:16] = 1
        return labels

    def mistake(labels: np.ndarray, number: int) -> None:
        labels[11, 11, 20:22] = 1

    (step,) = _steps(_cases(mistake, reference=pair))
    assert step == KeepLargest(("liver",), 2)


def test_fewer_than_five_patients_choose_nothing():
    def mistake(labels: np.ndarray, number: int) -> None:
        labels[20, 20, 20] = 1

    cases = _cases(mistake, count=8)
    for case in cases:
        case.patient = f"p{int(case.id[1:]) % 4}"
    assert _steps(cases) == []


def test_cases_without_the_structure_do_not_gain():
    def mistake(labels: np.ndarray, number: int) -> None:
        labels[20:22, 20:22, 20:22] = 2

    cases = _cases(mistake, reference=lambda: np.where(_body() == 2, 1, _body()).astype(np.int16))
    assert _steps(cases) == []  # removing would end eight false alarms, but there is no Dice that could rise


def test_one_patient_alone_decides_nothing():
    assert choose([[0.5, 0, 0, 0, 0, 0, 0, 0]], "abcdefgh") is None
    assert choose([[0.5, 0.5, 0, 0, 0, 0, 0, 0]], "aabcdefg") is None  # two cases of one patient


def test_a_step_that_harms_as_often_as_it_helps_is_not_taken():
    assert choose([[0.1, -0.1, 0.12, -0.09, 0.1, -0.1, 0.02, -0.03]], "abcdefgh") is None


def test_the_candidate_of_the_largest_gain_is_taken():
    assert choose([[0.01] * 6, [0.02] * 6, [-0.1] * 6], "abcdef") == (1, 0.02)


def test_candidates_that_are_noise_are_seldom_taken():
    rng = np.random.default_rng(0)
    taken = [choose(rng.normal(0, 0.02, (8, 20)), [str(k) for k in range(20)]) is not None for _ in range(300)]
    assert np.mean(taken) < 0.15


def test_the_organ_around_a_lesion_is_found_in_the_references():
    assert surrounding_organs(_cases(lambda labels, number: None), NAMES) == {"tumour": ("liver",)}
