"""A part of a grid, turned and flipped in any way, goes back to its place; whatever lies between voxels does not."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry
from medseg.imaging.lattice import embed, transfer

ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def oblique(seed: int) -> Geometry:
    affine = np.eye(4)
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    affine[:3, :3] = turn * np.array([0.7, 0.9, 2.5])
    affine[:3, 3] = -120.5, 33.25, 800.0
    return Geometry((7, 6, 5), affine)


def turned(grid: Geometry, order: tuple[int, ...], signs: tuple[int, ...]) -> Geometry:
    """The same voxels with axis k of the result along axis order[k], reversed where its sign is -1."""
    affine = grid.affine.copy()
    corner = np.zeros(3)
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, new] = sign * grid.affine[:3, old]
        corner[old] = 0 if sign > 0 else grid.shape[old] - 1
    affine[:3, 3] = grid.world(corner)
    return Geometry((grid.shape[order[0]], grid.shape[order[1]], grid.shape[order[2]]), affine)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_a_crop_in_any_of_48_orientations_lands_where_its_voxels_lie(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    whole = oblique(1)
    part = turned(whole.cropped((2, 1, 1), (4, 3, 2)), order, signs)
    values = np.arange(1, 25, dtype=np.int16).reshape(part.shape)
    placed = transfer(values, part, whole)
    where = np.argwhere(placed)
    assert len(where) == 24
    back = np.rint(part.index(whole.world(where))).astype(int)
    np.testing.assert_array_equal(placed[tuple(where.T)], values[tuple(back.T)])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), start=st.tuples(*[st.integers(-6, 9)] * 3))
def test_what_falls_outside_is_counted_and_the_rest_is_placed(seed: int, start: tuple[int, int, int]) -> None:
    whole = oblique(seed)
    part = whole.cropped(start, (4, 4, 4))
    onto = np.zeros(whole.shape, dtype=bool)
    found = embed(part.affine[:3, 3], part.affine[:3, :3], part.shape, whole)
    lost = found.place(np.ones(part.shape, dtype=bool), onto)
    inside = [max(0, min(n, first + 4) - max(0, first)) for first, n in zip(start, whole.shape, strict=True)]
    assert lost == 64 - np.prod(inside)
    assert onto.sum() == np.prod(inside)


def test_labelled_voxels_outside_are_refused_and_empty_ones_left_out() -> None:
    whole = oblique(2)
    part = whole.cropped((5, 0, 0), (4, 2, 2))
    values = np.zeros(part.shape, dtype=np.uint8)
    assert not transfer(values, part, whole).any()
    values[3, 0, 0] = 1
    with pytest.raises(GeometryError, match="1 labelled voxels lie outside"):
        transfer(values, part, whole)


@pytest.mark.parametrize(("shift_mm", "fits"), [(0.09, True), (0.11, False), (0.35, False)])
def test_a_tenth_of_a_millimetre_is_rounding_and_more_is_not(shift_mm: float, fits: bool) -> None:
    whole = oblique(3)
    affine = whole.affine.copy()
    affine[:3, 3] += shift_mm * whole.direction[:, 2]
    values = np.zeros(whole.shape, dtype=bool)
    if fits:
        assert transfer(values, Geometry(whole.shape, affine), whole).shape == whole.shape
    else:
        with pytest.raises(GeometryError, match=f"got {shift_mm:g} mm apart"):
            transfer(values, Geometry(whole.shape, affine), whole)


def test_another_spacing_is_refused_with_both() -> None:
    whole = oblique(4)
    other = whole.with_spacing((1.4, 1.8, 5.0))
    with pytest.raises(GeometryError, match=r"voxels of 1\.4 x 1\.8 x 5 mm against 0\.7 x 0\.9 x 2\.5 mm"):
        transfer(np.zeros(other.shape, dtype=bool), other, whole)
