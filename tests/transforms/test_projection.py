"""Parallel rays: line integrals of known bodies, their reconstruction, and the two ways to compute both."""

import math

import numpy as np
import pytest
import torch

from medseg.transforms.projection import (
    WATER_PER_MM,
    Rays,
    _backproject_torch,
    _project_torch,
    attenuation,
    backproject,
    coarse_rays,
    project,
    reconstruct,
)

RAYS = Rays((64, 48), (2.0, 2.0), 90)


def disc(rays: Rays, radius_mm: float) -> torch.Tensor:
    x, y = ((np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(rays.shape, rays.pixel_mm, strict=True))
    return torch.from_numpy((np.hypot(x[:, None], y[None]) < radius_mm).astype(np.float32))[..., None]


def test_longest_path_through_a_disc_is_its_diameter():
    rays = Rays((64, 48), (2.0, 2.0), 36)  # none at 45 degrees, where rows of pixels and bins beat against each other
    middle = project(disc(rays, 30), rays)[:, rays.bins // 2, 0]
    torch.testing.assert_close(middle, torch.full((36,), 60.0), rtol=0.05, atol=0)


@pytest.mark.parametrize("shape", [(64, 48), (1, 30), (7, 1), (1, 1)])
def test_every_angle_sees_the_whole_mass(shape):
    rays = Rays(shape, (2.0, 3.0), 12)
    image = torch.rand(*shape, 3, generator=torch.Generator().manual_seed(0))
    mass = image.sum(dim=(0, 1)) * 2 * 3
    torch.testing.assert_close(project(image, rays).sum(1) * rays.bin_mm, mass.expand(12, 3))


def test_reconstruction_of_a_disc_is_the_disc():
    image = disc(RAYS, 30)
    found = reconstruct(project(image, RAYS), RAYS)
    assert float(found[disc(RAYS, 24) > 0].sub(1).abs().max()) < 0.05
    assert float(found[disc(RAYS, 36) == 0].abs().max()) < 0.05


def test_backprojection_of_ones_is_one():
    torch.testing.assert_close(backproject(torch.ones(90, RAYS.bins, 2), RAYS), torch.ones(64, 48, 2))


def test_torch_gives_what_the_compiled_loops_give():
    image = torch.rand(64 * 48, 5, generator=torch.Generator().manual_seed(0))
    sinogram = project(image.reshape(64, 48, 5), RAYS)
    torch.testing.assert_close(_project_torch(image, RAYS) * 2, sinogram)
    twin = _backproject_torch(sinogram, RAYS).reshape(64, 48, 5) / 90
    torch.testing.assert_close(backproject(sinogram, RAYS), twin)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_do_not_change_a_bit(threads):
    image = torch.rand(64, 48, 5, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = reconstruct(project(image, RAYS), RAYS)
    torch.set_num_threads(threads)
    together = reconstruct(project(image, RAYS), RAYS)
    torch.set_num_threads(before)
    assert torch.equal(alone, together)


def test_water_attenuates_as_said_and_nothing_is_below_vacuum():
    found = attenuation(torch.tensor([0.0, -1000.0, -2048.0, 1000.0])).tolist()
    assert found == pytest.approx([WATER_PER_MM, 0, 0, 2 * WATER_PER_MM], abs=1e-8)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((128, 96), (1.0, 1.0)), ((128, 40), (0.7, 3.0)), ((1, 200), (1.0, 1.0))]
)
def test_coarse_pixels_cover_the_plane_and_are_no_finer_than_voxels(shape, spacing):
    rays = coarse_rays(shape, spacing, 32, 10)
    for n, edge, coarse, pixel in zip(shape, spacing, rays.shape, rays.pixel_mm, strict=True):
        assert math.isclose(n * edge, coarse * pixel) and pixel >= edge
    assert max(rays.shape) <= 32
