"""Augmentation for CT: dictionary transforms that move the image and every rater's labels together.

Use a whole recipe at once (`build_pipeline`), or single transforms in your own `monai.transforms.Compose`
(`AffineConfig(...).build(keys)`). What each does, with units: `docs/transforms.md`.
"""

from medseg.transforms.crop import Crop, CropConfig
from medseg.transforms.flip import Flip, FlipConfig
from medseg.transforms.intensity import (
    Brightness,
    BrightnessConfig,
    Contrast,
    ContrastConfig,
    Gamma,
    GammaConfig,
    Noise,
    NoiseConfig,
)
from medseg.transforms.occlusion import Occlusion, OcclusionConfig
from medseg.transforms.pipeline import Pipeline, StepConfig, TransformsConfig, build_pipeline
from medseg.transforms.resolution import Blur, BlurConfig, LowResolution, LowResolutionConfig
from medseg.transforms.rot90 import Rot90, Rot90Config, Transpose, TransposeConfig
from medseg.transforms.sides import MirrorAdvice, mirror_advice
from medseg.transforms.spatial import Affine, AffineConfig, Elastic, ElasticConfig
from medseg.transforms.window import WindowConfig, WindowHu, window_image

__all__ = [
    "Affine",
    "AffineConfig",
    "Blur",
    "BlurConfig",
    "Brightness",
    "BrightnessConfig",
    "Contrast",
    "ContrastConfig",
    "Crop",
    "CropConfig",
    "Elastic",
    "ElasticConfig",
    "Flip",
    "FlipConfig",
    "Gamma",
    "GammaConfig",
    "LowResolution",
    "LowResolutionConfig",
    "MirrorAdvice",
    "Noise",
    "NoiseConfig",
    "Occlusion",
    "OcclusionConfig",
    "Pipeline",
    "Rot90",
    "Rot90Config",
    "StepConfig",
    "TransformsConfig",
    "Transpose",
    "TransposeConfig",
    "WindowConfig",
    "WindowHu",
    "build_pipeline",
    "mirror_advice",
    "window_image",
]
