"""Motion: against the reconstruction of a body that really moves, on its slices alone, its mean position kept."""

import numpy as np
import pytest
import torch

from medseg.transforms.motion import MotionConfig, MotionParams, moved_planes, shifted_share
from medseg.transforms.projection import Rays, reconstruct

SPACING = (1.0, 1.0, 3.0)


def params(**changes) -> MotionParams:
    settings = {"shift_mm": 6.0, "direction_deg": 30.0, "first_view_deg": 20.0, "begins_at": 0.3, "lasts": 0.2,
                "slices": (0, 4), "spacing_mm": SPACING}  # fmt: skip
    return MotionParams(**(settings | changes))


def random_image(shape=(32, 30, 12)) -> torch.Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)) * 100


def test_no_shift_is_the_identity():
    image = random_image()
    assert torch.equal(MotionConfig().build().apply_image(image, params(shift_mm=0.0)), image)


def test_artefact_is_that_of_a_body_that_moves_between_views():
    rays, drawn, sigma, centre = Rays((96, 96), (1.0, 1.0), 180), params(), 4.0, np.array([10.0, -6.0])
    shares = shifted_share(np.rad2deg(rays.radians()), drawn)[:, None] * drawn.shift_mm
    direction = np.deg2rad(drawn.direction_deg)
    places = centre + shares * np.array([np.cos(direction), np.sin(direction)])
    bins = np.arange(rays.bins) - rays.middle
    away = bins - (places * rays.directions()).sum(1, keepdims=True)
    views = np.exp(-0.5 * (away / sigma) ** 2) * np.sqrt(2 * np.pi) * sigma  # projections of a Gaussian blob
    scanned = reconstruct(torch.from_numpy(np.float32(views))[..., None], rays)[..., 0]

    x, y = (np.arange(96) - 47.5 - c for c in centre)
    still = np.exp(-0.5 * (x[:, None] ** 2 + y[None] ** 2) / sigma**2)
    found = moved_planes(torch.from_numpy(np.float32(still))[None, ..., None], drawn)[0, ..., 0]
    assert float((found - scanned).abs().max()) < 0.03 and float((found - torch.from_numpy(still)).abs().max()) > 0.1


def test_slices_beyond_the_slab_stay():
    image = random_image()
    moved = MotionConfig().build().apply_image(image, params(slices=(4, 8)))
    changed = (moved != image).any(dim=0).any(dim=0).any(dim=0)
    assert changed.tolist() == [False] * 4 + [True] * 4 + [False] * 4


@pytest.mark.parametrize(("begins_at", "lasts"), [(0.0, 1.0), (0.3, 0.2), (0.9, 0.1)])
def test_shift_has_mean_zero_over_the_scan(begins_at, lasts):
    share = shifted_share(np.arange(0.005, 180, 0.01), params(begins_at=begins_at, lasts=lasts))
    assert share.mean() == pytest.approx(0, abs=1e-3) and share.max() - share.min() == pytest.approx(1, abs=1e-3)


def test_a_constant_image_stays_constant():
    moved = moved_planes(torch.full((1, 20, 17, 3), 40.0), params())
    torch.testing.assert_close(moved, torch.full((1, 20, 17, 3), 40.0))


def test_drawn_slab_has_its_height_and_lies_inside():
    step = MotionConfig(probability=1, slab_mm=(9, 12)).build()
    drawn = [step.sample(np.random.default_rng(seed), (20, 20, 30), SPACING) for seed in range(100)]
    assert {p.slices[1] - p.slices[0] for p in drawn} == {3, 4}
    assert min(p.slices[0] for p in drawn) == 0 and max(p.slices[1] for p in drawn) == 30
    assert all(p.begins_at >= 0 and p.begins_at + p.lasts <= 1 + 1e-9 for p in drawn)
