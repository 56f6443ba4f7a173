"""Augmentation for CT: transforms that move the image and every rater's labels together.

Use a whole set at once (`build_pipeline`, or `BatchAugment` on a batch), or single transforms in your own
`monai.transforms.Compose` (`AffineConfig(...).build(keys)`). What each does, with units: `docs/transforms.md`.
"""

from medseg.transforms.batch import BatchAugment, apply_batch
from medseg.transforms.beam_hardening import BeamHardening, BeamHardeningConfig
from medseg.transforms.bias import BiasField, BiasFieldConfig
from medseg.transforms.bump import Gradient, GradientConfig, LocalGamma, LocalGammaConfig
from medseg.transforms.contrast_phase import ContrastPhase, ContrastPhaseConfig
from medseg.transforms.crop import Crop, CropConfig
from medseg.transforms.dose import Dose, DoseConfig
from medseg.transforms.drift import HuDrift, HuDriftConfig
from medseg.transforms.flip import Flip, FlipConfig
from medseg.transforms.histogram import HistogramShift, HistogramShiftConfig
from medseg.transforms.intensity import Brightness, BrightnessConfig, Contrast, ContrastConfig, Gamma, GammaConfig
from medseg.transforms.median import Median, MedianConfig
from medseg.transforms.metal import Metal, MetalConfig
from medseg.transforms.missing_slices import MissingSlices, MissingSlicesConfig
from medseg.transforms.motion import Motion, MotionConfig
from medseg.transforms.noise import GaussianNoise, GaussianNoiseConfig, Noise, NoiseConfig
from medseg.transforms.occlusion import BlankRectangles, BlankRectanglesConfig, Occlusion, OcclusionConfig
from medseg.transforms.pipeline import Pipeline, build_pipeline
from medseg.transforms.presets import PRESETS, Preset
from medseg.transforms.registry import EVERY_STEP, StepConfig
from medseg.transforms.relative import (
    Add,
    AddConfig,
    ContrastMean,
    ContrastMeanConfig,
    GammaRange,
    GammaRangeConfig,
    Multiply,
    MultiplyConfig,
)
from medseg.transforms.resolution import (
    Blur,
    BlurConfig,
    LowResolution,
    LowResolutionConfig,
    ThickSlices,
    ThickSlicesConfig,
)
from medseg.transforms.rot90 import Rot90, Rot90Config, Transpose, TransposeConfig
from medseg.transforms.sharpen import Sharpen, SharpenConfig
from medseg.transforms.sides import MirrorAdvice, mirror_advice
from medseg.transforms.spatial import Affine, AffineConfig, Elastic, ElasticConfig
from medseg.transforms.steps import TransformsConfig, without_left_right_flips
from medseg.transforms.transform import GeometricTransform, RandomTransform, StepBase
from medseg.transforms.truncation import Truncation, TruncationConfig
from medseg.transforms.window import WindowConfig, WindowHu, window_image

__all__ = [
    "Add",
    "AddConfig",
    "Affine",
    "AffineConfig",
    "BatchAugment",
    "BeamHardening",
    "BeamHardeningConfig",
    "BiasField",
    "BiasFieldConfig",
    "BlankRectangles",
    "BlankRectanglesConfig",
    "Blur",
    "BlurConfig",
    "Brightness",
    "BrightnessConfig",
    "Contrast",
    "ContrastConfig",
    "ContrastMean",
    "ContrastMeanConfig",
    "ContrastPhase",
    "ContrastPhaseConfig",
    "Crop",
    "CropConfig",
    "Dose",
    "DoseConfig",
    "EVERY_STEP",
    "Elastic",
    "ElasticConfig",
    "Flip",
    "FlipConfig",
    "Gamma",
    "GammaConfig",
    "GammaRange",
    "GammaRangeConfig",
    "GaussianNoise",
    "GaussianNoiseConfig",
    "GeometricTransform",
    "Gradient",
    "GradientConfig",
    "HistogramShift",
    "HistogramShiftConfig",
    "HuDrift",
    "HuDriftConfig",
    "LocalGamma",
    "LocalGammaConfig",
    "LowResolution",
    "LowResolutionConfig",
    "Median",
    "MedianConfig",
    "Metal",
    "MetalConfig",
    "MirrorAdvice",
    "MissingSlices",
    "MissingSlicesConfig",
    "Motion",
    "MotionConfig",
    "Multiply",
    "MultiplyConfig",
    "Noise",
    "NoiseConfig",
    "Occlusion",
    "OcclusionConfig",
    "PRESETS",
    "Pipeline",
    "Preset",
    "RandomTransform",
    "Rot90",
    "Rot90Config",
    "Sharpen",
    "SharpenConfig",
    "StepBase",
    "StepConfig",
    "ThickSlices",
    "ThickSlicesConfig",
    "TransformsConfig",
    "Transpose",
    "TransposeConfig",
    "Truncation",
    "TruncationConfig",
    "WindowConfig",
    "WindowHu",
    "apply_batch",
    "build_pipeline",
    "mirror_advice",
    "window_image",
    "without_left_right_flips",
]
