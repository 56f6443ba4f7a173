"""What every step that changes grey values alone keeps: its input, every shape, its device, and nothing to do done."""

import json
from dataclasses import asdict
from typing import get_args

import numpy as np
import pytest
import torch

from medseg.transforms.bias import BiasFieldParams
from medseg.transforms.bump import Bump, GradientParams, LocalGammaParams
from medseg.transforms.drift import HuDriftParams
from medseg.transforms.histogram import HistogramShiftParams
from medseg.transforms.intensity import BrightnessParams, ContrastParams, GammaParams
from medseg.transforms.median import MedianParams
from medseg.transforms.noise import GaussianNoiseParams, NoiseParams
from medseg.transforms.registry import AnyStep
from medseg.transforms.relative import AddParams, ContrastMeanParams, GammaRangeParams, MultiplyParams
from medseg.transforms.resolution import BlurParams, LowResolutionParams
from medseg.transforms.sharpen import SharpenParams

SHAPE, SPACING_MM = (12, 11, 10), (1.0, 1.0, 2.0)
CONFIGS = {config.model_fields["name"].default: config for config in get_args(AnyStep)}
BUMP, WINDOW = Bump((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)), (-160.0, 240.0)
IDENTITIES = {
    "blur": BlurParams(0.0, SPACING_MM),
    "low_resolution": LowResolutionParams(SHAPE),
    "thick_slices": LowResolutionParams(SHAPE, "nearest"),
    "median": MedianParams(1),
    "sharpen": SharpenParams(0.0, 1.0, SPACING_MM),
    "noise": NoiseParams(0.0, 1),
    "gaussian_noise": GaussianNoiseParams(0.0, 1),
    "brightness": BrightnessParams(0.0),
    "contrast": ContrastParams(1.0, WINDOW),
    "gamma": GammaParams(1.0, WINDOW),
    "multiply": MultiplyParams(1.0),
    "add": AddParams(0.0),
    "contrast_mean": ContrastMeanParams(1.0, keep_range=True),
    "gamma_range": GammaRangeParams(1.0, invert=True, keep_statistics=True),
    "histogram_shift": HistogramShiftParams((0.0, 0.5, 1.0)),
    "hu_drift": HuDriftParams(0.0, 0.0),
    "bias_field": BiasFieldParams(1, (0.0, 0.0, 0.0), -1000.0),
    "gradient": GradientParams(0.0, BUMP),
    "local_gamma": LocalGammaParams(1.0, BUMP),
}
NAMES = [*IDENTITIES, "window"]


def build(name: str):
    return CONFIGS[name](probability=1.0).build()


def make_image(shape=SHAPE, channels=2) -> torch.Tensor:
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(4)) * 300


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_parameters_of_the_identity_change_no_bit(name, device):
    image = make_image().to(device)
    same = build(name).apply_image(image, IDENTITIES[name])
    assert same.device == image.device and (device == "meta" or torch.equal(same, image))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 5), (7, 1, 5), (7, 6, 1), (2, 3, 4)])
def test_any_shape_is_taken_and_the_input_stays(name, shape):
    step, image = build(name), make_image(shape)
    kept = image.clone()
    params = step.sample(np.random.default_rng(0), shape, SPACING_MM)
    changed = step.apply_image(image, params)
    assert changed.shape == image.shape and changed.dtype == torch.float32 and changed.isfinite().all()
    assert torch.equal(image, kept) and torch.equal(step.apply_image(image, params), changed)


@pytest.mark.parametrize("name", NAMES)
def test_a_view_is_changed_as_its_copy(name):
    step, view = build(name), make_image().flip(2).transpose(1, 3)[:, ::2]
    params = step.sample(np.random.default_rng(0), tuple(view.shape[1:]), SPACING_MM)
    copied = step.apply_image(view.clone(memory_format=torch.contiguous_format), params)
    assert torch.equal(step.apply_image(view, params), copied)


@pytest.mark.parametrize("name", NAMES)
def test_another_device_is_not_asked_for_a_value(name):
    step = build(name)
    params = step.sample(np.random.default_rng(1), SHAPE, SPACING_MM)
    far = step.apply_image(torch.empty(2, *SHAPE, device="meta"), params)  # asking a meta tensor for a value fails
    assert far.device.type == "meta" and far.shape == (2, *SHAPE) and far.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_parameters_can_be_written_as_json(name):
    params = build(name).sample(np.random.default_rng(1), SHAPE, SPACING_MM)
    assert json.loads(json.dumps(asdict(params)))


@pytest.mark.parametrize("name", NAMES)
def test_a_flat_image_stays_finite_and_the_channels_do_not_mix(name):
    step, image = build(name), torch.stack([torch.full(SHAPE, 40.0), make_image(channels=1)[0]])
    changed = step.apply_image(image, step.sample(np.random.default_rng(2), SHAPE, SPACING_MM))
    assert changed.isfinite().all()
    if "noise" not in name:  # each channel has noise of its own
        alone = step.apply_image(image[1:], step.sample(np.random.default_rng(2), SHAPE, SPACING_MM))
        assert torch.equal(changed[1:], alone)
