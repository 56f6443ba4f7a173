from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry, reorient

ORIENTATIONS = [
    "".join(letters) for order in permutations(("LR", "PA", "IS")) for letters in product(*order)
]  # 3! axis orders x 2^3 directions = 48


def oriented(orientation: str, shape=(4, 5, 6), spacing=(0.8, 1.1, 2.5), degrees=(0.0, 0.0, 0.0)) -> Geometry:
    """A grid whose voxel axes run towards the letters of `orientation`, turned by small angles about R, A, S."""
    affine = np.eye(4)
    for voxel, letter in enumerate(orientation):
        world = next(axis for axis, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[:3, voxel] = 0
        affine[world, voxel] = spacing[voxel] if letter in "RAS" else -spacing[voxel]
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = (-120.0, 35.5, 900.0)
    return Geometry(shape, affine)


oblique = st.builds(
    oriented,
    st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8.0)] * 3),
    degrees=st.tuples(*[st.floats(-20, 20)] * 3),  # below the angle at which another axis becomes the nearest
)


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_orientation_of_an_axis_parallel_grid_is_read_off_its_affine(orientation):
    grid = oriented(orientation)
    assert grid.orientation == orientation
    assert np.allclose(grid.spacing_mm, (0.8, 1.1, 2.5))
    assert grid.voxel_ml == pytest.approx(0.8 * 1.1 * 2.5 / 1000)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@settings(deadline=None, max_examples=3)
@given(degrees=st.tuples(*[st.floats(-20, 20)] * 3))
def test_voxels_come_back_from_canonical_order_and_kept_their_place_there(orientation, degrees):
    grid = oriented(orientation, shape=(2, 3, 4), degrees=degrees)
    array = np.arange(24.0).reshape(2, 3, 4)
    there = reorient(array, grid, grid.canonical())
    assert grid.canonical().orientation == "RAS"
    marked = np.argwhere(there == array[1, 0, 3])[0]
    assert np.allclose(grid.canonical().world(marked), grid.world(np.array([1, 0, 3])))
    assert np.array_equal(reorient(there, grid.canonical(), grid), array)


def rearranged(grid: Geometry, order: tuple[int, ...], flips: tuple[bool, ...]) -> Geometry:
    """The lattice of `grid` with its axes in another order, some of them counted from the far end."""
    first = np.array([grid.shape[axis] - 1 if flip else 0 for axis, flip in zip(order, flips, strict=True)])
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, list(order)] * np.where(flips, -1, 1)
    affine[:3, 3] = grid.affine[:3, 3] + grid.affine[:3, list(order)] @ first
    x, y, z = (grid.shape[axis] for axis in order)
    return Geometry((x, y, z), affine)


@settings(deadline=None, max_examples=30)
@given(oblique, st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_reorient_permutes_and_flips_and_is_undone_by_its_reverse(grid, order, flips):
    target = rearranged(grid, tuple(order), flips)
    array = np.arange(float(np.prod(grid.shape))).reshape(grid.shape)
    expected = np.transpose(array, order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    assert np.array_equal(reorient(array, grid, target), expected)
    assert np.array_equal(reorient(expected, target, grid), array)


@settings(deadline=None, max_examples=30)
@given(oblique)
def test_canonical_keeps_every_voxel_centre_and_is_its_own_canonical(grid):
    canonical = grid.canonical()
    corners = np.array(list(product(*[(0, n - 1) for n in grid.shape])))
    twins = np.array(list(product(*[(0, n - 1) for n in canonical.shape])))
    centres = {tuple(np.round(point, 6)) for point in grid.world(corners)}
    assert all(np.abs(np.array(list(centres)) - point).max(axis=1).min() < 1e-5 for point in canonical.world(twins))
    assert canonical.canonical().differences(canonical) == []


@settings(deadline=None, max_examples=30)
@given(oblique, st.tuples(*[st.floats(-50, 50)] * 3))
def test_index_undoes_world(grid, index):
    assert np.allclose(grid.index(grid.world(np.array(index))), index, atol=1e-6)


anyhow = st.builds(  # turned by any angle, so that which axis is nearest to which is open
    oriented,
    st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8.0)] * 3),
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
)


@settings(deadline=None, max_examples=60)
@given(anyhow, st.tuples(*[st.floats(-50, 50)] * 3))
def test_at_any_angle_index_undoes_world(grid, index):
    assert np.allclose(grid.index(grid.world(np.array([index]))), index, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(anyhow, st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_at_any_angle_voxels_come_back_from_another_order_and_other_flips(grid, order, flips):
    target = rearranged(grid, tuple(order), flips)
    array = np.random.default_rng(0).normal(size=grid.shape)
    there = reorient(array, grid, target)
    marked = np.argwhere(there == array[0, 0, 0])[0]
    assert np.allclose(target.world(marked), grid.world(np.zeros(3)))
    assert np.array_equal(reorient(there, target, grid), array)


@settings(deadline=None, max_examples=60)
@given(anyhow)
@example(oriented("LPI", shape=(1, 1, 2), spacing=(1.0, 1.0, 1.0), degrees=(0.0, 45.0, 1.0)))  # two axes tie
def test_at_any_angle_canonical_is_a_rearrangement_that_points_right_anterior_superior(grid):
    canonical = grid.canonical()
    array = np.random.default_rng(0).normal(size=grid.shape)
    assert sorted(canonical.shape) == sorted(grid.shape)
    assert canonical.voxel_ml == pytest.approx(grid.voxel_ml)
    assert np.all(np.diag(canonical.direction) > -1e-9)  # an axis at 90 degrees to its letter has no side
    assert np.array_equal(reorient(reorient(array, grid, canonical), canonical, grid), array)


@settings(deadline=None, max_examples=60)
@given(anyhow, st.tuples(*[st.integers(-4, 4)] * 3), st.tuples(*[st.integers(1, 6)] * 3))
def test_at_any_angle_a_crop_keeps_the_place_of_its_voxels_and_is_undone_by_its_reverse(grid, start, shape):
    crop = grid.cropped(start, shape)
    index = np.array(shape) - 1
    back = crop.cropped((-start[0], -start[1], -start[2]), grid.shape)
    assert np.allclose(crop.world(index), grid.world(index + np.array(start)), atol=1e-6)
    assert back.differences(grid) == []


@settings(deadline=None, max_examples=60)
@given(anyhow)
def test_at_any_angle_the_own_spacing_gives_the_own_grid(grid):
    assert grid.with_spacing(grid.spacing_mm).differences(grid) == []
    assert grid.field_of_view_mm == pytest.approx(np.array(grid.shape) * grid.spacing_mm)


def test_reorient_moves_channels_along():
    grid = oriented("LPS", shape=(2, 3, 4))
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    assert np.array_equal(reorient(array, grid, grid.canonical()), array[::-1, ::-1])


def test_reorient_refuses_a_grid_that_would_need_interpolation():
    grid = oriented("RAS")
    with pytest.raises(GeometryError, match="not the same lattice"):
        reorient(np.zeros(grid.shape), grid, grid.with_spacing((2, 2, 2)))


def changed(grid: Geometry, column: int, scale: float = 1.0, shift: float = 0.0) -> Geometry:
    affine = grid.affine.copy()
    affine[:3, column] = affine[:3, column] * scale + shift
    return Geometry(grid.shape, affine)


GRID = oriented("RAS", shape=(10, 10, 10), spacing=(1, 1, 2))

DIFFERENT = {
    "shape": (Geometry((10, 10, 11), GRID.affine), ["shape (10, 10, 10) against (10, 10, 11)"]),
    "spacing": (changed(GRID, 2, scale=1.25), ["spacing (1, 1, 2) mm against (1, 1, 2.5) mm"]),
    "origin": (
        changed(GRID, 3, shift=3.0),
        ["origin (-120, 35.5, 900) mm against (-117, 38.5, 903) mm"],
    ),
    "orientation": (changed(GRID, 0, scale=-1.0), ["orientation RAS against LAS"]),
    "angle": (
        Geometry(GRID.shape, oriented("RAS", spacing=(1, 1, 2), degrees=(0, 0, 5)).affine),
        ["orientation turned by 5 degrees"],
    ),
    "spacing and orientation": (
        changed(GRID, 1, scale=-2.0),
        ["spacing (1, 1, 2) mm against (1, 2, 2) mm", "orientation RAS against RPS"],
    ),
}


@pytest.mark.parametrize(("other", "told"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_difference_between_two_grids_is_named_with_both_values(other, told):
    assert GRID.differences(other) == told


def test_a_grid_does_not_differ_from_itself_after_rounding_to_float32():
    rounded = Geometry(GRID.shape, GRID.affine.astype(np.float32))
    assert GRID.differences(GRID) == []
    assert GRID.differences(rounded) == []


def test_a_difference_beyond_the_tolerance_at_the_far_corner_only_is_seen():
    assert GRID.differences(changed(GRID, 2, scale=1 + 0.011 / 18)) != []  # 9 steps of 2 mm: 0.011 mm at the last slice
    assert GRID.differences(changed(GRID, 2, scale=1 + 0.009 / 18)) == []


@settings(deadline=None, max_examples=30)
@given(oblique, st.tuples(*[st.floats(0.5, 6.0)] * 3))
def test_with_spacing_keeps_centre_direction_and_field_of_view_to_half_a_voxel(grid, spacing):
    new = grid.with_spacing(spacing)
    middle, new_middle = ((np.array(each.shape) - 1) / 2 for each in (grid, new))
    assert np.allclose(new.world(new_middle), grid.world(middle), atol=1e-6)
    assert np.allclose(new.direction, grid.direction)
    assert np.allclose(new.spacing_mm, spacing)
    extent, new_extent = (np.array(each.shape) * each.spacing_mm for each in (grid, new))
    assert np.all(np.abs(new_extent - extent) <= np.maximum(np.array(spacing) / 2, np.array(spacing) - extent) + 1e-6)


def test_a_crop_begins_where_its_first_voxel_was_and_may_reach_outside():
    grid = oriented("LPS")
    inside, padded = grid.cropped((1, 2, 3), (2, 2, 2)), grid.cropped((-2, 0, 0), (8, 5, 6))
    assert np.allclose(inside.origin_mm, grid.world(np.array([1, 2, 3])))
    assert np.allclose(padded.world(np.array([2, 0, 0])), grid.origin_mm)
    assert padded.shape == (8, 5, 6)


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((4, 4), np.eye(4)),
        ((4, 4, 0), np.eye(4)),
        ((4, 4, 4), np.eye(3)),
        ((4, 4, 4), np.diag([1.0, 0.0, 1.0, 1.0])),
        ((4, 4, 4), np.diag([1.0, np.nan, 1.0, 1.0])),
    ],
)
def test_what_is_no_grid_is_refused(shape, affine):
    with pytest.raises(GeometryError):
        Geometry(shape, affine)


def test_the_affine_of_a_grid_cannot_be_changed():
    affine = np.eye(4)
    grid = Geometry((2, 2, 2), affine)
    affine[0, 3] = 99.0
    assert grid.origin_mm == (0, 0, 0)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 1.0
