"""Spacing, patch, batch and depth from a data set, with numbers worked out by hand."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.preprocessing.plan import Fingerprint
from medseg.preprocessing.planning import (
    choose_spacing,
    coarser_spacing,
    first_patch,
    median_shape,
    plan_stage,
    summarise,
)
from medseg.preprocessing.topology import find_topology
from medseg.shapes import IntTriple, Triple


def case(spacing_mm: Triple, shape: IntTriple) -> Fingerprint:
    return Fingerprint(spacing_mm, np.zeros(1), shape, {})


def design(patch: IntTriple, spacing_mm: Triple) -> tuple[dict[str, Any], IntTriple]:
    return {}, (16, 16, 16)


def per_voxel(network: dict[str, Any], patch: IntTriple, batch: int) -> float:
    """A network that takes 1 KiB a voxel."""
    return batch * prod(patch) / 1024


def test_the_spacing_is_the_median() -> None:
    cases = [case((mm, mm, 2.0), (200, 200, 150)) for mm in (0.7, 0.8, 1.0)]
    assert choose_spacing(cases)[0] == (0.8, 0.8, 2.0)


def test_thick_slices_take_their_tenth_percentile() -> None:
    cases = [case((0.8, 0.8, mm), (512, 512, 40)) for mm in np.linspace(3, 8, 11)]
    (x, y, z), reason = choose_spacing(cases)
    assert (x, y) == (0.8, 0.8) and z == pytest.approx(3.5)
    assert "along Z" in reason


def test_thick_slices_never_become_finer_than_the_plane() -> None:
    cases = [case((1.0, 1.0, mm), (512, 512, 30)) for mm in (0.5, 0.5, 5, 5, 5, 5, 5, 5, 5, 5)]
    assert choose_spacing(cases)[0][2] == 1.0


def test_large_voxels_in_as_many_slices_are_no_thick_slices() -> None:
    assert choose_spacing([case((1.0, 1.0, 4.0), (100, 100, 90))])[0] == (1.0, 1.0, 4.0)


def test_the_median_shape_is_measured_on_the_new_grid() -> None:
    cases = [case((1.0, 1.0, 2.0), (100, 80, n)) for n in (30, 40, 50)]
    assert median_shape(cases, (2.0, 1.0, 1.0)) == (50, 80, 80)


def test_the_search_begins_with_a_cube_in_mm() -> None:
    assert first_patch((2.0, 2.0, 2.0), (1000, 1000, 1000)) == (256, 256, 256)
    x, y, z = first_patch((1.0, 1.0, 4.0), (1000, 1000, 1000))
    assert x == y == pytest.approx(4 * z, abs=2) and x * y * z == pytest.approx(256**3, rel=0.02)


@pytest.mark.parametrize("budget_mib", [64, 256, 1024])
def test_two_patches_fit_into_the_budget_and_the_next_larger_ones_do_not(budget_mib: int) -> None:
    stage = plan_stage([case((1.0, 1.0, 1.0), (320, 320, 320))] * 9, (1.0, 1.0, 1.0), design, per_voxel, budget_mib)
    x, y, z = sorted(stage.patch)
    assert per_voxel({}, stage.patch, stage.batch) <= budget_mib
    assert per_voxel({}, (x + 16, y, z), 2) > budget_mib
    assert all(n % 16 == 0 for n in stage.patch)


def test_a_patch_becomes_smaller_where_it_sees_most_of_the_case() -> None:
    stage = plan_stage([case((1.0, 1.0, 1.0), (480, 480, 96))] * 50, (1.0, 1.0, 1.0), design, per_voxel, 2048)
    assert stage.patch[0] > stage.patch[2]
    assert stage.patch[0] / 480 == pytest.approx(stage.patch[2] / 96, abs=0.2)


def test_small_cases_are_seen_whole_with_a_larger_batch() -> None:
    stage = plan_stage([case((3.0, 3.0, 3.0), (64, 64, 48))] * 100, (3.0, 3.0, 3.0), design, per_voxel, 2048)
    assert stage.patch == (64, 64, 48) and stage.seen == 1
    assert stage.batch == 5  # 5 % of 100 cases, long before the memory is full
    assert "5%" in stage.reasons["batch"] and "whole" in stage.reasons["patch"]


def test_a_budget_below_the_smallest_patch_says_what_it_takes() -> None:
    with pytest.raises(InputError, match=r"0\.0 GiB are too little.*at least 0\.0 GiB.*16 x 16 x 32"):
        plan_stage([case((1.0, 1.0, 1.0), (320, 320, 320))], (1.0, 1.0, 1.0), design, per_voxel, 1)


def test_a_patch_of_one_voxel_at_the_deepest_level_is_not_planned() -> None:
    small = plan_stage([case((1.0, 1.0, 1.0), (12, 20, 12))], (1.0, 1.0, 1.0), design, per_voxel, 2048)
    assert small.patch == (16, 32, 16)
    tight = plan_stage([case((1.0, 1.0, 1.0), (320, 320, 320))], (1.0, 1.0, 1.0), design, per_voxel, 17)
    assert prod(tight.patch) == 2 * 16**3
    with pytest.raises(InputError, match=r"for 2 patches of \d+ x \d+ x \d+ voxels"):
        plan_stage([case((1.0, 1.0, 1.0), (320, 320, 320))], (1.0, 1.0, 1.0), design, per_voxel, 15)


def test_a_patch_that_sees_a_quarter_needs_no_coarser_stage() -> None:
    cases = [case((1.0, 1.0, 1.0), (128, 128, 128))] * 9
    stage = plan_stage(cases, (1.0, 1.0, 1.0), design, per_voxel, 2048)
    assert coarser_spacing(stage, cases) is None


def test_the_coarser_stage_sees_a_quarter_and_thick_axes_wait() -> None:
    cases = [case((1.0, 1.0, 4.0), (512, 512, 128))] * 9
    stage = plan_stage(cases, (1.0, 1.0, 4.0), design, per_voxel, 512)
    spacing = coarser_spacing(stage, cases)
    assert spacing is not None
    assert prod(stage.patch) / prod(median_shape(cases, spacing)) == pytest.approx(0.25, rel=0.15)
    assert spacing[0] == spacing[1] >= 1.9 and spacing[2] < 4 * spacing[0]


@pytest.mark.parametrize(
    "patch, spacing_mm, strides, kernels",
    [
        ((64, 64, 64), (1.0, 1.0, 1.0), [(2, 2, 2)] * 4, [(3, 3, 3)] * 5),
        ((256, 256, 24), (0.7, 0.7, 5.0), [(2, 2, 1)] * 2 + [(2, 2, 2)] * 2 + [(2, 2, 1)],
         [(3, 3, 1)] * 2 + [(3, 3, 3)] * 4),
        ((64, 64, 7), (1.0, 1.0, 1.0), [(2, 2, 1)] * 4, [(3, 3, 3)] * 5),
    ],
)  # fmt: skip
def test_axes_are_halved_while_they_are_fine_and_long_enough(patch, spacing_mm, strides, kernels) -> None:
    found = find_topology(patch, spacing_mm)
    assert list(found.strides) == strides
    assert list(found.kernels) == kernels


def test_the_deepest_level_keeps_four_voxels() -> None:
    for n in (8, 20, 33, 100, 160):
        found = find_topology((n, n, n), (1.0, 1.0, 1.0), deepest=99)
        assert n / found.multiple[0] > 2 and -(-n // found.multiple[0]) >= 4


def test_the_spread_of_the_cases_is_that_of_their_voxels_and_lengths() -> None:
    cases = [case((1.0, 1.0, mm), (100, 100, 40)) for mm in (2.0, 4.0, 6.0)]

    found = summarise(cases)

    assert (found.spacing_mm.least, found.spacing_mm.p90, found.spacing_mm.most) == ((1, 1, 2), (1, 1, 5.6), (1, 1, 6))
    assert (found.extent_mm.median, found.anisotropy, found.kept_of_image) == ((100, 100, 160), 4, 1)
