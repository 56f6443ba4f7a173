"""Two grids that differ: the difference in numbers, and the mistake that explains it."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.mismatch import find_mismatch

GRID = Geometry((20, 16, 8), np.array([[0.8, 0, 0, 12], [0, 0.8, 0, -40], [0, 0, 3, 100], [0, 0, 0, 1.0]]))


def changed(shape: tuple[int, int, int] = GRID.shape, **entries: float) -> Geometry:
    """The grid with entries of its affine changed: `a03=1` sets row 0, column 3."""
    affine = GRID.affine.copy()
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return Geometry(shape, affine)


def test_equal_grids_have_no_mismatch() -> None:
    assert find_mismatch(GRID, changed(a03=12.001)) is None


def test_a_shift_is_told_in_mm() -> None:
    found = find_mismatch(GRID, changed(a03=15.0, a13=-36.0))

    assert found is not None and found.explanation == "moved by 5 mm"
    assert "origin (12, -40, 100) mm against (15, -36, 100) mm" in found.differences
    assert "corners up to 5 mm apart" in found.differences


def test_half_a_voxel_is_told_as_such() -> None:
    found = find_mismatch(GRID, changed(a03=12.4, a13=-40.4, a23=101.5))

    assert found is not None and "half a voxel" in found.explanation and "moved by 1.6 mm" in found.explanation


@pytest.mark.parametrize("order", ["flipped", "permuted"])
def test_the_same_voxels_in_another_order_are_recognised(order: str) -> None:
    affine = GRID.affine.copy()
    if order == "flipped":
        affine[0, 0], affine[0, 3] = -0.8, 12 + 19 * 0.8
        other = Geometry(GRID.shape, affine)
    else:
        other = Geometry((16, 20, 8), affine[:, [1, 0, 2, 3]])

    found = find_mismatch(GRID, other)

    assert found is not None and found.same_lattice
    assert found.explanation == "the same voxels with other axis order or flips"


def test_lps_taken_for_ras_is_recognised() -> None:
    found = find_mismatch(GRID, Geometry(GRID.shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ GRID.affine))

    assert found is not None and not found.same_lattice
    assert found.explanation == "as if LPS coordinates had been taken for RAS"


def test_lps_taken_for_ras_around_the_origin_may_also_be_a_flip() -> None:
    centred = GRID.affine.copy()
    centred[:2, 3] = -7.6, -6.0  # half of 19 and of 15 voxels of 0.8 mm
    turned = np.diag([-1.0, -1.0, 1.0, 1.0]) @ centred

    found = find_mismatch(Geometry(GRID.shape, centred), Geometry(GRID.shape, turned))

    assert found is not None and found.same_lattice
    assert found.explanation.endswith("axis order or flips, or as if LPS coordinates had been taken for RAS")


def test_an_axis_flipped_without_its_origin_is_recognised() -> None:
    found = find_mismatch(GRID, changed(a11=-0.8))

    assert found is not None and found.explanation == "as if Y had been flipped without moving the origin"


def test_a_turn_is_told_in_degrees() -> None:
    cosine, sine = np.cos(np.radians(18.5)), np.sin(np.radians(18.5))
    turn = np.array([[1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]])

    found = find_mismatch(GRID, Geometry(GRID.shape, GRID.affine @ turn @ np.diag([1, 1, 1, 1])))

    assert found is not None and any("degrees" in difference for difference in found.differences)


def test_axes_written_in_the_order_of_numpy_are_recognised() -> None:
    found = find_mismatch(GRID, Geometry((8, 16, 20), GRID.affine))

    assert found is not None and found.explanation == "as if the axes had been written in the order Z, Y, X"


def test_resampled_labels_are_recognised() -> None:
    found = find_mismatch(GRID, GRID.with_spacing((1.6, 1.6, 3.0)))

    assert found is not None and found.explanation == "the same field of view in voxels of another size"


def test_what_nothing_explains_is_only_measured() -> None:
    found = find_mismatch(GRID, changed(shape=(20, 16, 7), a00=0.5))

    assert found is not None and found.explanation == ""
    assert any(difference.startswith("shape") for difference in found.differences)
