"""The air of the room, and what only looks like it."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.surroundings import find_air_around
from medseg.imaging.geometry import Geometry, reorient
from medseg.shapes import BoolArray, FloatArray

GRID = Geometry((40, 40, 10), np.diag([3.0, 3.0, 3.0, 1.0]))


def patient() -> FloatArray:
    """A box of tissue in air with a lung of -850 inside."""
    hu = np.full(GRID.shape, -1000, np.float32)
    hu[8:32, 8:32] = 40
    hu[12:20, 12:28] = -850
    return hu


def air_mask(hu: FloatArray, grid: Geometry = GRID) -> BoolArray:
    return find_air_around(hu, grid).in_box((slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2])))


def test_the_room_is_air_and_lungs_are_not() -> None:
    assert np.array_equal(air_mask(patient()), patient() == -1000)


def test_lungs_that_reach_the_edge_of_a_crop_are_not_air() -> None:
    grid = GRID.cropped((12, 8, 0), (28, 24, 10))

    air = air_mask(patient()[12:, 8:32], grid)

    assert not air[:8].any() and air[20:].all()


def test_gas_inside_the_body_is_not_the_room() -> None:
    hu = patient()
    hu[24:28, 20:24] = -1000

    assert not air_mask(hu)[24:28, 20:24].any()


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 2, 0)])
def test_slices_are_axial_in_whatever_order_the_axes_are_stored(axes: tuple[int, int, int]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = GRID.affine[:3, :3][:, axes]
    stored = Geometry((GRID.shape[axes[0]], GRID.shape[axes[1]], GRID.shape[axes[2]]), affine)

    air = air_mask(reorient(patient(), GRID, stored), stored)

    assert np.array_equal(air, reorient(patient(), GRID, stored) == -1000)


def test_fine_voxels_are_looked_at_in_blocks_and_the_edge_is_off_by_one_voxel_at_most() -> None:
    fine = Geometry((121, 119, 31), np.eye(4))
    hu = np.full(fine.shape, -1000, np.float32)
    hu[30:90, 31:90] = 40

    wrong = np.argwhere(air_mask(hu, fine) != (hu == -1000))

    assert find_air_around(hu, fine).steps == (3, 3, 3)
    assert all(min(abs(x - edge) for edge in (30, 89)) <= 1 or min(abs(y - edge) for edge in (30, 31, 89)) <= 1
               for x, y, _ in wrong)  # fmt: skip
