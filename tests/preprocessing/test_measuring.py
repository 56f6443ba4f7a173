"""A plan against what a step really takes, with a meter that knows the truth."""

from __future__ import annotations

from math import inf, prod
from typing import Any

import pytest

from medseg.errors import InputError
from medseg.preprocessing.measuring import Measured, measured_stage
from medseg.preprocessing.planning import Stage, plan_stage
from medseg.shapes import IntTriple
from tests.preprocessing.test_planning import case, design, per_voxel

CASES = [case((1.0, 1.0, 1.0), (320, 320, 320))] * 9
BUDGET = 1024.0  # MiB, of which a share of 0.95 may be taken


def planned(factor: float) -> Stage:
    return plan_stage(CASES, (1.0, 1.0, 1.0), design, lambda *step: factor * per_voxel(*step), BUDGET)


def measured(truth: float, room: float = BUDGET) -> tuple[Measured, list[IntTriple]]:
    """The stage where a step takes `truth` times what is counted, and all patches that were tried."""
    tried: list[IntTriple] = []

    def meter(network: dict[str, Any], patch: IntTriple, batch: int) -> float:
        tried.append(patch)
        mib = truth * per_voxel(network, patch, batch)
        return mib if mib <= room * 1.2 else inf

    return measured_stage(planned, meter, room, "a fake"), tried


def test_a_count_that_is_right_is_kept_after_one_step() -> None:
    found, tried = measured(0.97)
    assert found.stage == planned(1.0)
    assert len(tried) == 1
    assert "a real step on a fake took" in found.reason and "planned (" not in found.reason


@pytest.mark.parametrize("truth", [1.1, 1.5, 2.5])
def test_a_step_that_takes_more_makes_the_patch_smaller_until_it_fits(truth: float) -> None:
    found, _ = measured(truth)
    assert prod(found.stage.patch) < prod(planned(1.0).patch)
    assert found.mib is not None and 0.6 * BUDGET < found.mib <= BUDGET
    assert found.mib == pytest.approx(truth * per_voxel({}, found.stage.patch, found.stage.batch))
    assert "smaller than first planned" in found.reason


def test_a_step_that_takes_much_less_makes_the_patch_larger() -> None:
    found, _ = measured(0.5)
    assert prod(found.stage.patch) > 1.5 * prod(planned(1.0).patch)
    assert found.mib is not None and found.mib <= BUDGET
    assert "larger than first planned" in found.reason


def test_without_a_gpu_nothing_is_measured_and_the_count_stands() -> None:
    found = measured_stage(planned, lambda *step: None, BUDGET, "no GPU")
    assert (found.stage, found.mib, found.reason) == (planned(1.0), None, "not measured: no GPU")


def test_a_device_on_which_nothing_fits_is_an_error() -> None:
    with pytest.raises(InputError, match=r"no step of the planned network fits|too little for the smallest patch"):
        measured_stage(planned, lambda *step: inf, BUDGET, "a fake")
