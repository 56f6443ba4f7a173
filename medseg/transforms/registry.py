"""All transforms that a recipe may name: a new one is one file and one line here."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from medseg.transforms.beam_hardening import BeamHardeningConfig
from medseg.transforms.bias import BiasFieldConfig
from medseg.transforms.bump import GradientConfig, LocalGammaConfig
from medseg.transforms.contrast_phase import ContrastPhaseConfig
from medseg.transforms.dose import DoseConfig
from medseg.transforms.drift import HuDriftConfig
from medseg.transforms.flip import FlipConfig
from medseg.transforms.histogram import HistogramShiftConfig
from medseg.transforms.intensity import BrightnessConfig, ContrastConfig, GammaConfig
from medseg.transforms.median import MedianConfig
from medseg.transforms.metal import MetalConfig
from medseg.transforms.missing_slices import MissingSlicesConfig
from medseg.transforms.motion import MotionConfig
from medseg.transforms.noise import GaussianNoiseConfig, NoiseConfig
from medseg.transforms.occlusion import BlankRectanglesConfig, OcclusionConfig
from medseg.transforms.relative import AddConfig, ContrastMeanConfig, GammaRangeConfig, MultiplyConfig
from medseg.transforms.resolution import BlurConfig, LowResolutionConfig, ThickSlicesConfig
from medseg.transforms.rot90 import Rot90Config, TransposeConfig
from medseg.transforms.sharpen import SharpenConfig
from medseg.transforms.spatial import AffineConfig, ElasticConfig
from medseg.transforms.truncation import TruncationConfig
from medseg.transforms.window import WindowConfig

AnyStep = (
    AffineConfig
    | ElasticConfig
    | FlipConfig
    | Rot90Config
    | TransposeConfig
    | ContrastPhaseConfig
    | MetalConfig
    | BeamHardeningConfig
    | MotionConfig
    | DoseConfig
    | BlurConfig
    | LowResolutionConfig
    | ThickSlicesConfig
    | MedianConfig
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
    | HuDriftConfig
    | BiasFieldConfig
    | GradientConfig
    | LocalGammaConfig
    | OcclusionConfig
    | BlankRectanglesConfig
    | TruncationConfig
    | MissingSlicesConfig
    | WindowConfig
)
StepConfig = Annotated[AnyStep, Field(discriminator="name")]

# One of each with its own defaults, for tests and tables.
EVERY_STEP: tuple[AnyStep, ...] = tuple(config() for config in get_args(AnyStep))
