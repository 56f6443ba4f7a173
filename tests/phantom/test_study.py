"""Whole studies: repeatable, different from each other, and no easier than the clinic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from medseg.evaluation.overlap import dice
from medseg.evaluation.threshold import fit_windows, largest_piece
from medseg.phantom.anatomy import LABELS, ORGANS, sample_body
from medseg.phantom.experts import Expert, sample_experts
from medseg.phantom.study import Study, build_study
from medseg.shapes import BoolArray, FloatArray

# Adult volumes in ml with room for sizes of 0.88 to 1.12; lungs and bone are cut by the field of view.
VOLUMES_ML = {
    "liver": (700, 3000),
    "spleen": (60, 600),
    "kidney_left": (50, 350),
    "kidney_right": (50, 350),
    "lungs": (600, 4500),
    "bone": (300, 1800),
}


def organ(study: Study, name: str) -> BoolArray:
    return study.truth == LABELS[name]


def core(study: Study, name: str) -> FloatArray:
    """HU of an organ away from its surface, where no other tissue is mixed in."""
    return study.volume.hu[np.asarray(binary_erosion(organ(study, name)), dtype=bool)]


def test_the_same_numbers_give_the_same_study() -> None:
    experts = sample_experts(2, 3)

    one, other = build_study(4, 3, experts, 10.0), build_study(4, 3, experts, 10.0)

    assert np.array_equal(one.volume.hu, other.volume.hu)
    assert np.array_equal(one.volume.geometry.affine, other.volume.geometry.affine)
    assert np.array_equal(one.truth, other.truth)
    assert all(np.array_equal(one.readings[name], other.readings[name]) for name in "AB")


@pytest.mark.parametrize("number, seed", [(5, 3), (4, 2)])
def test_another_number_or_seed_gives_another_study(number: int, seed: int) -> None:
    one, other = build_study(4, 3, (), 10.0), build_study(number, seed, (), 10.0)

    assert one.volume.hu.shape != other.volume.hu.shape or not np.array_equal(one.volume.hu, other.volume.hu)


def test_adding_an_expert_leaves_the_lines_of_the_others_alone() -> None:
    experts = sample_experts(3, 0)

    two, three = build_study(1, 0, experts[:2], 10.0), build_study(1, 0, experts, 10.0)

    assert list(three.readings) == ["A", "B", "C"]
    assert all(np.array_equal(two.readings[name], three.readings[name]) for name in "AB")
    assert not np.array_equal(three.readings["A"], three.readings["C"])


@pytest.mark.parametrize("name", VOLUMES_ML)
def test_every_organ_is_there_in_every_study_at_an_anatomical_size(studies: tuple[Study, ...], name: str) -> None:
    low, high = VOLUMES_ML[name]

    volumes = [organ(study, name).sum() * study.volume.geometry.voxel_ml for study in studies]

    assert low < min(volumes)
    assert max(volumes) < high
    assert max(volumes) > 1.2 * min(volumes)  # bodies differ


def test_kidneys_and_spleen_lie_on_their_own_sides(studies: tuple[Study, ...]) -> None:
    for study in studies:
        side = {
            name: study.volume.geometry.world(np.argwhere(organ(study, name)))[:, 0].mean()
            for name in ("kidney_left", "kidney_right", "spleen", "liver")
        }
        assert max(side["kidney_left"], side["spleen"]) < 0 < min(side["kidney_right"], side["liver"])


def test_lesions_lie_in_the_liver_and_some_studies_have_none(studies: tuple[Study, ...]) -> None:
    counts = [study.lesions for study in studies]

    assert min(counts) == 0
    assert max(counts) == 3
    assert not any(organ(study, "lesion").any() for study in studies if study.lesions == 0)
    for study in (study for study in studies if organ(study, "lesion").any()):
        where = [study.volume.geometry.world(np.argwhere(organ(study, name))) for name in ("lesion", "liver")]
        assert (where[0].min(axis=0) >= where[1].min(axis=0)).all()
        assert (where[0].max(axis=0) <= where[1].max(axis=0)).all()


def test_spacing_is_anisotropic_and_differs(studies: tuple[Study, ...]) -> None:
    spacings = np.array([study.volume.geometry.spacing_mm for study in studies])

    assert spacings[:, 0] == pytest.approx(spacings[:, 1])
    assert (spacings[:, 2] > 1.03 * spacings[:, 0]).all()
    assert len(np.unique(spacings[:, 0])) > 10


def test_both_orientations_occur(studies: tuple[Study, ...]) -> None:
    assert {study.volume.geometry.orientation for study in studies} == {"RAS", "LPS"}


def test_bodies_are_tilted_and_shifted_within_clinical_limits() -> None:
    bodies = [sample_body(np.random.default_rng(seed)) for seed in range(200)]

    poses, shifts = np.array([body.pose_deg for body in bodies]), np.array([body.shift_mm for body in bodies])
    assert np.abs(poses).max() <= 15
    assert poses.std(axis=0) == pytest.approx([3, 3, 7], rel=0.2)
    assert (np.abs(shifts).max(axis=0) <= [15, 10, 20]).all()


def test_noise_is_that_of_a_clinical_scan_and_the_same_in_every_soft_tissue(studies: tuple[Study, ...]) -> None:
    deviations = [core(study, "liver").std() for study in studies if study.lesions == 0]

    assert deviations
    assert all(12 < deviation < 26 for deviation in deviations)


@pytest.mark.parametrize("pair", [("liver", "spleen"), ("liver", "kidney_left"), ("spleen", "kidney_right")])
def test_organs_differ_by_less_than_the_noise_on_average(studies: tuple[Study, ...], pair: tuple[str, str]) -> None:
    shares = []
    for study in studies:
        one, other = (core(study, name) for name in pair)
        shares.append(abs(one.mean() - other.mean()) / core(study, "liver").std())

    assert np.mean(shares) < 1.2
    assert max(shares) < 2.5


def test_muscle_is_as_dense_as_liver_and_spleen() -> None:
    bodies = [sample_body(np.random.default_rng(seed)) for seed in range(200)]

    for name in ("liver", "spleen"):
        gap = np.array([body.muscle_hu - body.organs[name][0].hu for body in bodies])
        assert np.abs(gap).max() < 22  # the noise of the noisiest scans
        assert np.abs(gap.mean()) < 7  # of the quietest: half


def test_air_surrounds_the_body_and_hu_are_whole_numbers(studies: tuple[Study, ...]) -> None:
    hu = studies[0].volume.hu

    assert hu.dtype == np.float32
    assert np.array_equal(hu, np.round(hu))
    assert hu[:, -1].mean() == pytest.approx(-1000, abs=10)
    assert hu.min() >= -1024


def test_the_best_hu_window_finds_less_than_half_of_the_organs(studies: tuple[Study, ...]) -> None:
    examples = [(study.volume.hu, {name: organ(study, name) for name in ORGANS}) for study in studies[:8]]

    windows = fit_windows(examples[:4])

    scores = [dice(masks[name], largest_piece(hu, windows[name])) for hu, masks in examples[4:] for name in ORGANS]
    assert np.mean(scores) < 0.5


def test_a_perfect_expert_draws_the_truth(habits: Callable[..., Expert]) -> None:
    study = build_study(0, 0, (habits(),), 10.0)

    assert np.array_equal(study.readings["A"], study.truth)
    assert study.missed_lesions["A"] == []


@pytest.mark.parametrize("name", ORGANS)
def test_a_generous_expert_draws_every_organ_larger_and_a_tight_one_smaller(
    habits: Callable[..., Expert], name: str
) -> None:
    study = build_study(0, 5, (habits(bias_mm=2.0), habits(name="B", bias_mm=-2.0)), 5.0)

    drawn = {reader: (labels == LABELS[name]).sum() for reader, labels in study.readings.items()}
    assert drawn["A"] > organ(study, name).sum() > drawn["B"]
