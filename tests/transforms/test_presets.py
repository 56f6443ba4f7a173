"""Presets: what peers do, with which chances, and sets that never leave what CT and left and right allow."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError, LabelError
from medseg.transforms import BatchAugment, FlipConfig, TransformsConfig, build_pipeline, without_left_right_flips
from medseg.transforms.presets import PRESETS, PresetName

SPACING_MM = (1.5, 1.5, 1.5)
NAMES = [name for name in PRESETS if name != "none"]


def steps(preset: str) -> list[Any]:
    return [*TransformsConfig(preset=preset).complete()]  # type: ignore[arg-type]


def chances(preset: str) -> list[tuple[str, float]]:
    """How often each step changes a one-channel image, in order; steps that always act left out."""
    return [(s.name, round(s.probability * getattr(s, "channel_probability", 1), 4)) for s in steps(preset)
            if s.name not in ("window", "affine", "flip")]  # fmt: skip


def test_every_name_that_a_recipe_may_give_has_a_set():
    assert set(PRESETS) == set(get_args(PresetName))
    assert all(preset.about and preset.source for preset in PRESETS.values())


def test_nnunet_does_what_nnunet_does_as_often():
    # nnU-Net 2.8.1: patch probability times channel probability, of one channel
    assert chances("nnunet") == [
        ("gaussian_noise", 0.1),
        ("blur", 0.1),
        ("multiply", 0.15),
        ("contrast_mean", 0.15),
        ("low_resolution", 0.125),
        ("gamma_range", 0.1),
        ("gamma_range", 0.3),
    ]


def test_da5_does_what_da5_does_as_often():
    assert chances("nnunet_da5") == [
        ("rot90", 0.375),  # 0.5, a quarter of them by 0 degrees
        ("transpose", 0.5),
        ("median", 0.05),  # one of two, 0.2, channel 0.5
        ("blur", 0.05),
        ("gaussian_noise", 0.1),
        ("add", 0.05),
        ("contrast_mean", 0.05),
        ("contrast_mean", 0.05),
        ("low_resolution", 0.075),
        ("gamma_range", 0.1),
        ("gamma_range", 0.1),
        ("blank_rectangles", 0.2),
        ("gradient", 0.15),
        ("local_gamma", 0.15),
        ("sharpen", 0.1),
    ]


@pytest.mark.parametrize(
    ("preset", "turns", "scales", "low", "high"),
    [("nnunet", 0.2, 0.2, 1 / 1.4, 1 / 0.7), ("nnunet_da5", 0.4 * (1 - 0.5**3), 0.2, 1 / 1.43, 1 / 0.7)],
)
def test_rotation_and_scale_fire_apart_as_often_as_in_nnunet(preset, turns, scales, low, high):
    affine = next(step for step in steps(preset) if step.name == "affine").build()
    rng = np.random.default_rng(0)
    drawn = [affine.sample(rng, (64, 64, 64), SPACING_MM) for _ in range(3000)]
    moved = [params.affine for params in drawn if params is not None]
    sizes = [size for params in moved for size in params.scale if size != 1]

    assert sum(any(params.rotation_deg) for params in moved) / 3000 == pytest.approx(turns, abs=0.03)
    assert sum(params.scale != (1, 1, 1) for params in moved) / 3000 == pytest.approx(scales, abs=0.03)
    assert low <= min(sizes) < low + 0.02 and high - 0.05 < max(sizes) <= high
    assert np.mean([1 / size for size in sizes]) == pytest.approx((1 / low + 1 / high) / 2, abs=0.02)  # grid: uniform


def test_thick_slices_turn_in_their_plane_alone_and_by_any_angle_in_nnunet():
    affine = next(step for step in steps("nnunet") if step.name == "affine").build()
    rng = np.random.default_rng(0)
    drawn = [affine.sample(rng, (128, 128, 32), (1, 1, 5)) for _ in range(500)]
    angles = np.array([params.affine.rotation_deg for params in drawn if params is not None])
    assert not angles[:, :2].any()
    assert np.abs(angles[:, 2]).max() > 90


@pytest.mark.parametrize("preset", ["nnunet", "nnunet_da5"])
def test_labels_are_interpolated_before_the_argmax_as_in_nnunet(preset):
    assert next(step for step in steps(preset) if step.name == "affine").interpolation == "linear_argmax"


def test_segresnet_does_what_auto3dseg_does_as_often():
    assert [(step.name, step.probability) for step in steps("monai_segresnet")[1:]] == [
        ("affine", 0.2),
        ("blur", 0.2),
        ("multiply", 0.5),
        ("add", 0.5),
        ("gaussian_noise", 0.2),
        ("flip", 0.5),
    ]


def test_ct_sets_flip_only_left_and_right_and_end_in_the_window():
    for preset in ("ct_default", "ct_strong"):
        assert steps(preset)[-1].name == "window"
        assert next(step for step in steps(preset) if step.name == "flip").axes == (0,)


def test_the_strong_set_does_all_that_the_default_does_at_least_as_often():
    often = {step.name: step.probability for step in steps("ct_strong")}
    assert all(often[step.name] >= step.probability for step in steps("ct_default"))


@pytest.mark.parametrize("preset", NAMES)
@pytest.mark.parametrize("shape", [(24, 24, 24), (32, 24, 6), (9, 1, 5)], ids=str)
def test_every_set_gives_finite_images_and_known_labels_on_any_patch(preset, shape):
    pipeline = build_pipeline(TransformsConfig(preset=preset), mirror_pairs=((1, 2),), spacing_mm=SPACING_MM)
    image = torch.randn(1, *shape) * 300
    labels = torch.randint(-1, 3, (2, *shape), dtype=torch.int16)
    for number in range(12):
        result = pipeline({"image": image, "labels": labels}, seed=(number,))
        assert torch.isfinite(result["image"]).all() and result["image"].shape == (1, *shape)
        assert set(result["labels"].unique().tolist()) <= {-1, 0, 1, 2}


@pytest.mark.parametrize("preset", NAMES)
def test_no_set_asks_another_device_for_a_value(preset):
    augment = BatchAugment(preset, mirror_pairs=((1, 2),), spacing_mm=SPACING_MM, patch_shape=(20, 20, 16))
    images = torch.zeros(2, 1, 24, 24, 20, device="meta")  # a device that knows shapes alone
    labels = torch.zeros(2, 1, 24, 24, 20, device="meta", dtype=torch.int16)
    for _ in range(6):
        new_images, new_labels = augment(images, labels)
        assert new_images.shape == new_labels.shape == (2, 1, 20, 20, 16)


def test_margin_fills_the_corners_also_where_the_window_comes_first():
    affine = {"name": "affine", "probability": 1, "rotation_deg": [0, 0, 45], "scale": [1, 1], "outside_hu": 0}
    config = build_config(TransformsConfig, {"preset": "none", "steps": [{"name": "window"}, affine]})
    pipeline = build_pipeline(config, patch_shape=(16, 16, 8), label_keys=())
    result = pipeline({"image": torch.full((1, 32, 32, 10), 40.0)}, seed=(0, 0))["image"]
    torch.testing.assert_close(result, torch.full((1, 16, 16, 8), 0.5))


def test_a_step_of_which_a_set_has_two_is_replaced_once():
    config = build_config(TransformsConfig, {"preset": "nnunet", "steps": [{"name": "gamma_range", "gamma": [1, 2]}]})
    assert [step.gamma for step in config.complete() if step.name == "gamma_range"] == [(1, 2)]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"name": "noise"}, "noise before the window step, because it works in HU"),
        ({"name": "affine"}, "affine before the window step, or with another outside_hu than -1024, such as 0"),
        ({"name": "bias_field"}, "bias_field before the window step, or with another zero than -1000, such as 0"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_what_works_in_hu_is_refused_after_the_window(step, message):
    with pytest.raises(ConfigError, match=message):
        build_config(TransformsConfig, {"preset": "none", "steps": [{"name": "window"}, step]})


LEFT_RIGHT = ("background", "kidney_left", "kidney_right")


@pytest.mark.parametrize("preset", NAMES)
def test_sides_without_a_pair_are_refused_wherever_they_would_be_mirrored(preset):
    config = TransformsConfig(preset=preset)
    with pytest.raises(LabelError, match=r"wrong side; expected a mirror pair for kidney_left, kidney_right"):
        build_pipeline(config, label_names=LEFT_RIGHT)
    build_pipeline(config, label_names=LEFT_RIGHT, mirror_pairs=((1, 2),))
    seen = tuple(step for step in config.complete() if step.name != "truncation")  # which may cut a side away
    safe = TransformsConfig(preset="none", steps=without_left_right_flips(seen))
    pipeline = build_pipeline(safe, label_names=LEFT_RIGHT)
    labels = torch.zeros(1, 16, 16, 16, dtype=torch.int16)
    labels[:, :8], labels[:, 8:] = 1, 2
    if preset == "nnunet_da5":
        return  # it turns bodies by 90 degrees and more: sides move with the body, and nothing is mirrored
    for number in range(16):
        result = pipeline({"image": labels.float(), "labels": labels}, seed=(number,))["labels"][0]
        left, right = (torch.argwhere(result == side)[:, 0].double().mean() for side in (1, 2))
        assert left < right


def test_without_left_right_flips_other_axes_still_flip():
    (flip,) = without_left_right_flips((FlipConfig(axes=(0, 1, 2)),))
    assert isinstance(flip, FlipConfig) and (flip.axes, flip.probability) == ((1, 2), 0.5)
    (off,) = without_left_right_flips((FlipConfig(axes=(0,)),))
    assert off.probability == 0
