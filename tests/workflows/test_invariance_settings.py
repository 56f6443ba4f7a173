import pytest

from medseg.errors import UsageError
from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.workflows.invariance_settings import Step, build_plan


def test_without_options_every_transform_is_tested_at_its_own_doses_and_the_identity():
    plan = build_plan()
    assert list(plan.doses) == list(CHALLENGES)
    assert plan.doses["hu_shift"] == (-100, -50, -20, 0, 20, 50, 100)
    assert len(plan.steps) == sum(len(challenge.doses) for challenge in CHALLENGES.values())


def test_a_full_test_of_24_patients_takes_no_more_than_60_predictions_each():
    assert len(build_plan().steps) <= 60
    assert len(build_plan(quick=True).steps) <= 15


def test_transforms_are_chosen_by_name_and_stand_in_the_order_of_the_table():
    assert list(build_plan("noise, rotation_z").doses) == ["rotation_z", "noise"]


def test_doses_are_given_as_text_or_by_name_and_the_identity_joins_them():
    assert build_plan("rotation_z", ["rotation_z=30,15"]).doses["rotation_z"] == (0, 15, 30)
    assert build_plan("scale", {"scale": [2]}).doses["scale"] == (1, 2)


def test_a_quick_look_takes_few_doses_and_leaves_out_transforms_without_any():
    plan = build_plan(quick=True)
    assert "translation_x" not in plan.doses
    assert plan.doses["hu_shift"] == (-50, 0, 50)


def test_a_quick_look_at_a_named_transform_without_quick_doses_takes_its_own():
    assert build_plan("gamma", quick=True).doses["gamma"] == (0.5, 0.7, 1, 1.4, 2)


@pytest.mark.parametrize(("options", "message"), [
    ({"transforms": "rotatoin_z"}, "unknown transform 'rotatoin_z' .did you mean 'rotation_z'"),
    ({"doses": ["rotate=3"]}, "unknown transform 'rotate'"),
    ({"doses": ["rotation_z=200"]}, "a dose of rotation_z is out of range; expected -180 to 180 degrees, got 200"),
    ({"doses": ["noise=0"]}, "a dose of noise is out of range"),
    ({"doses": ["flip_x=0.5"]}, "expected a whole number from 0 to 1"),
    ({"doses": ["rotation_z"]}, "no list of doses"),
    ({"doses": ["rotation_z=ten"]}, "no list of doses"),
    ({"doses": ["rotation_z=nan"]}, "no list of doses"),
    ({"doses": ["scale=1"]}, "no dose of 'scale' but the one that changes nothing"),
    ({"doses": ["blur=1", "blur=2"]}, "'blur' stands twice"),
    ({"transforms": "noise", "doses": ["blur=1"]}, "doses for 'blur', which is not among the transforms"),
    ({"margin": 0.0}, "wrong margin"),
    ({"margin": float("nan")}, "wrong margin"),
])  # fmt: skip
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(UsageError, match=message):
        build_plan(**options)


@pytest.mark.parametrize(("name", "dose", "folder"), [
    ("rotation_z", 15.0, "rotation_z/15"), ("hu_shift", -100, "hu_shift/-100"), ("noise", 1.0, "identity"),
])  # fmt: skip
def test_a_step_has_a_folder_in_the_layout(name, dose, folder):
    assert Step(name, dose).folder == folder
