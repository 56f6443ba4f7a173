"""A random crop: every place alike, bit by bit a slice, and one resampling together with a warp."""

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose

from medseg.config import build_config
from medseg.errors import ConfigError, GeometryError
from medseg.transforms.crop import CropConfig
from medseg.transforms.deformation import AffineParams, Warp
from medseg.transforms.pipeline import Pipeline
from medseg.transforms.rot90 import Rot90Config
from medseg.transforms.spatial import AffineConfig, ElasticConfig
from medseg.transforms.warp import warp_image, warp_labels

SHAPE, KEYS = (9, 8, 7), ("image", "labels")


def sample() -> dict:
    image = torch.arange(9.0 * 8 * 7).reshape(1, *SHAPE)
    return {"image": image, "labels": image.to(torch.int16)}


def test_a_crop_is_the_slice_that_its_parameters_name():
    crop = CropConfig(size=(4, 3, 2)).build()
    cut = crop.set_random_state(0)(sample())
    x, y, z = crop.params.patch_start
    assert torch.equal(cut["image"], sample()["image"][:, x : x + 4, y : y + 3, z : z + 2])
    assert torch.equal(cut["labels"], cut["image"].to(torch.int16))


def test_every_place_is_drawn():
    crop, rng = CropConfig(size=(8, 8, 5)).build(), np.random.default_rng(0)
    drawn = [crop.sample(rng, SHAPE, (1.0, 1.0, 1.0)).patch_start for _ in range(600)]
    assert set(drawn) == {(x, 0, z) for x in (0, 1) for z in (0, 1, 2)}
    assert all(abs(drawn.count(place) / 600 - 1 / 6) < 0.07 for place in set(drawn))  # 4.6 standard errors


def test_probability_zero_cuts_the_middle():
    crop = CropConfig(size=(3, 4, 7), probability=0).build()
    assert crop.sample(np.random.default_rng(0), SHAPE, (1.0, 1.0, 1.0)).patch_start == (3, 2, 0)


def test_a_cropped_metatensor_keeps_its_world_positions():
    image = MetaTensor(torch.from_numpy(np.indices(SHAPE)).float(), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    cut = CropConfig(size=(4, 3, 2)).build("image")({"image": image})["image"]
    world = cut.affine @ torch.tensor([1.0, 2, 1, 1], dtype=cut.affine.dtype)
    torch.testing.assert_close(world[:3], cut.as_tensor()[:, 1, 2, 1].to(world) * torch.tensor([2.0, 3, 4]).to(world))


def test_crop_and_affine_stand_in_a_compose():
    steps = Compose([CropConfig(size=(6, 6, 6)).build(), AffineConfig(probability=1).build()])
    assert steps.set_random_state(0)(sample())["labels"].shape == (1, 6, 6, 6)


def test_a_pipeline_resamples_once_for_crop_affine_and_elastic():
    steps = [CropConfig(size=(6, 5, 4)), AffineConfig(probability=1), ElasticConfig(probability=1)]
    pipeline = Pipeline([(step.name, step.build()) for step in steps], keys=KEYS, label_keys=("labels",))
    crop, affine, elastic = pipeline.sample(SHAPE, (1.0, 1.0, 1.0), seed=(0, 1))
    joined = crop.joined(affine).joined(elastic)
    assert torch.equal(pipeline(sample(), seed=(0, 1))["image"], warp_image(sample()["image"], joined))


def test_a_compose_with_a_crop_is_undone_to_the_samples_own_grid():
    image = MetaTensor(torch.full((1, *SHAPE), 40.0))
    steps = Compose([CropConfig(size=(6, 6, 6)).build("image"), Rot90Config(probability=1).build("image")])
    back = steps.inverse(steps.set_random_state(0)({"image": image}))["image"]
    assert back.shape == (1, *SHAPE)
    assert (back.as_tensor() == 40).sum() == 6**3 and (back.as_tensor() == -1024).sum() == 9 * 8 * 7 - 6**3
    torch.testing.assert_close(back.affine, image.affine)


def test_joined_to_an_affine_the_corners_show_what_lies_around_the_patch():
    crop = Warp((1.0, 1.0, 1.0), patch_shape=(8, 8, 4), patch_start=(9, 8, 3))
    joined = crop.joined(Warp((1.0, 1.0, 1.0), AffineParams(rotation_deg=(0.0, 0.0, 45.0)), outside_hu=-500.0))
    image = torch.full((1, 24, 24, 10), 40.0)
    assert joined is not None and joined.outside_hu == -500
    torch.testing.assert_close(warp_image(image, joined), torch.full((1, 8, 8, 4), 40.0))
    assert (warp_labels(torch.ones(1, 24, 24, 10, dtype=torch.uint8), joined) == 1).all()


def test_a_crop_after_a_warp_is_not_joined():
    turn, crop = Warp((1.0, 1.0, 1.0), AffineParams((1.0, 0.0, 0.0))), Warp((1.0, 1.0, 1.0), patch_shape=(2, 2, 2))
    assert turn.joined(crop) is None


def test_a_patch_larger_than_the_sample_is_refused():
    with pytest.raises(GeometryError, match=r"at most \(9, 8, 7\), got \(8, 9, 7\)"):
        CropConfig(size=(8, 9, 7)).build()(sample())


def test_a_patch_without_voxels_is_refused():
    with pytest.raises(ConfigError, match="at least 1 voxel"):
        build_config(CropConfig, {"size": [4, 0, 4]})
