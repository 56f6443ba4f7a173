import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from medseg.imaging.geometry import Geometry
from medseg.imaging.resample import AIR_HU, resample_linear, resample_nearest


def grid(shape, spacing, degrees=(0.0, 0.0, 0.0), origin=(-20.0, 7.0, 100.0)) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = origin
    return Geometry(shape, affine)


def source_index(source: Geometry, target: Geometry) -> np.ndarray:
    """(3, X, Y, Z) continuous indices in `source` of the voxels of `target`."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in target.shape], indexing="ij"), axis=-1)
    return np.moveaxis(source.index(target.world(index.reshape(-1, 3))).reshape(index.shape), -1, 0)


grids = st.builds(
    grid,
    st.tuples(*[st.integers(3, 9)] * 3),
    st.tuples(*[st.sampled_from((0.7, 1.0, 1.9, 3.0))] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3),
)


@settings(deadline=None, max_examples=30)
@given(grids, grids, st.integers(0, 99))
def test_linear_equals_scipy_with_the_edge_repeated(source, target, seed):
    hu = np.random.default_rng(seed).normal(0, 300, source.shape).astype(np.float32)
    expected = map_coordinates(hu, source_index(source, target), order=1, mode="nearest")
    got = resample_linear(hu, source, target, outside=None)
    inside = within(source_index(source, target), source.shape, margin=0.5 - 1e-6)  # beyond, ITK repeats a corner voxel
    assert got.dtype == np.float32
    assert np.allclose(got[inside], expected[inside], atol=0.05)


def within(index: np.ndarray, shape, margin: float) -> np.ndarray:
    last = np.array(shape).reshape(3, 1, 1, 1) - 1
    return np.all((index >= -margin) & (index <= last + margin), axis=0)


@settings(deadline=None, max_examples=30)
@given(grids, grids)
def test_beyond_half_a_voxel_outside_the_value_is_air(source, target):
    got = resample_linear(np.full(source.shape, 50.0, dtype=np.float32), source, target)
    index = source_index(source, target)
    assert np.allclose(got[within(index, source.shape, 0.499)], 50.0)
    assert np.all(got[~within(index, source.shape, 0.501)] == AIR_HU)


@settings(deadline=None, max_examples=20)
@given(grids, st.integers(0, 99))
def test_onto_its_own_grid_nothing_changes(own, seed):
    random = np.random.default_rng(seed)
    hu = random.normal(0, 300, own.shape).astype(np.float32)
    labels = random.integers(0, 7, own.shape).astype(np.uint8)
    assert np.allclose(resample_linear(hu, own, own), hu, atol=0.01)
    assert np.array_equal(resample_nearest(labels, own, own), labels)


@settings(deadline=None, max_examples=30)
@given(grids, grids)
def test_nearest_takes_the_value_of_the_nearest_voxel_and_invents_none(source, target):
    labels = np.random.default_rng(0).choice([0, 3, 200], source.shape).astype(np.int16)
    index = source_index(source, target)
    got = resample_nearest(labels, source, target, outside=-5)
    sure = within(index, source.shape, 0.499) & np.all(np.abs(index - np.floor(index) - 0.5) > 1e-3, axis=0)
    nearest = np.clip(np.rint(index).astype(int), 0, np.array(source.shape).reshape(3, 1, 1, 1) - 1)
    assert np.array_equal(got[sure], labels[tuple(nearest)][sure])
    assert set(np.unique(got)) <= {0, 3, 200, -5}


def test_a_linear_ramp_is_reproduced_exactly_at_any_spacing():
    source = grid((20, 20, 20), (1.0, 1.0, 2.0))
    ramp = source.world(np.argwhere(np.ones(source.shape))) @ np.array([1.0, -2.0, 0.5])
    target = grid((9, 9, 9), (1.3, 1.7, 2.9), degrees=(5, 10, 15), origin=(-14.0, 11.0, 104.0))
    expected = target.world(np.argwhere(np.ones(target.shape))) @ np.array([1.0, -2.0, 0.5])
    inside = within(source_index(source, target), source.shape, 0.0).ravel()
    got = resample_linear(ramp.reshape(source.shape), source, target).ravel()
    assert inside.sum() > 100
    assert np.allclose(got[inside], expected[inside], atol=0.01)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.int64])
def test_labels_keep_their_integer_type(kind):
    own = grid((3, 3, 3), (1, 1, 1))
    assert resample_nearest(np.ones((3, 3, 3), dtype=kind), own, own).dtype == kind
