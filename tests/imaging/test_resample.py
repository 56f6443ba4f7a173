import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates, zoom
from scipy.spatial.transform import Rotation

from medseg.imaging import separable
from medseg.imaging.geometry import Geometry
from medseg.imaging.resample import AIR_HU, resample_cubic, resample_linear, resample_nearest


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


# ---- grids with parallel axes, which take another way than oblique ones


@st.composite
def parallel(draw) -> tuple[Geometry, Geometry]:
    """Two grids of any orientation whose axes are parallel up to order and flips; they overlap in part or not."""
    degrees = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    source = grid(draw(st.tuples(*[st.integers(1, 9)] * 3)), (0.7, 1.1, 2.5), degrees)
    order, flips = draw(st.permutations(range(3))), draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    spacing = np.array(draw(st.tuples(*[st.floats(0.4, 4.0)] * 3)))
    affine = np.eye(4)
    affine[:3, :3] = source.direction[:, order] * flips * spacing
    affine[:3, 3] = source.world(np.array(draw(st.tuples(*[st.floats(-4, 9)] * 3))))
    return source, Geometry(draw(st.tuples(*[st.integers(1, 9)] * 3)), affine)


def away_from_ties(index: np.ndarray) -> np.ndarray:
    return np.all(np.abs(index - np.floor(index) - 0.5) > 1e-4, axis=0)


def by_itk(array: np.ndarray, source: Geometry, target: Geometry, interpolator: int, outside: float) -> np.ndarray:
    to_source = np.linalg.inv(source.affine) @ target.affine
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(to_source[:3, :3].ravel().tolist())
    transform.SetTranslation(to_source[:3, 3].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(target.shape)
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolator)
    resampler.SetDefaultPixelValue(outside)
    return sitk.GetArrayFromImage(resampler.Execute(sitk.GetImageFromArray(np.ascontiguousarray(array.T)))).T


@settings(deadline=None, max_examples=60)
@given(parallel(), st.integers(0, 99), st.sampled_from("CF"))
def test_parallel_grids_are_resampled_as_itk_does(grids, seed, order):
    source, target = grids
    random = np.random.default_rng(seed)
    hu = np.asarray(random.normal(0, 300, source.shape), dtype=np.float32, order=order)
    labels = np.asarray(random.integers(0, 200, source.shape), dtype=np.uint8, order=order)
    sure = away_from_ties(source_index(source, target))
    linear = by_itk(hu, source, target, sitk.sitkLinear, AIR_HU)
    nearest = by_itk(labels, source, target, sitk.sitkNearestNeighbor, 0)
    assert np.abs(resample_linear(hu, source, target) - linear)[sure].max(initial=0) < 1e-3
    assert np.array_equal(resample_nearest(labels, source, target)[sure], nearest[sure])


@settings(deadline=None, max_examples=60)
@given(parallel(), st.integers(0, 99))
def test_cubic_equals_scipy_with_the_edge_repeated(grids, seed):
    source, target = grids
    hu = np.random.default_rng(seed).normal(0, 300, source.shape).astype(np.float32)
    index = source_index(source, target)
    expected = map_coordinates(hu.astype(float), index, order=3, mode="nearest")
    got = resample_cubic(hu, source, target)
    inside = within(index, source.shape, 0.5 - 1e-6)
    assert got.dtype == np.float32
    assert np.abs(got - expected)[inside].max(initial=0) < 1e-3 * np.abs(expected).max()
    assert np.all(got[~within(index, source.shape, 0.5 + 1e-6)] == AIR_HU)


def test_cubic_is_the_zoom_of_nnu_net():
    hu = np.random.default_rng(0).normal(0, 300, (20, 31, 12)).astype(np.float32)
    source = grid((20, 31, 12), (0.8, 0.8, 2.5))
    factors = (20 / 13, 31 / 20, 0.5)
    target = Geometry((13, 20, 24), source.affine @ np.diag([*factors, 1]) @ shifted_half(*factors))
    expected = zoom(hu.astype(float), (13 / 20, 20 / 31, 2), order=3, mode="nearest", grid_mode=True)
    assert np.abs(resample_cubic(hu, source, target) - expected).max() < 1e-4 * np.abs(expected).max()


def shifted_half(*factors: float) -> np.ndarray:
    """Moves a grid coarsened by the factors so that it covers the same field of view."""
    shift = np.eye(4)
    shift[:3, 3] = [(factor - 1) / 2 / factor for factor in factors]
    return shift


def test_cubic_on_an_oblique_grid_equals_the_spline_away_from_the_edge():
    source = grid((24, 24, 24), (1.0, 1.0, 1.5))
    target = grid((6, 6, 6), (1.1, 0.9, 1.3), degrees=(5, 10, 15), origin=(-11.0, 15.0, 112.0))
    hu = np.random.default_rng(0).normal(0, 300, source.shape).astype(np.float32)
    index = source_index(source, target)
    assert within(index, source.shape, -6.0).all()
    assert np.abs(resample_cubic(hu, source, target) - map_coordinates(hu.astype(float), index, order=3)).max() < 0.5


@settings(deadline=None, max_examples=30)
@given(parallel(), st.integers(0, 99))
def test_without_a_value_outside_the_nearest_voxel_is_repeated(grids, seed):
    source, target = grids
    hu = np.random.default_rng(seed).normal(0, 300, source.shape).astype(np.float32)
    index = source_index(source, target)
    beyond = ~within(index, source.shape, 0.5 + 1e-6) & away_from_ties(index)
    nearest = np.clip(np.rint(index).astype(int), 0, np.array(source.shape).reshape(3, 1, 1, 1) - 1)
    for resample in (resample_linear, resample_cubic):
        assert np.array_equal(resample(hu, source, target, outside=None)[beyond], hu[tuple(nearest)][beyond])


def test_of_two_equally_near_voxels_the_higher_index_is_taken():
    source, target = grid((4, 1, 1), (2.0, 1, 1)), grid((7, 1, 1), (1.0, 1, 1))
    labels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1)
    assert resample_nearest(labels, source, target).ravel().tolist() == [0, 1, 1, 2, 2, 3, 3]


def test_a_constant_stays_that_constant_to_the_last_bit():
    source = grid((30, 20, 10), (0.7, 0.9, 2.5))
    ones = np.ones(source.shape, dtype=np.float32)
    assert np.all(resample_linear(ones, source, source.with_spacing((1.1, 1.3, 1.7)), outside=1.0) == 1)


@pytest.mark.parametrize("resample", [resample_linear, resample_cubic, resample_nearest])
@pytest.mark.parametrize("spacing", [(1.5, 1.7, 2.0), (0.4, 0.5, 0.9), (1.5, 0.5, 3.0), (0.4, 1.8, 0.5)])
def test_the_number_of_threads_changes_no_bit_and_the_order_in_memory_nothing_to_speak_of(
    resample, spacing, monkeypatch
):
    monkeypatch.setattr(separable, "SMALL", 0)
    source = grid((70, 60, 50), (0.8, 0.8, 1.25))
    target = source.with_spacing(spacing)
    values = np.random.default_rng(0).integers(-1000, 1000, source.shape).astype(np.int16)
    one = resample(values, source, target, threads=1)
    assert all(np.array_equal(resample(values, source, target, threads=count), one) for count in (2, 5))
    other = resample(np.asfortranarray(values), source, target)
    assert other.flags.f_contiguous and np.abs(other - one).max() <= 1e-3
    assert np.allclose(resample(values[::-1, :, ::-1][::-1, :, ::-1], source, target), one, atol=1e-3)


def test_a_view_with_flips_and_gaps_in_memory_is_resampled_like_its_copy():
    source = grid((20, 18, 16), (0.8, 0.8, 1.25))
    values = np.random.default_rng(0).normal(size=(40, 18, 32)).astype(np.float32)[::2, ::-1, ::2]
    target = source.with_spacing((1.0, 1.0, 1.0))
    for resample in (resample_linear, resample_cubic, resample_nearest):
        assert np.allclose(resample(values, source, target), resample(values.copy(), source, target), atol=1e-5)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (4, 5, 6)])
def test_masks_stay_masks(degrees):
    source, target = grid((5, 5, 5), (1, 1, 1)), grid((9, 9, 9), (0.5, 0.5, 0.5), degrees)
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[2:] = True
    got = resample_nearest(mask, source, target)
    assert got.dtype == bool and 0 < got.sum() < got.size


def test_a_grid_that_does_not_meet_the_image_holds_nothing_but_the_outside():
    source, far = grid((5, 5, 5), (1, 1, 1)), grid((3, 3, 3), (1, 1, 1), origin=(500.0, 0, 0))
    ones = np.ones((5, 5, 5), dtype=np.float32)
    assert np.all(resample_linear(ones, source, far) == AIR_HU) and np.all(resample_cubic(ones, source, far) == AIR_HU)
    assert not resample_nearest(ones.astype(np.uint8), source, far).any()
    assert np.all(resample_linear(ones, source, far, outside=None) == 1)
