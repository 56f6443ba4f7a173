"""Occlusion: boxes of the right size, inside the image, filled as said."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.occlusion import OcclusionConfig, OcclusionParams

BOX = ((2, 3, 4), (5, 4, 3))
INSIDE = (slice(None), slice(2, 7), slice(3, 7), slice(4, 7))


def random_image() -> torch.Tensor:
    return torch.randn(1, 12, 12, 12, generator=torch.Generator().manual_seed(0)) * 30 + 60


def occluded(image: torch.Tensor, fill: str) -> torch.Tensor:
    return OcclusionConfig().build().apply_image(image, OcclusionParams((BOX,), fill, seed=1))


@pytest.mark.parametrize("fill", ["air", "mean", "noise"])
def test_nothing_changes_outside_the_box(fill):
    image = random_image()
    changed = occluded(image, fill) != image
    assert int(changed.sum()) == 5 * 4 * 3 and bool(changed[INSIDE].all())


def test_air_fills_with_minus_1024():
    assert (occluded(random_image(), "air")[INSIDE] == -1024).all()


def test_mean_fills_with_the_images_mean():
    image = random_image()
    torch.testing.assert_close(occluded(image, "mean")[INSIDE], image.mean().expand(1, 5, 4, 3))


def test_noise_fills_with_the_images_mean_and_spread():
    image = torch.randn(1, 40, 40, 40, generator=torch.Generator().manual_seed(0)) * 30 + 60
    whole = OcclusionParams((((0, 0, 0), (20, 20, 20)),), "noise", seed=2)
    box = OcclusionConfig().build().apply_image(image, whole)[:, :20, :20, :20]
    assert float(box.mean()) == pytest.approx(60, abs=1.5) and float(box.std()) == pytest.approx(30, rel=0.03)


def test_sampled_boxes_have_their_size_in_millimetres_and_lie_inside():
    occlusion = OcclusionConfig(probability=1, boxes=(1, 3), size_mm=(10, 20)).build()
    rng, spacing_mm, shape = np.random.default_rng(0), (1.0, 2.0, 5.0), (64, 48, 20)
    drawn = [occlusion.sample(rng, shape, spacing_mm) for _ in range(200)]
    boxes = np.array([box for params in drawn for box in params.boxes])
    starts, edges = boxes[:, 0], boxes[:, 1]
    assert (starts >= 0).all() and (starts + edges <= shape).all()
    assert (edges * spacing_mm >= 10 - np.array(spacing_mm) / 2).all()
    assert (edges * spacing_mm <= 20 + np.array(spacing_mm) / 2).all()
    assert {len(params.boxes) for params in drawn} == {1, 2, 3}
    assert {params.fill for params in drawn} == {"air", "mean", "noise", "metal"}


def test_box_is_cut_to_half_of_a_small_image():
    occlusion = OcclusionConfig(probability=1, size_mm=(100, 200)).build()
    params = occlusion.sample(np.random.default_rng(0), (10, 1, 7), (1, 1, 1))
    assert {edges for _, edges in params.boxes} == {(5, 1, 3)}


@pytest.mark.parametrize("wrong", [{"fills": []}, {"fills": ["water"]}, {"boxes": [0, 1]}, {"size_mm": [5, 1]}])
def test_wrong_occlusion_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build_config(OcclusionConfig, wrong)
