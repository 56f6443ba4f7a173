import numpy as np
import pytest

from medseg.evaluation import dose_response_image as image
from medseg.evaluation.dose_response_way import thicker
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume

GRID = Geometry((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))


def volume(hu: float = 50.0, grid: Geometry = GRID) -> Volume:
    return Volume(np.full(grid.shape, hu, dtype=np.float32), grid)


def test_gamma_keeps_the_ends_of_the_window_and_what_lies_beyond():
    hu = np.array([-1000, -160, 40, 240, 1000], dtype=np.float32).reshape(5, 1, 1)
    bent = image.bend_gamma(Volume(hu, Geometry((5, 1, 1), np.eye(4))), 2.0, 0).ravel()
    np.testing.assert_allclose(bent, [-1000, -160, -60, 240, 1000], atol=1e-3)  # (1/2)^2 of 400 HU above -160


def test_a_quarter_of_the_dose_adds_noise_of_root_3_times_10_hu():
    added = image.add_noise(volume(), 0.25, 3) - 50.0
    assert added.std() == pytest.approx(np.sqrt(3) * 10, rel=0.03)


def test_all_doses_share_one_pattern_of_noise():
    half, tenth = (image.add_noise(volume(0.0), dose, 3) for dose in (0.5, 0.1))
    np.testing.assert_allclose(tenth, half * 3, rtol=1e-5)  # sqrt(9) / sqrt(1)


def test_blur_keeps_the_mean_and_spreads_a_point_by_its_sigma():
    hu = np.zeros(GRID.shape, dtype=np.float32)
    hu[10, 10, 10] = 1000
    blurred = image.blur(Volume(hu, GRID), 4.0, 0)
    profile = blurred.sum(axis=(1, 2))
    assert blurred.sum() == pytest.approx(1000, rel=1e-3)
    assert np.sqrt(np.sum(profile * (np.arange(20) - 10) ** 2) / profile.sum()) == pytest.approx(2, rel=0.02)


def test_sharpening_leaves_a_flat_image_and_acts_within_slices_only():
    np.testing.assert_allclose(image.sharpen(volume(), 4.0, 0), 50.0, rtol=1e-5)
    ramp = Volume(np.broadcast_to(np.float32([0, 0, 0, 900, 0, 0]), (5, 5, 6)).copy(), Geometry((5, 5, 6), np.eye(4)))
    np.testing.assert_allclose(image.sharpen(ramp, 4.0, 0), ramp.hu, atol=1e-2)


def test_a_thick_slice_is_the_mean_of_the_slices_that_it_covers_shares_included():
    grid = Geometry((1, 1, 4), np.diag([1.0, 1.0, 2.0, 1.0]))
    hu = np.array([0, 10, 20, 30], dtype=np.float32).reshape(1, 1, 4)
    thick = image.thicken(Volume(hu, grid), 3.0, 0).ravel()
    # slices of 3 mm over 2 mm ones: 0 and half of 10; half of 10 and 20; 30 alone
    np.testing.assert_allclose(thick, [10 / 3, 50 / 3, 30], rtol=1e-6)
    assert thicker(grid, 3.0).canvas.shape == (1, 1, 3)


@pytest.mark.parametrize("share", [0.05, 0.25, 1.0])
def test_occlusion_hides_its_share_of_the_body(share):
    hidden = image.occluded(volume(), share, 5)
    assert hidden.mean() == pytest.approx(share)  # the whole volume is body and one cube of 20 layers


def test_what_is_hidden_at_a_dose_is_hidden_at_every_larger_one():
    grid = Geometry((40, 40, 40), np.diag([3.0, 3.0, 3.0, 1.0]))
    small, large = (image.occluded(volume(grid=grid), share, 5) for share in (0.1, 0.4))
    assert not (small & ~large).any()
    assert small.mean() == pytest.approx(0.1, abs=0.005)
    assert large.mean() == pytest.approx(0.4, abs=0.005)


def test_occlusion_of_a_volume_without_body_hides_nothing():
    assert not image.occluded(volume(-1000.0), 0.4, 5).any()


def test_hidden_tissue_becomes_air_and_the_rest_stays():
    hidden = image.occluded(volume(), 0.25, 5)
    hu = image.occlude(volume(), 0.25, 5)
    assert (hu[hidden] == -1000).all()
    assert (hu[~hidden] == 50).all()
