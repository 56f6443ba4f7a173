"""Every line of the table is held to the same promises."""

import numpy as np
import pytest

from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume

NAMES = LabelSet({"background": 0, "left": 1, "right": 2}, (("left", "right"),))
FAMILIES = sorted(CHALLENGES)
EVERY_DOSE = [(name, dose) for name in FAMILIES for dose in CHALLENGES[name].doses]


def volume(shape=(14, 12, 10)) -> Volume:
    hu = np.random.default_rng(0).normal(0, 100, shape).astype(np.float32)
    return Volume(hu, Geometry(shape, np.diag([-3.0, -3.0, 4.0, 1.0])))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_identity_dose_gives_the_volume_itself(name):
    seen, way = CHALLENGES[name].apply(case := volume(), CHALLENGES[name].identity, 1)
    assert seen is case
    assert way.is_still


@pytest.mark.parametrize("name", FAMILIES)
def test_doses_rise_lie_within_the_limits_and_leave_the_identity_out(name):
    challenge = CHALLENGES[name]
    for doses in (challenge.doses, challenge.quick):
        assert list(doses) == sorted(set(doses))
        assert challenge.identity not in doses
        assert all(challenge.limits[0] <= dose <= challenge.limits[1] for dose in doses)


@pytest.mark.parametrize(("name", "dose"), EVERY_DOSE, ids=[f"{name}-{dose}" for name, dose in EVERY_DOSE])
def test_a_dose_changes_the_image_never_its_input_and_fits_its_canvas(name, dose):
    case = volume()
    before = case.hu.copy()
    seen, way = CHALLENGES[name].apply(case, dose, 1)
    np.testing.assert_array_equal(case.hu, before)
    assert seen.hu.dtype == np.float32
    assert not seen.geometry.differences(way.canvas)
    assert seen.hu.shape != before.shape or not np.array_equal(seen.hu, before)
    assert CHALLENGES[name].changes(case.geometry, dose)


@pytest.mark.parametrize(("name", "dose"), EVERY_DOSE, ids=[f"{name}-{dose}" for name, dose in EVERY_DOSE])
def test_a_large_block_of_labels_comes_back_from_every_dose(name, dose):
    case = volume((30, 28, 20))
    labels = np.zeros(case.hu.shape, dtype=np.uint8)
    labels[4:12, 6:22, 4:16], labels[18:26, 6:22, 4:16] = 1, 2
    way = CHALLENGES[name].way_at(case.geometry, dose)
    back = way.back(way.labels_there(labels, NAMES), NAMES)
    for value in (1, 2):
        common = np.count_nonzero((back == value) & (labels == value))
        assert 2 * common / (np.count_nonzero(back == value) + np.count_nonzero(labels == value)) > 0.7


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_seed_gives_the_same_voxels(name):
    challenge = CHALLENGES[name]
    first, second = (challenge.apply(volume(), challenge.doses[-1], 7)[0].hu for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_volume_one_slice_thick_goes_through(name):
    challenge = CHALLENGES[name]
    seen, way = challenge.apply(volume((9, 8, 1)), challenge.doses[0], 1)
    assert way.back(np.ones(seen.hu.shape, dtype=np.uint8), NAMES).shape == (9, 8, 1)


def test_slices_as_thick_already_are_not_changed():
    assert not CHALLENGES["slice_thickness"].changes(volume().geometry, 4.0)
