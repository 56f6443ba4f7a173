"""Whole sets of steps under one name, for `preset:` in a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medseg.transforms.flip import FlipConfig
from medseg.transforms.intensity import BrightnessConfig, ContrastConfig, GammaConfig, NoiseConfig
from medseg.transforms.occlusion import OcclusionConfig
from medseg.transforms.registry import AnyStep
from medseg.transforms.resolution import BlurConfig, LowResolutionConfig
from medseg.transforms.spatial import AffineConfig, ElasticConfig
from medseg.transforms.window import WindowConfig

PresetName = Literal["none", "ct_default"]


@dataclass(frozen=True)
class Preset:
    """Steps in the order in which they run, what they are for, and where they are described."""

    about: str
    source: str
    steps: tuple[AnyStep, ...] = ()


PRESETS: dict[PresetName, Preset] = {
    "none": Preset("nothing but the steps that the recipe names", "none"),
    "ct_default": Preset(
        "made for CT, mild enough for a short training: the body moves, the scanner blurs and adds noise",
        "medseg's own",
        (
            AffineConfig(),
            ElasticConfig(),
            FlipConfig(),
            BlurConfig(),
            LowResolutionConfig(),
            NoiseConfig(),
            BrightnessConfig(),
            ContrastConfig(),
            GammaConfig(),
            OcclusionConfig(),
            WindowConfig(),
        ),
    ),
}
