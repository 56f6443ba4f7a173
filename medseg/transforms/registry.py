"""All transforms that a recipe may name: a new one is one file and one line here."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from medseg.transforms.flip import FlipConfig
from medseg.transforms.histogram import HistogramShiftConfig
from medseg.transforms.intensity import BrightnessConfig, ContrastConfig, GammaConfig
from medseg.transforms.noise import GaussianNoiseConfig, NoiseConfig
from medseg.transforms.occlusion import OcclusionConfig
from medseg.transforms.relative import AddConfig, ContrastMeanConfig, GammaRangeConfig, MultiplyConfig
from medseg.transforms.resolution import BlurConfig, LowResolutionConfig, ThickSlicesConfig
from medseg.transforms.sharpen import SharpenConfig
from medseg.transforms.spatial import AffineConfig, ElasticConfig
from medseg.transforms.window import WindowConfig

AnyStep = (
    AffineConfig
    | ElasticConfig
    | FlipConfig
    | BlurConfig
    | LowResolutionConfig
    | ThickSlicesConfig
    | SharpenConfig
    | NoiseConfig
    | GaussianNoiseConfig
    | BrightnessConfig
    | ContrastConfig
    | GammaConfig
    | MultiplyConfig
    | AddConfig
    | ContrastMeanConfig
    | GammaRangeConfig
    | HistogramShiftConfig
    | OcclusionConfig
    | WindowConfig
)
StepConfig = Annotated[AnyStep, Field(discriminator="name")]

# One of each with its own defaults, for tests and tables.
EVERY_STEP: tuple[AnyStep, ...] = tuple(config() for config in get_args(AnyStep))
