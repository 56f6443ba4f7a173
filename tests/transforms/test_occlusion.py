"""Occlusion: boxes of the right size, inside the image, filled as said."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError, GeometryError, UsageError
from medseg.transforms.occlusion import (
    BlankRectanglesConfig,
    BlankRectanglesParams,
    OcclusionConfig,
    OcclusionParams,
    blob,
    mean_of,
)

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


def test_metal_fills_with_3000():
    assert (occluded(random_image(), "metal")[INSIDE] == 3000).all()


def with_donor(donor: torch.Tensor | None, channels: int = 1) -> torch.Tensor:
    sample = {"image": random_image().repeat(channels, 1, 1, 1)} | ({} if donor is None else {"donor": donor})
    return OcclusionConfig().build("image").apply(sample, OcclusionParams((BOX,), "tissue", seed=1))["image"]


def test_tissue_is_a_piece_of_the_donor_and_lies_in_the_box_alone():
    donor = torch.arange(20.0**3).reshape(1, 20, 20, 20)
    changed = with_donor(donor)
    piece = changed[INSIDE]
    first = int(piece[0, 0, 0, 0])
    i, j, k = first // 400, first // 20 % 20, first % 20
    assert torch.equal(piece, donor[:, i : i + 5, j : j + 4, k : k + 3])
    assert int((changed != random_image()).sum()) == 5 * 4 * 3


def test_a_donor_thinner_than_the_box_is_continued_by_reflection():
    donor = torch.arange(3.0)[None, :, None, None].expand(1, 3, 9, 1)
    assert with_donor(donor)[0, 2:7, 3, 4].tolist() == [0, 1, 2, 1, 0]


def test_tissue_without_a_donor_is_refused():
    with pytest.raises(UsageError, match="donor"):
        with_donor(None)


def test_a_donor_of_other_channels_is_refused():
    with pytest.raises(GeometryError, match="channels"):
        with_donor(torch.zeros(3, 9, 9, 9), channels=2)


@pytest.mark.parametrize("shape", [(40, 30, 20), (9, 1, 7), (1, 1, 1)])
def test_a_blob_fills_part_of_its_box_and_always_the_middle(shape):
    masks = [blob(shape, seed, torch.device("cpu")) for seed in range(20)]
    shares = [float(mask.float().mean()) for mask in masks]
    assert all(mask.shape == shape and mask[tuple(n // 2 for n in shape)] for mask in masks)
    if min(shape) > 1:
        assert min(shares) > 0.1 and max(shares) < 0.6 and len(set(shares)) > 15


def test_a_blob_changes_nothing_outside_its_box():
    image = random_image()
    blobs = OcclusionParams((BOX,), "air", 1, "blob")
    changed = OcclusionConfig().build().apply_image(image, blobs) != image
    assert 0 < int(changed.sum()) == int(changed[INSIDE].sum()) < 5 * 4 * 3


@pytest.mark.parametrize("threads", [2, 3])
def test_mean_does_not_depend_on_threads(threads):
    image = torch.randn(2, 61, 53, 47, generator=torch.Generator().manual_seed(0))
    before, alone = torch.get_num_threads(), mean_of(image)
    torch.set_num_threads(threads)
    together = mean_of(image)
    torch.set_num_threads(before)
    assert torch.equal(alone, together)


def test_blank_rectangles_hold_their_own_mean_in_any_unit():
    step, drawn = BlankRectanglesConfig().build(), BlankRectanglesParams((BOX,))
    image = torch.cat([random_image(), random_image() / 100 + 7])
    blank = step.apply_image(image, drawn)
    for channel in range(2):
        expected = image[channel][INSIDE[1:]].mean().expand(5, 4, 3)
        torch.testing.assert_close(blank[channel][INSIDE[1:]], expected)
    assert int((blank != image).sum()) == 2 * 5 * 4 * 3


def test_blank_rectangles_measure_a_tenth_to_a_third_of_the_image():
    step = BlankRectanglesConfig(probability=1).build()
    drawn = [step.sample(np.random.default_rng(seed), (60, 30, 1), (1, 1, 1)) for seed in range(200)]
    edges = np.array([edges for params in drawn for _, edges in params.boxes])
    assert edges.min(0).tolist() == [6, 3, 1] and edges.max(0).tolist() == [20, 10, 1]
    assert {len(params.boxes) for params in drawn} == {1, 2, 3, 4}


def test_blank_rectangles_pass_over_channels():
    drawn = (
        BlankRectanglesConfig(probability=1, channel_probability=0)
        .build()
        .sample(np.random.default_rng(0), (9, 9, 9), (1, 1, 1))
    )
    image = torch.randn(2, 9, 9, 9)
    assert torch.equal(BlankRectanglesConfig().build().apply_image(image, drawn), image)
