"""Patches of cases that the tests make of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medseg.data.patches import PatchDataset, PatchSettings, SamplingConfig
from medseg.data.store import StoredCase
from medseg.shapes import IntTriple
from medseg.transforms.pipeline import TransformsConfig, build_pipeline

NO_MARGIN = SamplingConfig(margin_share=0)


def unchanged(sample: dict[Any, Any], *, seed: tuple[int, ...]) -> dict[Any, Any]:
    return sample


@pytest.fixture
def make_patches() -> Callable[..., PatchDataset]:
    """A dataset of three classes; samples stay as they are cut unless augmentation `steps` are given."""

    def make(
        *cases: StoredCase,
        patch: IntTriple = (6, 6, 6),
        sampling: SamplingConfig = NO_MARGIN,
        random_rater: bool = False,
        seed: int = 0,
        steps: tuple[Any, ...] = (),
    ) -> PatchDataset:
        settings = PatchSettings(patch, sampling, classes=3, random_rater=random_rater, seed=seed)
        augment = build_pipeline(TransformsConfig(preset="none", steps=steps), patch_shape=patch)
        return PatchDataset(cases, augment if steps else unchanged, settings)

    return make
