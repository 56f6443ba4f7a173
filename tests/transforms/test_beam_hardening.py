"""Beam hardening: the cup of a water cylinder from its formula, and the dark band between two bones."""

import numpy as np
import pytest
import torch

from medseg.transforms.beam_hardening import BeamHardeningConfig, BeamHardeningParams, hardening_hu
from medseg.transforms.projection import WATER_PER_MM

SPACING = (3.0, 3.0, 3.0)
AWAY = (np.arange(96) - 47.5) * 3
X, Y = AWAY[:, None], AWAY[None]


def cylinder(hu: np.ndarray | float = 0.0) -> torch.Tensor:
    plane = np.where(np.hypot(X, Y) < 100, hu, -1000).astype(np.float32)
    return torch.from_numpy(np.broadcast_to(plane[None, ..., None], (1, 96, 96, 6)).copy())


def artefact(image: torch.Tensor, water: float, bone: float) -> np.ndarray:
    return hardening_hu(image, BeamHardeningParams(water, bone, SPACING))[0, ..., 3].numpy()


def test_no_strength_is_the_identity():
    image = cylinder()
    assert torch.equal(BeamHardeningConfig().build().apply_image(image, BeamHardeningParams(0, 0, SPACING)), image)


def test_cup_of_a_water_cylinder_is_that_of_its_formula():
    found = artefact(cylinder(), water=0.01, bone=0)
    mu_r = WATER_PER_MM * 100
    for distance in (0, 30, 60, 80):
        # L^2 = 4 mu^2 (R^2 - s^2) is the projection of (8 mu^2 / pi) sqrt(R^2 - r^2); L0 = 0.7 * 2 mu R.
        formula = -10 * mu_r * (8 / np.pi * np.sqrt(1 - (distance / 100) ** 2) - 1.4)
        ring = np.abs(np.hypot(X, Y) - distance) < 6
        assert found[ring].mean() == pytest.approx(formula, abs=2.0)


def test_a_dark_band_joins_two_bones_and_is_not_beside_them():
    bones = np.where((np.hypot(X - 50, Y) < 15) | (np.hypot(X + 50, Y) < 15), 1200, 0)
    found = artefact(cylinder(bones), water=0, bone=0.1)
    between, across = found[46:50, 46:50].mean(), found[46:50, 66:70].mean()
    assert between < -8 and across > between + 8


def test_air_far_from_the_body_hardly_changes():
    found = artefact(cylinder(), water=0.01, bone=0.1)
    assert np.abs(found[np.hypot(X, Y) > 130]).max() < 3


def test_channels_are_treated_alike():
    image = torch.cat([cylinder(), cylinder(50.0)])
    both = hardening_hu(image, BeamHardeningParams(0.01, 0.05, SPACING))
    torch.testing.assert_close(both[1:], hardening_hu(image[1:], BeamHardeningParams(0.01, 0.05, SPACING)))


def test_drawn_strengths_lie_in_their_ranges():
    step = BeamHardeningConfig(probability=1, water=(0.001, 0.002), bone=(0.03, 0.04)).build()
    drawn = [step.sample(np.random.default_rng(seed), (8, 8, 8), SPACING) for seed in range(50)]
    assert all(0.001 <= p.water <= 0.002 and 0.03 <= p.bone <= 0.04 and p.spacing_mm == SPACING for p in drawn)
