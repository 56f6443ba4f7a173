"""MONAI's own ways to undo: Compose.inverse, Invertd, lazy=True; and parameters as words and as JSON."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import decollate_batch
from monai.transforms.compose import Compose
from monai.transforms.post.dictionary import Invertd
from monai.transforms.spatial.dictionary import Flipd
from monai.transforms.utility.dictionary import CastToTyped
from torch import Tensor

from medseg.errors import LabelError, UsageError
from medseg.transforms import (
    AffineConfig,
    ElasticConfig,
    FlipConfig,
    NoiseConfig,
    Pipeline,
    TransformsConfig,
    WindowConfig,
    build_pipeline,
)

AFFINE = torch.tensor([[-1.5, 0, 0, 90], [0, 1.5, 0, -40], [0, 0, 3, 12], [0, 0, 0, 1]], dtype=torch.float64)
SHAPE = (24, 22, 12)
KEYS = ["image", "labels"]


def make_sample() -> dict[str, MetaTensor]:
    """Two boxes that are each other's mirror image, as readers would draw them."""
    labels = torch.zeros(1, *SHAPE, dtype=torch.int16)
    labels[0, 5:9, 8:14, 4:8], labels[0, 15:19, 8:14, 4:8] = 1, 2
    return {"image": MetaTensor(labels.float() * 50, affine=AFFINE), "labels": MetaTensor(labels, affine=AFFINE)}


def composed() -> Compose:
    """Places and grey values in turn; the seed is one with which all act."""
    steps = (
        AffineConfig(probability=1, rotation_deg=10).build(KEYS),
        NoiseConfig(probability=1).build("image"),
        FlipConfig(probability=1).build(KEYS, mirror_pairs=((1, 2),)),
    )
    return Compose(steps).set_random_state(2)


def overlap(a: Tensor, b: Tensor) -> float:
    """Dice of both boxes together, each with its own name."""
    same = ((a == b) & (a > 0)).sum()
    return float(2 * same / ((a > 0).sum() + (b > 0).sum()))


def test_compose_inverse_brings_every_structure_back_under_its_own_name():
    compose, sample = composed(), make_sample()
    moved = compose(sample)
    back = compose.inverse(moved)
    assert overlap(moved["labels"], sample["labels"]) < overlap(back["labels"], sample["labels"]) - 0.1
    assert overlap(back["labels"], sample["labels"]) > 0.85
    torch.testing.assert_close(back["labels"].affine, AFFINE)
    assert back["labels"].dtype == torch.int16 and back["labels"].shape == (1, *SHAPE)


def test_a_predicted_class_map_is_inverted_like_labels():
    compose, sample = composed(), make_sample()
    moved = compose(sample)
    moved["prediction"] = MetaTensor(moved["labels"].as_tensor().clone())
    back = Invertd("prediction", compose, orig_keys="labels")(moved)["prediction"]
    assert torch.equal(back.as_tensor(), compose.inverse(moved)["labels"].as_tensor())


def test_predicted_probabilities_are_inverted_class_by_class():
    compose, sample = composed(), make_sample()
    moved = compose(sample)
    shares = torch.nn.functional.one_hot(moved["labels"][0].long(), 3).movedim(-1, 0).float()
    moved["prediction"] = MetaTensor(shares)
    back = Invertd("prediction", compose, orig_keys="labels", nearest_interp=False)(moved)["prediction"]
    torch.testing.assert_close(back.as_tensor().sum(0), torch.ones(SHAPE))
    assert overlap(back.argmax(0)[None], sample["labels"]) > 0.85


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_under_the_images_key_nearest_copies_values_and_leaves_sides_alone(dtype):
    compose = Compose([FlipConfig(probability=1).build(KEYS, mirror_pairs=((1, 2),))])
    sample = make_sample()
    moved = compose(sample)
    moved["prediction"] = MetaTensor(moved["labels"].as_tensor().to(dtype))
    back = Invertd("prediction", compose, orig_keys="image", nearest_interp=True)(moved)["prediction"]
    assert back.dtype == dtype and set(back.unique().tolist()) == {0, 1, 2}
    assert torch.equal(back.as_tensor()[0, 5:9, 8:14, 4:8], torch.full((4, 6, 4), 2, dtype=dtype))  # not exchanged


def test_a_trace_survives_monais_loader_and_its_batches():
    compose = composed()
    (batch,) = DataLoader(Dataset([make_sample()] * 2, compose), batch_size=2)
    for item in decollate_batch(batch):
        assert overlap(compose.inverse(item)["labels"], make_sample()["labels"]) > 0.85


def between_flips(*casts: Any, lazy: bool | None) -> Compose:
    ours = AffineConfig(probability=1).build(KEYS)
    return Compose([Flipd(KEYS, 0), *casts, ours, Flipd(KEYS, 1)], lazy=lazy).set_random_state(0)


@pytest.mark.parametrize("lazy", [True, None])
def test_a_lazy_compose_gives_what_a_plain_one_gives(lazy):
    to_integers = CastToTyped("labels", torch.int16)  # MONAI's lazy resampling makes float32 of them

    result = between_flips(to_integers, lazy=lazy)(make_sample())
    plain = between_flips(lazy=False)(make_sample())

    for key in KEYS:
        torch.testing.assert_close(result[key].as_tensor().float(), plain[key].as_tensor().float())
        torch.testing.assert_close(result[key].affine, plain[key].affine)
        assert not result[key].pending_operations


def test_labels_that_lazy_resampling_made_floats_of_are_refused_clearly():
    with pytest.raises(RuntimeError) as caught:  # MONAI's Compose wraps every error
        between_flips(lazy=True)(make_sample())
    assert isinstance(caught.value.__cause__, LabelError)
    assert "Convert class indices to int16; MONAI's LoadImaged and lazy resampling" in str(caught.value.__cause__)


@pytest.mark.parametrize("preset", ["ct_default", "ct_strong", "nnunet", "nnunet_da5", "monai_segresnet"])
def test_a_pipeline_with_a_cut_is_undone_onto_the_whole_sample(preset):
    pipeline = build_pipeline(TransformsConfig(preset=preset), mirror_pairs=((1, 2),), patch_shape=(20, 20, 12))
    sample = make_sample()
    for number in range(6):
        moved = pipeline(sample, seed=(0, number))
        back = pipeline.inverse(moved)
        torch.testing.assert_close(back["labels"].affine, AFFINE)
        assert back["labels"].shape == (1, *SHAPE)
        assert torch.equal(back["labels"].as_tensor(), pipeline.invert(moved, pipeline.params, SHAPE)["labels"])


def test_a_cut_alone_comes_back_with_air_and_background_around_it():
    pipeline = build_pipeline(TransformsConfig(preset="none"), label_keys=("labels", "soft"), patch_shape=(20, 20, 12))
    sample = {key: value.as_tensor() + 0 for key, value in make_sample().items()}
    sample["soft"] = torch.nn.functional.one_hot(sample["labels"][0].long(), 3).movedim(-1, 0).float()
    back = pipeline.invert(pipeline(sample, seed=(0,)), (), SHAPE)
    assert (back["image"][0, :2] == -1024).all() and torch.equal(
        back["image"][:, 2:22, 1:21], sample["image"][:, 2:22, 1:21]
    )
    assert torch.equal(back["labels"], sample["labels"]) and torch.equal(back["soft"], sample["soft"])


def test_beyond_a_windowed_patch_stands_what_the_window_makes_of_air():
    steps = (WindowConfig(window_hu=(-100, 100), output=(-2, 2)),)
    pipeline = build_pipeline(TransformsConfig(preset="none", steps=steps), label_keys=(), patch_shape=(4, 4, 4))
    cut = pipeline({"image": torch.zeros(1, 8, 8, 8)}, seed=(0,))
    back = pipeline.invert(cut, pipeline.params, (8, 8, 8))["image"]
    assert back.unique().tolist() == [-2, 0]


def test_inverting_what_left_no_trace_is_refused():
    flip = FlipConfig(probability=1).build(KEYS)
    plain = {key: value.as_tensor() for key, value in make_sample().items()}
    with pytest.raises(UsageError, match=r"Flip: nothing to invert; expected a MetaTensor.*invert\(sample"):
        flip.inverse(flip(plain))
    with pytest.raises(UsageError, match="'image' keeps no trace of this transform"):
        flip.inverse(make_sample())
    with pytest.raises(UsageError, match=r"keeps no trace of this transform.*this very transform"):
        FlipConfig().build(KEYS).inverse(flip(make_sample()))


def test_a_transform_that_did_not_act_is_undone_by_doing_nothing():
    never = FlipConfig(probability=0).build(KEYS)
    sample = make_sample()
    back = never.inverse(never(sample))
    assert torch.equal(back["image"].as_tensor(), sample["image"].as_tensor()) and not back["image"].applied_operations


def test_noise_alone_has_no_inverse_to_call_and_compose_passes_over_it():
    noise = NoiseConfig(probability=1).build("image")
    moved = noise(make_sample())
    with pytest.raises(UsageError, match="Noise: changes grey values and cannot be inverted"):
        noise.inverse(moved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI: no invertible transforms have been supplied
        assert Compose([noise]).inverse(moved)["image"] is moved["image"]


def pipeline() -> Pipeline:
    steps = (
        AffineConfig(probability=1),
        ElasticConfig(probability=1),
        FlipConfig(probability=0),
        NoiseConfig(probability=1),
    )
    return build_pipeline(TransformsConfig(preset="none", steps=steps), spacing_mm=(1.5, 1.5, 3))


def test_drawn_parameters_are_told_line_by_line():
    whole = pipeline()
    lines = whole.describe(whole.sample(SHAPE, (1.5, 1.5, 3), (0, 0)))
    assert [line.split(":")[0] for line in lines] == ["affine", "elastic", "flip", "noise"]
    assert lines[2] == "flip: did not act" and "rotation_deg (" in lines[0] and "sigma_hu" in lines[3]


def test_parameters_written_as_json_are_replayed_bit_by_bit():
    whole, sample = pipeline(), make_sample()
    first = whole(sample, seed=(3, 1))
    written = json.dumps(whole.to_data(whole.params))
    again = pipeline().apply(sample, pipeline().from_data(json.loads(written)))
    assert torch.equal(first["image"].as_tensor(), again["image"].as_tensor())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "parameters of another pipeline; expected 4|expected affine, elastic, flip, noise"),
        ([{"name": "flip", "params": None}] * 4, "another pipeline; expected affine, elastic, flip, noise"),
        (
            [{"name": n, "params": None} for n in ("affine", "elastic", "flip")]
            + [{"name": "noise", "params": {"seed": 1}}],
            "sigma_hu: not parameters of Noise; got Field required",
        ),
    ],
    ids=["too few", "other names", "a field is missing"],
)
def test_parameters_that_do_not_fit_are_refused(data, message):
    with pytest.raises(UsageError, match=message):
        pipeline().from_data(data)


def test_parameters_of_another_pipeline_cannot_be_applied():
    with pytest.raises(UsageError, match="another pipeline; expected 4 of them, got 1"):
        pipeline().apply(make_sample(), (None,))
