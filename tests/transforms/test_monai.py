"""In a user's own MONAI Compose: seeds, types, keys, affines, and wrong input."""

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose

from medseg.errors import GeometryError, LabelError, UsageError, VoxelError
from medseg.transforms import AffineConfig, ElasticConfig, FlipConfig, NoiseConfig, TransformsConfig, build_pipeline
from medseg.transforms.flip import FlipParams
from medseg.transforms.registry import EVERY_STEP
from medseg.transforms.warp import AffineParams, Warp

NAMES = [step.name for step in EVERY_STEP]
OBLIQUE = torch.tensor(
    [[-0.8, 0.1, 0.0, 90.0], [0.1, 0.8, 0.2, -40.0], [0.0, -0.1, 2.0, 12.0], [0.0, 0.0, 0.0, 1.0]],
    dtype=torch.float64,
)


def make_sample(shape=(20, 18, 10)) -> dict:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, *shape), dtype=torch.int16, generator=generator)
    return {"image": labels[:1].float() * 100, "labels": labels}


def build(step, **options):
    return step.model_copy(update={"probability": 1.0}).build(["image", "labels"], **options)


def composed() -> Compose:
    return Compose([build(step) for step in EVERY_STEP])


def test_set_random_state_governs_a_whole_compose():
    first = composed().set_random_state(5)(make_sample())
    again = composed().set_random_state(5)(make_sample())
    other = composed().set_random_state(6)(make_sample())
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["labels"], again["labels"])
    assert not torch.equal(first["image"], other["image"])


def test_a_pipeline_in_a_compose_is_governed_too():
    one = Compose([build_pipeline(TransformsConfig())])
    results = [one.set_random_state(seed)(make_sample())["image"] for seed in (3, 3, 4)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize("step", EVERY_STEP, ids=NAMES)
def test_recorded_parameters_replay_the_call(step):
    transform = build(step)
    result = transform(make_sample())
    replayed = transform.apply(make_sample(), transform.params)
    assert torch.equal(result["image"], replayed["image"]) and torch.equal(result["labels"], replayed["labels"])


@pytest.mark.parametrize("step", EVERY_STEP, ids=NAMES)
@pytest.mark.parametrize("kind", [np.ndarray, torch.Tensor, MetaTensor])
def test_type_comes_back_as_it_went_in_with_equal_values(step, kind):
    plain = make_sample()
    convert = {np.ndarray: lambda t: t.numpy(), torch.Tensor: lambda t: t, MetaTensor: MetaTensor}[kind]
    transform = build(step)
    expected = transform.set_random_state(1)(plain)
    result = transform.set_random_state(1)({key: convert(value) for key, value in plain.items()})
    for key, value in result.items():
        assert type(value) is kind
        assert torch.equal(torch.as_tensor(value), expected[key])


@pytest.mark.parametrize("step", EVERY_STEP, ids=NAMES)
def test_both_random_number_sources_of_numpy_serve(step):
    transform = build(step)
    for rng in (np.random.RandomState(0), np.random.default_rng(0)):
        assert transform.sample(rng, (18, 18, 10), (1.0, 1.0, 2.0)) is not None


def peak_world(meta: MetaTensor) -> np.ndarray:
    weights = meta.as_tensor()[0].double().numpy()
    index = [(weights * axis).sum() / weights.sum() for axis in np.indices(weights.shape)]
    return meta.affine.numpy() @ [*index, 1]


SPACING_MM = (0.806, 0.812, 2.01)
TURN = Warp(SPACING_MM, AffineParams((8.0, -5.0, 25.0), (1.2, 1.1, 1.2)), outside_hu=0)
SHIFT = Warp(SPACING_MM, AffineParams(translation_mm=(3.0, -2.0, 4.0)), outside_hu=0)


@pytest.mark.parametrize(
    ("config", "params"),
    [(FlipConfig(), FlipParams((0, 2))), (AffineConfig(), TURN), (AffineConfig(), SHIFT)],
    ids=["flip", "turn", "shift"],
)
def test_a_marked_point_keeps_its_world_position(config, params):
    grid = np.indices((24, 26, 28)) - np.array([9, 15, 13])[:, None, None, None]
    blob = MetaTensor(torch.from_numpy(np.exp(-(grid**2).sum(0) / 8)).float()[None], affine=OBLIQUE)
    moved = config.build("image").apply({"image": blob}, params)["image"]
    np.testing.assert_allclose(peak_world(moved), peak_world(blob), atol=0.02)
    assert torch.equal(blob.affine, OBLIQUE) and not torch.equal(moved.affine, OBLIQUE)


def test_a_pipelines_affine_is_that_of_its_steps_one_after_the_other():
    steps = (AffineConfig(probability=1), FlipConfig(probability=1))
    pipeline = build_pipeline(TransformsConfig(preset="none", steps=steps))
    sample = {key: MetaTensor(value, affine=OBLIQUE) for key, value in make_sample().items()}
    spacing_mm = tuple(OBLIQUE[:3, :3].norm(dim=0).tolist())
    warp, flip = pipeline.sample((20, 18, 10), spacing_mm, (0, 0))
    whole = pipeline(sample, seed=(0, 0))
    stepwise = steps[1].build().apply(steps[0].build().apply(sample, warp), flip)
    torch.testing.assert_close(whole["image"].affine, stepwise["image"].affine)
    torch.testing.assert_close(whole["image"].as_tensor(), stepwise["image"].as_tensor())
    torch.testing.assert_close(whole["labels"].affine, whole["image"].affine)


def test_elastic_and_intensity_keep_the_affine():
    sample = {"image": MetaTensor(make_sample()["image"], affine=OBLIQUE)}
    for step in (ElasticConfig(probability=1), NoiseConfig(probability=1)):
        torch.testing.assert_close(step.build("image")(sample)["image"].affine, OBLIQUE)


def test_spacing_comes_from_the_metatensor_unless_given():
    sample = {"image": MetaTensor(make_sample()["image"], affine=torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0])))}
    affine = AffineConfig(probability=1).build("image")
    affine(sample)
    assert affine.params.spacing_mm == (1, 2, 3)
    given = AffineConfig(probability=1).build("image", spacing_mm=(4.0, 5.0, 6.0))
    given(sample)
    assert given.params.spacing_mm == (4, 5, 6)


def test_missing_key_is_an_error_unless_allowed():
    image = {"image": make_sample()["image"]}
    with pytest.raises(UsageError, match=r"no 'seg'.*one of image"):
        FlipConfig().build(["image", "seg"])(image)
    assert set(FlipConfig().build(["image", "seg"], allow_missing_keys=True)(image)) == {"image"}


def test_sample_without_any_of_the_keys_is_an_error():
    with pytest.raises(UsageError, match="none of the keys"):
        FlipConfig().build("image", allow_missing_keys=True)({"other": 1})


def test_labels_on_another_grid_are_refused():
    sample = make_sample()
    sample["labels"] = sample["labels"][:, :-1]
    with pytest.raises(GeometryError, match=r"\(20, 18, 10\), got \(19, 18, 10\)"):
        FlipConfig().build()(sample)


def test_image_without_channel_axis_is_refused():
    with pytest.raises(GeometryError, match="channel axis"):
        FlipConfig().build("image")({"image": torch.zeros(4, 4, 4)})


def test_integer_image_is_refused():
    with pytest.raises(LabelError, match="label_keys"):
        FlipConfig().build(["image", "seg"])({"image": torch.zeros(1, 4, 4, 4), "seg": torch.zeros(1, 4, 4, 4).short()})


def test_class_indices_stored_as_floats_are_refused():
    sample = make_sample()
    sample["labels"] = sample["labels"].float()
    with pytest.raises(LabelError, match=r"sum to 1.*int16"):
        AffineConfig().build()(sample)


def test_something_else_than_an_array_is_refused():
    with pytest.raises(UsageError, match="got str"):
        FlipConfig().build("image")({"image": "c001.nii.gz"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_voxels_are_refused_with_their_number(value):
    sample = make_sample()
    sample["image"][0, 1, 2, :3] = value
    with pytest.raises(VoxelError, match=r"'image' holds NaN.*3 of 3600 voxels.*-1024 HU"):
        NoiseConfig().build("image")(sample)


def test_huge_but_finite_voxels_are_no_nan():
    sample = {"image": torch.full((1, 4, 4, 4), 3e38)}
    assert torch.equal(FlipConfig(probability=1).build("image")(sample)["image"], sample["image"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("step", EVERY_STEP, ids=NAMES)
def test_other_precisions_come_back_as_they_came_computed_in_float32(step, dtype):
    sample = make_sample()
    transform = build(step)
    expected = transform.set_random_state(1)(sample)["image"]
    result = transform.set_random_state(1)({**sample, "image": sample["image"].to(dtype)})["image"]
    assert result.dtype == dtype
    assert torch.equal(result, expected.to(dtype))


def test_read_only_and_byte_swapped_arrays_of_files_are_taken():
    image = make_sample()["image"].numpy().astype(">f4")
    image.flags.writeable = False
    result = FlipConfig(probability=1, axes=(0,)).build("image")({"image": image})["image"]
    assert np.array_equal(result, image[:, ::-1]) and result.dtype == np.float32
