"""A plan that was registered before predictions exist, and whether a run kept to it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from medseg.errors import ConfigError, FileReadError, OutputExistsError, UsageError
from medseg.evaluation.entries import Protocol
from medseg.workflows.registration import (
    PRE_SPECIFIED,
    STATED,
    AgreementPlan,
    read_registration,
    register,
    used_plan,
    verify,
)

PLAN = "margin: {liver: 0.02, tumour: 0.05}\nprimary: liver:dice\ntolerance_mm: 2\nlabels: [tumour, liver]\n"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def plan(tmp_path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


def used(**changes) -> AgreementPlan:
    facts = {"margin": {"liver": 0.02, "tumour": 0.05}, "primary": "liver:dice", "labels": ("liver", "tumour")}
    return AgreementPlan.model_validate(facts | changes)


def test_a_run_that_used_exactly_the_plan_is_pre_specified(plan):
    path, registration = register(plan, now=NOON)
    assert path.name == "plan.registered.json" and "2026-03-01T12:00:00" in path.read_text()
    found = verify(read_registration(plan), used())
    assert found.status == PRE_SPECIFIED and not found.reasons and found.sha256 == registration.sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"margin": {"liver": 0.03, "tumour": 0.05}}, "margin liver 0.03, tumour 0.05, registered liver 0.02"),
        ({"primary": None}, "primary none, registered liver:dice"),
        ({"metric": "nsd"}, "metric nsd, registered dice"),
        ({"tolerance_mm": 3.0}, "tolerance_mm liver 3, tumour 3|tolerance_mm tumour 3, liver 3"),
        ({"tolerance_mm": "readers"}, "tolerance_mm readers"),
        ({"labels": ("liver",)}, "labels liver, registered liver, tumour"),
        ({"guard_margin": 0.2}, "guard_margin 0.2, registered 0.1"),
    ],
)
def test_any_other_choice_is_only_stated_and_named(plan, changes, words):
    register(plan, now=NOON)
    found = verify(read_registration(plan), used(**changes))
    assert found.status == STATED
    assert any(option in found.reasons[0] for option in words.split("|"))


def test_one_margin_for_all_equals_the_same_by_label(tmp_path):
    plan = tmp_path / "p.yaml"
    plan.write_text("margin: 0.05\n")
    register(plan, now=NOON)
    run = used_plan(Protocol("dice", {"a": 0.05, "b": 0.05}), ["a", "b"])
    assert verify(read_registration(plan), run).status == PRE_SPECIFIED


def test_a_prediction_older_than_the_registration_is_told(plan, tmp_path):
    register(plan, now=NOON)
    old, new = tmp_path / "old.nii.gz", tmp_path / "new.nii.gz"
    for path, when in ((old, NOON.timestamp() - 60), (new, NOON.timestamp() + 60)):
        path.touch()
        os.utime(path, (when, when))
    assert verify(read_registration(plan), used(), predictions=[new]).status == PRE_SPECIFIED
    found = verify(read_registration(plan), used(), predictions=[old, new])
    assert found.status == STATED and found.reasons == ("1 prediction file is older than the registration",)


def test_nothing_is_registered_once_predictions_exist(plan, tmp_path):
    (tmp_path / "net").mkdir()
    register(plan, predictions=[tmp_path / "net", tmp_path / "not_yet"], now=NOON)
    (tmp_path / "plan.registered.json").unlink()
    (tmp_path / "net" / "c1.nii.gz").touch()
    with pytest.raises(UsageError, match="register: predictions exist already; got files in net"):
        register(plan, predictions=[tmp_path / "net"])


def test_the_date_stays_with_the_same_plan_and_another_is_refused(plan):
    register(plan, now=NOON)
    assert register(plan)[1].registered == NOON
    plan.write_text(PLAN.replace("0.02", "0.04"))
    with pytest.raises(OutputExistsError, match="another plan is registered under this name; got one of 2026-03-01"):
        register(plan)


@pytest.mark.parametrize("key", ["registered", "plan"])
def test_a_registration_that_was_changed_is_found_out(plan, key):
    path, _ = register(plan, now=NOON)
    facts = json.loads(path.read_text())
    if key == "plan":
        facts["plan"]["margin"]["liver"] = 0.1
    else:
        facts["registered"] = "2025-01-01T00:00:00+00:00"
    path.write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"plan.registered.json: the registration was changed"):
        read_registration(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "medseg.registration/1"}', "[" * 100_000])
def test_what_is_no_registration_is_refused(tmp_path, text):
    path = tmp_path / "plan.registered.json"
    path.write_text(text)
    with pytest.raises(FileReadError, match="not a registration"):
        read_registration(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("margin: 0.1\nmargins: 2\n", "margins: unknown key.*did you mean 'margin'"),
        ("metric: dice\n", "margin: missing"),
        ("margin: -1\n", "margin"),
        ("margin: 0.1\nmetric: dise\n", "unknown metric 'dise'.*did you mean 'dice'"),
        ("margin: 0.1\nprimary: liver\n", "not LABEL:METRIC"),
        ("margin: 0.1\nprimary: liver:dise\n", "not LABEL:METRIC"),
    ],
)
def test_faults_of_a_plan_are_named(tmp_path, text, words):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        register(path)


def test_without_a_registration_the_way_to_one_is_told(plan):
    with pytest.raises(FileReadError, match=r"no registration.*medseg register"):
        read_registration(plan)
