"""The same augmentations by the libraries that people use today, each as its authors document it.

batchgeneratorsv2 and MONAI cut the patch out of the raw sample while they resample; TorchIO keeps the size of its
input, so it is given the patch alone, which is less work than ours. MONAI's contrast is a gamma: its equivalent of
nnU-Net's contrast is `RandScaleIntensityFixedMean`.
"""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from augmentation_inputs import ROTATION_DEG, SCALE, Sample
from augmentation_rows import Side

ANGLE = math.radians(ROTATION_DEG)


def _seeded(sample: Sample, run: Callable[[Any], tuple[Any, Any]], setup: Callable[[int], None] | None = None) -> Side:
    """A side that is given fresh copies of the raw sample, because some transforms write into their input."""

    def prepare(draw: int) -> tuple[Any, Any]:
        np.random.seed(draw)  # noqa: NPY002  # batchgeneratorsv2 draws from the global state
        torch.manual_seed(draw)
        if setup is not None:
            setup(draw)
        return sample.standardised.clone(), sample.labels.clone()

    return Side(prepare, run)


# ---- batchgeneratorsv2


def bg2_spatial(sample: Sample, **probabilities: float) -> Side:
    """Its SpatialTransform with nnU-Net's settings; `p_rotation`, `p_scaling`, `p_elastic_deform`."""
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    transform = SpatialTransform(
        sample.patch, 0, False, rotation=(-ANGLE, ANGLE), scaling=SCALE, p_synchronize_scaling_across_axes=1,
        bg_style_seg_sampling=False, border_mode_seg="constant", padding_value_seg=-1, **probabilities,
    )  # fmt: skip
    return _seeded(sample, lambda given: _bg2(transform, given))


def bg2_pipeline(sample: Sample, chosen: Callable[[int], set[str]]) -> Side:
    """nnU-Net's own default pipeline for training, made to do what `chosen(draw)` names and nothing else.

    Names: rotation, scaling, noise, blur, brightness, contrast, low_resolution, gamma_inverted, gamma. Mirroring tosses
    its own coins for the three axes.
    """
    compose = nnunet_transforms(sample)
    settle(compose, sample)
    return _seeded(sample, lambda given: _bg2(compose, given), lambda draw: force(compose, chosen(draw)))


def nnunet_transforms(sample: Sample) -> Any:
    """`get_training_transforms` of the installed nnU-Net for a 3-D patch, without deep supervision."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of environment variables that only its own commands need
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    return nnUNetTrainer.get_training_transforms(np.array(sample.patch), (-ANGLE, ANGLE), None, (0, 1, 2), False)


FORCED = {
    "GaussianNoiseTransform": "noise",
    "GaussianBlurTransform": "blur",
    "MultiplicativeBrightnessTransform": "brightness",
    "ContrastTransform": "contrast",
    "SimulateLowResolutionTransform": "low_resolution",
}
ALL = {"rotation", "scaling", *FORCED.values(), "gamma_inverted", "gamma"}


def force(compose: Any, chosen: set[str]) -> None:
    """Sets the probabilities of nnU-Net's pipeline to 1 for what is chosen and to 0 for all else."""
    for step in compose.transforms:
        if hasattr(step, "p_rotation"):
            step.p_rotation, step.p_scaling = float("rotation" in chosen), float("scaling" in chosen)
        elif hasattr(step, "apply_probability"):
            inner = step.transform
            kind = type(inner).__name__
            inverted = "gamma_inverted" if getattr(inner, "p_invert_image", 0) else "gamma"
            step.apply_probability = float(FORCED.get(kind, inverted) in chosen)
            inner.p_per_channel = 1


def settle(compose: Any, sample: Sample) -> None:
    """Lets the blur choose its method once for every kernel size, which it does by trying both when it meets one."""
    for step in compose.transforms:
        blur = getattr(step, "transform", None)
        if type(blur).__name__ != "GaussianBlurTransform":
            continue
        drawn, blur.p_per_channel = blur.blur_sigma, 1
        for sigma in np.linspace(*drawn, 5):
            blur.blur_sigma = (sigma, sigma)
            blur(image=sample.middle(sample.standardised).clone())
        blur.blur_sigma = drawn


def _bg2(transform: Any, given: tuple[Any, Any]) -> tuple[Any, Any]:
    found = transform(image=given[0], segmentation=given[1])
    return found["image"], found["segmentation"]


# ---- MONAI

KEYS = ("image", "labels")


def monai_affine(sample: Sample) -> Side:
    """RandAffined, cutting the patch out of the raw sample."""
    return _monai(sample, [_rand_affine(sample)])


def monai_elastic(sample: Sample) -> Side:
    """Rand3DElasticd with its own documented ranges."""
    from monai.transforms import Rand3DElasticd  # type: ignore[attr-defined]

    return _monai(sample, [Rand3DElasticd(
        KEYS, prob=1, sigma_range=(5, 8), magnitude_range=(100, 200), spatial_size=sample.patch,
        mode=("bilinear", "nearest"), padding_mode="zeros",
    )])  # fmt: skip


def monai_all(sample: Sample) -> Side:
    """The same operations as in nnU-Net's default set, every one acting."""
    from monai import transforms as monai

    return _monai(sample, [
        _rand_affine(sample),
        monai.RandGaussianNoised("image", prob=1, std=math.sqrt(0.1)),
        monai.RandGaussianSmoothd("image", (0.5, 1), (0.5, 1), (0.5, 1), prob=1),
        monai.RandScaleIntensityd("image", (-0.25, 0.25), prob=1),
        monai.RandScaleIntensityFixedMeand("image", prob=1, factors=(-0.25, 0.25), preserve_range=True),
        monai.RandSimulateLowResolutiond("image", prob=1, zoom_range=(0.5, 1)),
        monai.RandAdjustContrastd("image", prob=1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
        monai.RandAdjustContrastd("image", prob=1, gamma=(0.7, 1.5), retain_stats=True),
        *(monai.RandFlipd(KEYS, prob=0.5, spatial_axis=axis) for axis in range(3)),
    ])  # fmt: skip


def _rand_affine(sample: Sample) -> Any:
    from monai.transforms import RandAffined  # type: ignore[attr-defined]

    return RandAffined(
        KEYS, prob=1, rotate_range=(ANGLE,) * 3, scale_range=((SCALE[0] - 1, SCALE[1] - 1),) * 3,
        spatial_size=sample.patch, mode=("bilinear", "nearest"), padding_mode="zeros",
    )  # fmt: skip


def _monai(sample: Sample, steps: list[Any]) -> Side:
    from monai.transforms import Compose  # type: ignore[attr-defined]

    compose = Compose(steps)

    def run(given: tuple[Any, Any]) -> tuple[Any, Any]:
        found = compose({"image": given[0], "labels": given[1]})
        return found["image"], found["labels"]

    return _seeded(sample, run, lambda draw: _set_state(compose, draw))


def _set_state(compose: Any, draw: int) -> None:
    compose.set_random_state(draw)


# ---- TorchIO


def torchio_affine(sample: Sample) -> Side:
    """RandomAffine of the patch."""
    import torchio

    return _torchio(sample, torchio.RandomAffine(scales=SCALE, degrees=ROTATION_DEG, isotropic=True))


def torchio_elastic(sample: Sample) -> Side:
    """RandomElasticDeformation of the patch, with its own default control points."""
    import torchio

    return _torchio(sample, torchio.RandomElasticDeformation())


def _torchio(sample: Sample, transform: Any) -> Side:
    import SimpleITK
    import torchio

    image, labels = sample.middle(sample.standardised), sample.middle(sample.labels)

    def prepare(draw: int) -> Any:
        torch.manual_seed(draw)
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(torch.get_num_threads())
        return torchio.Subject(
            image=torchio.ScalarImage(tensor=image.clone()), labels=torchio.LabelMap(tensor=labels.clone())
        )

    def run(subject: Any) -> tuple[Any, Any]:
        found = transform(subject)
        return found["image"].data, found["labels"].data

    return Side(prepare, run)
