"""The generators behind `benchmarks/calibration.py`: their truth is what they say it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    monkeypatch.syspath_prepend(str(FOLDER))

    def one(name: str) -> ModuleType:
        return import_module(name)

    yield one
    for name in [name for name in sys.modules if name.startswith("calibration")]:
        del sys.modules[name]


@pytest.mark.parametrize("shape", ["normal", "left-skewed", "rare misses"])
@pytest.mark.parametrize("readers", [2, 5])
def test_the_true_difference_is_the_mean_over_very_many_patients(load, shape, readers):
    values, truth = load("calibration_sets").draw_differences(shape, readers, 200, 500, np.random.default_rng(0))
    assert values.shape == (200, 500)
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(values.size))


@pytest.mark.parametrize(("shape", "low", "high"), [("normal", -0.1, 0.1), ("left-skewed", -2.1, -1.6)])
def test_differences_have_the_shape_that_they_are_named_after(load, shape, low, high):
    values, _ = load("calibration_sets").draw_differences(shape, 3, 200, 500, np.random.default_rng(1))
    assert low < stats.skew(values.ravel()) < high


def test_five_percent_of_the_structures_are_missed(load):
    values, _ = load("calibration_sets").draw_differences("rare misses", 3, 200, 500, np.random.default_rng(2))
    assert np.mean(values < -0.4) == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("readers", [2, 3, 5])
def test_a_true_reader_as_the_model_has_a_difference_of_zero(load, readers):
    values = load("calibration_sets").draw_reader_as_model(readers, 200, 500, np.random.default_rng(3))
    assert values.mean() == pytest.approx(0.0, abs=4 * values.std() / np.sqrt(values.size))


def test_models_beside_simulated_experts_get_what_they_deserve(load):
    pool_script = load("calibration_pool")
    differences = pool_script.pool_differences(pool_script.build_pool(15, seed=0))
    means = {model: values.mean() for model, values in differences.items()}
    assert abs(means["one more reader"]) < 0.06
    assert means["majority vote"] > means["copy of a reader"] > 0.02
    assert means["misses one in five"] < means["one more reader"] - 0.1


def test_the_missed_case_has_dice_zero_with_every_reader(load):
    pool_script = load("calibration_pool")
    case = pool_script.build_pool(1, seed=0)[0]
    missed = [score.values["dice"] for score in case.of("liver") if score.b == "misses one in five"]
    assert missed == [0.0, 0.0, 0.0]


def test_a_promise_is_broken_only_beyond_chance(load):
    script = load("calibration")
    row = {"D": "normal", "patients": 20, "coverage %": 97.5, "false non-inferior %": 1.0,
           "false equivalent, upper side %": 1.0}  # fmt: skip
    assert script._promise(row, 2000) == "kept" and script._promise(row, 20_000) == "BROKEN"
    assert script._promise(row | {"coverage %": 95.0, "false non-inferior %": 6.0}, 2000) == "BROKEN"
    assert script._promise(row | {"D": "rare misses", "coverage %": 60.0}, 2000) == "none"


def test_rows_of_a_small_run_are_complete_and_consistent(load):
    script = load("calibration")
    rows = list(script.coverage_rows(20, 200, seed=1))
    assert len(rows) == 36
    for row in rows:
        parts = ("coverage %", "low bound above truth %", "high bound below truth %", "no interval %")
        assert sum(row[part] for part in parts) == pytest.approx(100.0)
        if row["patients"] >= 20:  # a difference that is moved to the margin is misjudged as often as it is not covered
            assert row["false non-inferior %"] == row["low bound above truth %"]
