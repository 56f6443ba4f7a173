"""Where tiles lie, what their voxels weigh, and which of them hold only air."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.inference.tiles import find_body, gaussian_weights, lay_tiles, tile_starts


@pytest.mark.parametrize(("length", "tile", "overlap"), [(110, 64, 0.5), (97, 32, 0.25), (64, 64, 0.5), (65, 64, 0)])
def test_tiles_reach_from_the_first_voxel_to_the_last_and_overlap_enough(
    length: int, tile: int, overlap: float
) -> None:
    starts = tile_starts(length, tile, overlap)

    assert starts[0] == 0
    assert starts[-1] + tile == length
    assert max(np.diff(starts), default=0) <= np.ceil(tile * (1 - overlap))


def test_the_steps_are_those_of_nnunet() -> None:
    theirs = pytest.importorskip("nnunetv2.inference.sliding_window_prediction", reason="needs the extra bench")

    for length in range(32, 130):
        expected = theirs.compute_steps_for_sliding_window((length,) * 3, (32,) * 3, 0.5)[0]
        assert tile_starts(length, 32, 0.5) == expected


def test_weights_are_a_gaussian_of_an_eighth_of_the_tile() -> None:
    peak = np.zeros((16, 24, 8))
    peak[8, 12, 4] = 1
    expected = ndimage.gaussian_filter(peak, (2, 3, 1), mode="constant")

    weights = gaussian_weights((16, 24, 8))

    assert np.allclose(weights, expected / expected.max(), rtol=1e-4)
    assert weights.min() > 0


def test_tiles_without_body_are_not_needed() -> None:
    hu = np.full((40, 40, 40), -1000, dtype=np.int16)
    hu[4:12, 4:12, 4:12] = 30

    tiling = lay_tiles((40, 40, 40), (16, 16, 16), 0.0, find_body(hu, (2.0, 2.0, 2.0)))

    assert tiling.needed[0, 0, 0]
    assert not tiling.needed[-1].any()
    assert tiling.count < tiling.needed.size


def test_lungs_belong_to_the_body_and_the_air_around_it_does_not() -> None:
    hu = np.full((60, 60, 20), -1000, dtype=np.int16)
    hu[10:50, 10:50] = 30
    hu[20:40, 20:40] = -900  # open above and below, enclosed within each slice

    body = find_body(hu, (4.0, 4.0, 4.0)).voxels(hu.shape)

    assert body[10:50, 10:50].all()
    assert not body[:8].any() and not body[:, 53:].any()


def test_every_dense_voxel_is_in_the_body_whatever_the_blocks() -> None:
    hu = np.where(np.random.default_rng(0).random((23, 17, 11)) > 0.999, 0, -1000).astype(np.int16)

    for spacing in ((1.0, 1.0, 1.0), (0.7, 1.9, 5.0)):
        body = find_body(hu, spacing).voxels(hu.shape)
        assert body[hu > -300].all()
        assert body.shape == hu.shape


def test_an_image_of_air_alone_needs_no_tile() -> None:
    hu = np.full((20, 20, 20), -1000, dtype=np.int16)

    assert lay_tiles((20, 20, 20), (8, 8, 8), 0.5, find_body(hu, (1.0, 1.0, 1.0))).count == 0
