"""What every transform of the registry promises, whatever it does; a new one is tested as soon as its line is there."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.errors import UsageError
from medseg.transforms.batch import apply_batch
from medseg.transforms.deformation import AffineParams
from medseg.transforms.parameters import describe_params, params_from_data, params_to_data
from medseg.transforms.registry import EVERY_STEP, AnyStep
from medseg.transforms.transform import GeometricTransform, RandomTransform

SHAPE, SPACING_MM = (15, 15, 9), (1.5, 1.5, 3.0)
THIN = [(1, 5, 4), (5, 1, 4), (5, 4, 1), (1, 1, 4), (1, 1, 1)]
OPTIONS: dict[str, Any] = {"flip": {"mirror_pairs": ((1, 2),)}, "transpose": {"mirror_pairs": ((1, 2),)}}
STRAIGHT = tuple(point / 9 for point in range(10))

# What each transform's parameters must be for nothing to change.
STILL: dict[str, dict[str, Any]] = {
    "affine": {"affine": AffineParams()},
    "elastic": {"elastic": None},
    "flip": {"axes": ()},
    "rot90": {"turns": 0},
    "transpose": {"order": (0, 1, 2)},
    "contrast_phase": {"shifts_hu": (0.0, 0.0, 0.0)},
    "metal": {"inserts": ()},
    "beam_hardening": {"water": 0.0, "bone": 0.0},
    "motion": {"shift_mm": 0.0},
    "dose": {"dose": 1.0},
    "blur": {"sigma_mm": 0.0},
    "low_resolution": {"shape": SHAPE},
    "thick_slices": {"shape": SHAPE},
    "median": {"size": 1},
    "sharpen": {"strength": 0.0},
    "noise": {"sigma_hu": 0.0},
    "gaussian_noise": {"sigma": 0.0},
    "brightness": {"shift_hu": 0.0},
    "contrast": {"factor": 1.0},
    "gamma": {"gamma": 1.0},
    "multiply": {"factor": 1.0},
    "add": {"offset": 0.0},
    "contrast_mean": {"factor": 1.0},
    "gamma_range": {"gamma": 1.0},
    "histogram_shift": {"curve": STRAIGHT},
    "hu_drift": {"water_hu": 0.0, "air_hu": 0.0, "slope_hu": (0.0, 0.0, 0.0)},
    "bias_field": {"coefficients": ()},
    "gradient": {"strength": 0.0},
    "local_gamma": {"gamma": 1.0},
    "occlusion": {"boxes": ()},
    "blank_rectangles": {"boxes": ()},
    "truncation": {"reach_mm": 1e6},
    "missing_slices": {"blocks": ()},
}

every_step = pytest.mark.parametrize("step", EVERY_STEP, ids=[step.name for step in EVERY_STEP])


def build(step: AnyStep, **options: Any) -> RandomTransform[Any]:
    """The transform, made to act."""
    sure = step.model_copy(update={"probability": 1.0})
    return sure.build(["image", "labels"], spacing_mm=SPACING_MM, **OPTIONS.get(step.name, {}), **options)


def drawn(transform: RandomTransform[Any], shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Any:
    """The first parameters that act; None where none of thirty does, as a turn of a single voxel."""
    draws = (transform.sample(np.random.default_rng(seed + i), shape, SPACING_MM) for i in range(30))
    return next((params for params in draws if params is not None), None)


def body(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> dict[str, Tensor]:
    """A smooth image in HU, three raters who agree on nothing, and the tissue of somebody else."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 4, 4, 4, generator=generator) * 300
    image = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0]
    labels = torch.randint(-1, 4, (3, *shape), dtype=torch.int16, generator=generator)
    return {"image": image, "labels": labels, "donor": torch.flip(image, [1])}


@pytest.mark.parametrize("step", [step for step in EVERY_STEP if step.name != "window"], ids=lambda step: step.name)
def test_unmoved_parameters_give_the_sample_back_bit_by_bit(step: AnyStep) -> None:
    transform, sample = build(step), body()
    params = replace(drawn(transform), **STILL[step.name])

    result = transform.apply(sample, params)

    assert torch.equal(result["image"], sample["image"])
    assert torch.equal(result["labels"], sample["labels"])


@pytest.mark.parametrize("step", [step for step in EVERY_STEP if step.name != "window"], ids=lambda step: step.name)
def test_unmoved_parameters_keep_every_digit_of_double_precision(step: AnyStep) -> None:
    transform, sample = build(step), body()
    sample["image"] = sample["image"].double() + 1e-9  # more than float32 can hold

    result = transform.apply(sample, replace(drawn(transform), **STILL[step.name]))

    assert torch.equal(result["image"], sample["image"])


@every_step
def test_the_order_of_voxels_in_memory_makes_no_difference(step: AnyStep) -> None:
    transform, sample = build(step), body()
    params = drawn(transform)
    turned = {key: value.transpose(1, 3).contiguous().transpose(1, 3) for key, value in sample.items()}

    result, expected = transform.apply(turned, params), transform.apply(sample, params)

    assert torch.equal(result["image"], expected["image"]) and torch.equal(result["labels"], expected["labels"])


@every_step
@pytest.mark.parametrize("shape", THIN, ids=str)
def test_images_of_one_voxel_are_taken(step: AnyStep, shape: tuple[int, int, int]) -> None:
    transform, sample = build(step), body(shape)

    result = transform.apply(sample, drawn(transform, shape))

    assert result["image"].shape == (1, *shape) and result["labels"].shape == (3, *shape)
    assert torch.isfinite(result["image"]).all()
    assert set(result["labels"].unique().tolist()) <= {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("name", ["affine", "flip", "rot90", "transpose"])  # no matrix says what an elastic step does
def test_a_world_point_is_found_where_the_voxel_map_says(name: str) -> None:
    transform = build(next(step for step in EVERY_STEP if step.name == name))
    params = drawn(transform)
    matrix = transform.voxel_map(params, SHAPE)
    assert matrix is not None
    places = torch.from_numpy(np.indices(SHAPE)).float()  # three channels: each voxel holds its own coordinates

    shown = transform.apply_image(places, params).flatten(1).numpy()

    expected = matrix[:3, :3] @ np.indices(SHAPE).reshape(3, -1) + matrix[:3, 3:]
    inside = ((expected > 0) & (expected < np.array(SHAPE)[:, None] - 1)).all(axis=0)
    assert inside.mean() > 0.4
    np.testing.assert_allclose(shown[:, inside], expected[:, inside], atol=1e-3)


@every_step
def test_what_moves_no_voxel_leaves_the_labels_alone(step: AnyStep) -> None:
    transform, sample = build(step), body()
    params = drawn(transform)

    result = transform.apply(sample, params)

    stays = not isinstance(transform, GeometricTransform) and step.name != "truncation"  # it cuts the anatomy away
    assert stays == torch.equal(result["labels"], sample["labels"])


@every_step
def test_inverse_after_forward_is_the_sample_but_for_interpolation(step: AnyStep) -> None:
    transform, sample = build(step), body()
    solid = sample["labels"].clone()
    solid[:] = (sample["image"] > 0).to(torch.int16)
    params = drawn(transform)
    moved = transform.apply({**sample, "labels": solid}, params)
    if not isinstance(transform, GeometricTransform):
        with pytest.raises(UsageError, match="cannot be inverted"):
            transform.invert(moved, params, SHAPE)
        return

    back = transform.invert(moved, params, SHAPE)

    middle = (slice(None), *(slice(n // 3, n - n // 3) for n in SHAPE))  # what no rotation moved out of the image
    assert (back["image"] - sample["image"])[middle].square().mean().sqrt() < 0.15 * sample["image"].std()
    assert (back["labels"] == solid)[middle].float().mean() > 0.85
    assert transform.invert(moved, None, SHAPE)["image"] is moved["image"]


@every_step
def test_compose_inverse_undoes_what_moved_and_only_that(step: AnyStep) -> None:
    transform = build(step)
    sample = {key: MetaTensor(value, affine=torch.diag(torch.tensor([1.5, 1.5, 3.0, 1.0])))
              for key, value in body().items() if key != "donor"}  # fmt: skip
    moved = transform(sample)
    if not isinstance(transform, GeometricTransform):
        with pytest.raises(UsageError, match=f"{type(transform).__name__}: changes grey values and cannot be inverted"):
            transform.inverse(moved)
        return

    by_trace, by_hand = transform.inverse(moved), transform.invert(moved, transform.params, SHAPE)

    torch.testing.assert_close(by_trace["labels"].affine, sample["labels"].affine)
    assert torch.equal(by_trace["labels"].as_tensor(), by_hand["labels"].as_tensor())
    assert len(moved["image"].applied_operations) == 1 and not by_trace["image"].applied_operations
    assert not sample["image"].applied_operations


@every_step
def test_a_batch_is_the_loop_over_its_items(step: AnyStep) -> None:
    transform, samples = build(step), [body(seed=seed) for seed in range(3)]
    params = [drawn(transform, seed=11), None, drawn(transform, seed=22)]
    images, labels = (torch.stack([sample[key] for sample in samples]) for key in ("image", "labels"))

    new_images, new_labels = apply_batch(transform, images, labels, params)

    for i, sample in enumerate(samples):
        alone = transform.apply({**sample, "donor": samples[(i + 1) % 3]["image"]}, params[i])
        assert torch.equal(new_images[i], alone["image"])
        assert new_labels is not None and torch.equal(new_labels[i], alone["labels"])


@every_step
def test_on_another_device_no_value_is_asked_for(step: AnyStep) -> None:
    transform, labels = build(step), torch.zeros(2, 3, *SHAPE, dtype=torch.int16, device="meta")
    images = torch.zeros(2, 1, *SHAPE, device="meta")  # a device that knows shapes alone: every question raises
    soft = torch.zeros(2, 4, *SHAPE, device="meta")

    for seed in range(0, 120, 30):
        params = [drawn(transform, seed=seed)] * 2
        for targets in (labels, soft):
            new_images, new_targets = apply_batch(transform, images, targets, params)
            assert new_targets is not None
            assert (new_images.device.type, new_images.dtype, new_images.shape) == ("meta", images.dtype, images.shape)
            assert (new_targets.device.type, new_targets.dtype) == ("meta", targets.dtype)


@pytest.mark.parametrize("ask", [Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.nonzero, bool],
                         ids=["item", "tolist", "numpy", "cpu", "nonzero", "bool"])  # fmt: skip
def test_the_device_of_the_test_above_does_refuse_questions(ask: Any) -> None:
    with pytest.raises((RuntimeError, TypeError, NotImplementedError)):
        ask(torch.zeros(1, device="meta"))


@every_step
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64, torch.uint16, torch.uint64])
def test_labels_of_every_integer_type_move_as_int16_ones_do(step: AnyStep, dtype: torch.dtype) -> None:
    transform, sample = build(step), body()
    params, labels = drawn(transform), sample["labels"].clamp(min=0)

    expected = transform.apply({**sample, "labels": labels}, params)["labels"]
    result = transform.apply({**sample, "labels": labels.to(dtype)}, params)["labels"]

    assert result.dtype == dtype
    assert torch.equal(result.to(torch.int16), expected)


@every_step
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_soft_targets_of_every_precision_still_sum_to_one(step: AnyStep, dtype: torch.dtype) -> None:
    transform, sample = build(step), body()
    soft = torch.softmax(torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1)), 0).to(dtype)

    result = transform.apply({**sample, "labels": soft}, drawn(transform))["labels"]

    assert result.dtype == dtype
    torch.testing.assert_close(result.double().sum(0), torch.ones(SHAPE, dtype=torch.float64), atol=2e-3, rtol=0)


@every_step
def test_parameters_survive_json_and_replay_bit_by_bit(step: AnyStep) -> None:
    transform, sample = build(step), body()
    params = drawn(transform)

    again = params_from_data(transform, json.loads(json.dumps(params_to_data(transform, params))))

    assert again == params
    assert torch.equal(transform.apply(sample, again)["image"], transform.apply(sample, params)["image"])
    assert describe_params(step.name, params).startswith(f"{step.name}: ")


@every_step
def test_only_what_moves_voxels_says_where_they_come_from(step: AnyStep) -> None:
    transform = build(step)
    tells = transform.voxel_map(drawn(transform), SHAPE) is not None
    assert tells == isinstance(transform, GeometricTransform)


@every_step
def test_what_changes_one_channel_can_change_two(step: AnyStep) -> None:
    transform, sample = build(step), body()
    sample["image"] = channels = torch.cat([sample["image"], sample["donor"] + 40])
    sample["donor"] = torch.flip(channels, [2])
    results = [transform.apply(sample, drawn(transform, seed=seed))["image"] for seed in range(0, 240, 30)]

    for channel in range(2):
        assert any(not torch.equal(channels[channel], result[channel]) for result in results)


@pytest.mark.parametrize("name", ["flip", "transpose"])
def test_left_stays_left_in_a_mirror_image(name: str) -> None:
    step = next(step for step in EVERY_STEP if step.name == name)
    transform = step.build("labels", label_keys="labels", mirror_pairs=((1, 2),))
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.int16)
    labels[0, :4], labels[0, 4:] = 1, 2  # low X is one side, high X the other
    params = next(p for p in (transform.sample(np.random.default_rng(i), (8, 8, 8), (1, 1, 1)) for i in range(30)) if p)
    still = replace(params, axes=(0,)) if name == "flip" else replace(params, order=(1, 0, 2))

    moved = transform.apply({"labels": labels}, still)["labels"][0]

    named = labels[0] if name == "flip" else 3 - labels[0].transpose(0, 1)
    assert torch.equal(moved, named)
