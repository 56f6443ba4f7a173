"""Whole sets of steps under one name, for `preset:` in a recipe.

nnU-Net and MONAI change grey values of normalised images, so in their sets the window comes first: with the window that
`medseg train` puts there, what follows works on z-scores, as nnU-Net's does. Where a peer tosses for the patch and then
for each channel, both probabilities stand in the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medseg.transforms.beam_hardening import BeamHardeningConfig
from medseg.transforms.bump import GradientConfig, LocalGammaConfig
from medseg.transforms.contrast_phase import ContrastPhaseConfig
from medseg.transforms.dose import DoseConfig
from medseg.transforms.drift import HuDriftConfig
from medseg.transforms.flip import FlipConfig
from medseg.transforms.intensity import BrightnessConfig, ContrastConfig, GammaConfig
from medseg.transforms.median import MedianConfig
from medseg.transforms.metal import MetalConfig
from medseg.transforms.missing_slices import MissingSlicesConfig
from medseg.transforms.motion import MotionConfig
from medseg.transforms.noise import GaussianNoiseConfig, NoiseConfig
from medseg.transforms.occlusion import BlankRectanglesConfig, OcclusionConfig
from medseg.transforms.registry import AnyStep
from medseg.transforms.relative import AddConfig, ContrastMeanConfig, GammaRangeConfig, MultiplyConfig
from medseg.transforms.resolution import BlurConfig, LowResolutionConfig, ThickSlicesConfig
from medseg.transforms.rot90 import Rot90Config, TransposeConfig
from medseg.transforms.sharpen import SharpenConfig
from medseg.transforms.spatial import AffineConfig, ElasticConfig
from medseg.transforms.truncation import TruncationConfig
from medseg.transforms.window import WindowConfig

PresetName = Literal["none", "ct_default", "ct_strong", "nnunet", "nnunet_da5", "monai_segresnet"]


@dataclass(frozen=True)
class Preset:
    """Steps in the order in which they run, what they are for, and where they are described."""

    about: str
    source: str
    steps: tuple[AnyStep, ...] = ()


# Peers draw how much the sampling grid grows, so an object's size is one over that number.
NNUNET_SCALE, DA5_SCALE, SEGRESNET_SCALE = (1 / 1.4, 1 / 0.7), (1 / 1.43, 1 / 0.7), (1 / 1.2, 1 / 0.8)
ALL_AXES = (0, 1, 2)

CT_DEFAULT = (
    AffineConfig(),
    ElasticConfig(),
    FlipConfig(),
    DoseConfig(probability=0.1),
    BlurConfig(),
    LowResolutionConfig(probability=0.1),
    ThickSlicesConfig(probability=0.1),
    SharpenConfig(probability=0.1),
    NoiseConfig(probability=0.1),
    BrightnessConfig(),
    ContrastConfig(),
    GammaConfig(),
    HuDriftConfig(),
    OcclusionConfig(),
    TruncationConfig(),
    MissingSlicesConfig(),
    WindowConfig(),
)

CT_STRONG = (
    AffineConfig(probability=0.7, rotation_deg=(30, 30, 45), scale=(0.65, 1.5), axis_scale=(0.9, 1.1)),
    ElasticConfig(probability=0.3),
    FlipConfig(),
    ContrastPhaseConfig(),
    MetalConfig(probability=0.1),
    BeamHardeningConfig(probability=0.15),
    MotionConfig(probability=0.1),
    DoseConfig(probability=0.3, dose=(0.05, 1.0)),
    BlurConfig(probability=0.25, sigma_mm=(0.5, 2.5)),
    LowResolutionConfig(probability=0.2, factor=(1.25, 3.0)),
    ThickSlicesConfig(probability=0.25, thickness_mm=(2.0, 10.0)),
    SharpenConfig(probability=0.2, strength=(0.3, 1.5)),
    NoiseConfig(probability=0.2, sigma_hu=(5, 60)),
    BrightnessConfig(probability=0.3, shift_hu=(-60, 60)),
    ContrastConfig(probability=0.3, factor=(0.6, 1.67)),
    GammaConfig(probability=0.3, gamma=(0.5, 2.0)),
    HuDriftConfig(probability=0.3, water_hu=(-20, 20), air_hu=(-20, 60), slope_hu=(0, 30)),
    OcclusionConfig(probability=0.3, boxes=(1, 5), size_mm=(10, 60)),
    TruncationConfig(probability=0.15, size=(0.5, 0.95)),
    MissingSlicesConfig(probability=0.1, blocks=(1, 3)),
    WindowConfig(jitter_hu=20),
)

NNUNET = (
    WindowConfig(),
    AffineConfig(
        probability=1,
        rotation_deg=(30, 30, 30),
        rotation_probability=0.2,
        scale=NNUNET_SCALE,
        axis_scale=(1, 1),
        scale_draw="reciprocal",
        scale_probability=0.2,
        in_plane_rotation_deg=180,
        interpolation="linear_argmax",
        outside_hu=0,
    ),
    GaussianNoiseConfig(probability=0.1, sigma=(0, 0.1)),
    BlurConfig(probability=0.2, sigma_voxels=(0.5, 1), channel_probability=0.5),
    MultiplyConfig(probability=0.15, factor=(0.75, 1.25)),
    ContrastMeanConfig(probability=0.15, factor=(0.75, 1.25), keep_range=True),
    LowResolutionConfig(probability=0.25, zoom=(0.5, 1), sampling="nearest", channel_probability=0.5),
    GammaRangeConfig(probability=0.1, gamma=(0.7, 1.5), invert=True),
    GammaRangeConfig(probability=0.3, gamma=(0.7, 1.5)),
    FlipConfig(axes=ALL_AXES),
)

# nnU-Net takes one of median and blur, and one of two contrasts, each with half the chance: 0.5 x 0.2.
NNUNET_DA5 = (
    WindowConfig(),
    AffineConfig(
        probability=1,
        rotation_deg=(30, 30, 30),
        rotation_probability=0.4,
        axis_rotation_probability=0.5,
        scale=(1, 1),
        axis_scale=DA5_SCALE,
        scale_draw="reciprocal",
        scale_probability=0.2,
        in_plane_rotation_deg=180,
        interpolation="linear_argmax",
        outside_hu=0,
    ),
    Rot90Config(probability=0.375, axes=ALL_AXES),  # 0.5, of which a quarter are turns by 0 degrees
    TransposeConfig(probability=0.5),
    MedianConfig(probability=0.1, size=(2, 7), channel_probability=0.5),
    BlurConfig(probability=0.1, sigma_voxels=(0.3, 1.5), channel_probability=0.5),
    GaussianNoiseConfig(probability=0.1, sigma=(0, 0.1)),
    AddConfig(probability=0.1, offset=(0, 0), sigma=0.5, channel_probability=0.5),
    ContrastMeanConfig(probability=0.1, factor=(0.5, 2), keep_range=True, channel_probability=0.5),
    ContrastMeanConfig(probability=0.1, factor=(0.5, 2), keep_range=False, channel_probability=0.5),
    LowResolutionConfig(probability=0.15, zoom=(0.25, 1), sampling="nearest", channel_probability=0.5),
    GammaRangeConfig(probability=0.1, gamma=(0.7, 1.5), invert=True),
    GammaRangeConfig(probability=0.1, gamma=(0.7, 1.5), invert=True),
    FlipConfig(axes=ALL_AXES, swap="chirality"),
    BlankRectanglesConfig(probability=0.4, channel_probability=0.5),
    GradientConfig(probability=0.3, channel_probability=0.5),
    LocalGammaConfig(probability=0.3, channel_probability=0.5),
    SharpenConfig(probability=0.2, strength=(0.1, 1), sigma_mm=None, channel_probability=0.5),
)

MONAI_SEGRESNET = (
    WindowConfig(),
    AffineConfig(
        probability=0.2,
        rotation_deg=(15, 15, 15),
        scale=(1, 1),
        axis_scale=SEGRESNET_SCALE,
        scale_draw="reciprocal",
        outside_hu="repeat",
    ),
    BlurConfig(probability=0.2, sigma_voxels=(0.5, 1)),
    MultiplyConfig(probability=0.5, factor=(0.7, 1.3)),
    AddConfig(probability=0.5, offset=(-0.1, 0.1)),
    GaussianNoiseConfig(probability=0.2, sigma=(0, 0.1)),
    FlipConfig(axes=ALL_AXES),
)

PRESETS: dict[PresetName, Preset] = {
    "none": Preset("nothing but the steps that the recipe names", "none"),
    "ct_default": Preset(
        "made for CT, mild enough for a short training: pose, dose, kernel, slice thickness, HU, occlusion",
        "medseg; ranges of the scanner's errors in each step's reference",
        CT_DEFAULT,
    ),
    "ct_strong": Preset(
        "the same further and more often, with contrast phase, metal, beam hardening and motion, for long trainings",
        "medseg",
        CT_STRONG,
    ),
    "nnunet": Preset(
        "nnU-Net's default, but left and right classes change names when they are flipped",
        "nnU-Net 2.8.1, nnUNetTrainer.get_training_transforms, for one CT channel and no cascade",
        NNUNET,
    ),
    "nnunet_da5": Preset(
        "nnU-Net's strongest set; steps of which nnU-Net takes one are drawn independently",
        "nnU-Net 2.8.1, nnUNetTrainerDA5.get_training_transforms, for one CT channel and no cascade",
        NNUNET_DA5,
    ),
    "monai_segresnet": Preset(
        "Auto3DSeg's set for SegResNet; its shift and noise are made for images from 0 to 1, and are mild on z-scores",
        "MONAI 1.6.1, Auto3DSeg's SegResNet segmenter",
        MONAI_SEGRESNET,
    ),
}
