"""Augmentation for CT: dictionary transforms that move the image and every rater's labels together.

Use a whole recipe at once (`build_pipeline`), or single transforms in your own `monai.transforms.Compose`
(`FlipConfig(...).build(keys)`).
"""

from medseg.transforms.flip import Flip, FlipConfig, FlipParams
from medseg.transforms.pipeline import Pipeline, StepConfig, TransformsConfig, build_pipeline
from medseg.transforms.window import WindowConfig, WindowHu, WindowParams, window_image

__all__ = [
    "Flip",
    "FlipConfig",
    "FlipParams",
    "Pipeline",
    "StepConfig",
    "TransformsConfig",
    "WindowConfig",
    "WindowHu",
    "WindowParams",
    "build_pipeline",
    "window_image",
]
