import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.imaging import bands
from medseg.imaging.bands import cubic_taps, linear_taps


def matrix(taps: bands.Taps) -> np.ndarray:
    """(outputs, inputs) the sums as one dense matrix."""
    dense = np.zeros((len(taps.columns), taps.inputs))
    np.add.at(dense, (np.arange(len(taps.columns))[:, None], taps.columns), taps.weights)
    return dense


taps_of_any_axis = st.builds(
    lambda kind, n, outputs, start, step: kind(start + step * np.arange(outputs), n),
    st.sampled_from((linear_taps, cubic_taps)),
    st.integers(1, 60),
    st.integers(1, 90),
    st.floats(-0.5, 60),
    st.floats(-2.5, 2.5),
)


@settings(deadline=None, max_examples=100)
@given(taps_of_any_axis, st.integers(1, 16), st.sampled_from((8, 10**4)))
def test_the_bands_of_an_axis_are_its_matrix(taps, size, width):
    x = np.random.default_rng(0).normal(size=(2, taps.inputs, 5)).astype(np.float32)
    rows = np.full((2, len(taps.columns), 5), np.nan, dtype=np.float32)
    columns = np.full((2, 5, len(taps.columns)), np.nan, dtype=np.float32)
    for band in taps.bands(size, width):
        assert band.weights[0].size * width <= bands.PRODUCT_LIMIT or band.weights.shape[1] == 1
        band.within(1, x, rows)
        band.within(2, np.ascontiguousarray(x.transpose(0, 2, 1)), columns)
    expected = np.einsum("oi,pif->pof", matrix(taps), x)
    assert np.allclose(rows, expected, atol=1e-5)
    assert np.allclose(columns.transpose(0, 2, 1), expected, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(taps_of_any_axis, st.integers(1, 16))
def test_single_blocks_across_planes_are_the_matrix(taps, size):
    x = np.random.default_rng(0).normal(size=(taps.inputs, 3, 5)).astype(np.float32)
    out = np.full((len(taps.columns), 3, 5), np.nan, dtype=np.float32)
    for band in taps.single_blocks(size, 5):
        assert band.weights.shape[0] == 1
        band.across(x[band.inputs], out[band.outputs])
    assert np.allclose(out, np.tensordot(matrix(taps), x, axes=1), atol=1e-5)


def test_a_regular_axis_is_a_few_calls():
    taps = linear_taps((np.arange(266) + 0.5) * 512 / 266 - 0.5, 512)
    assert len(taps.bands(8, 512)) <= 5


@pytest.mark.parametrize("kind", [linear_taps, cubic_taps])
def test_weights_sum_to_one_and_a_voxel_centre_takes_its_voxel_alone(kind):
    taps = kind(np.array([0.0, 3.0, 4.4, 9.49, -0.5]), 10)
    assert np.allclose(matrix(taps).sum(axis=1), 1)
    assert np.allclose(matrix(taps)[:2], np.eye(10)[[0, 3]], atol=1e-5)
