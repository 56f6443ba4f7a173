"""The whole YAML as one typed object: what `medseg train` needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from medseg.config import Config, read_config
from medseg.data.folds import FoldsConfig
from medseg.data.patches import SamplingConfig
from medseg.data.store import RaterMode
from medseg.errors import ConfigError
from medseg.inference.sliding_window import InferenceConfig
from medseg.losses.dice_ce import DiceCEConfig
from medseg.losses.registry import LossConfig
from medseg.models.registry import ModelConfig
from medseg.models.unet import UNetConfig
from medseg.preprocessing.plan import Plan, PlanConfig, PreprocessingConfig, normalised_window
from medseg.training.optim import preferred
from medseg.training.settings import TrainingConfig
from medseg.transforms.steps import TransformsConfig, with_window
from medseg.transforms.window import WindowConfig
from medseg.workflows.watching_settings import TrackingConfig

HOW = {
    "training": ("accumulate", "checkpoint_every", "log_every", "device", "compile", "augment_on"),
    "sampling": ("workers",),
    "tracking": tuple(TrackingConfig.model_fields),
}


class Recipe(Config):
    """One training run. Everything but `data` has a default.

    Args:
        data: a DATASET (a `dataset.yaml` or the folder that holds one), relative to the current folder.
        split: cases to train on; default all whose split is not `test`.
        absent_structures: `refuse` a data set in which a structure occurs in no case at all, or `allow` it.
        init: trained weights to begin with: a RUN, a .safetensors file, or `nnunet:DIR`, nnU-Net's results folder.
        cascade: a RUN on a coarser grid whose predictions the network is told, as further channels.
        raters: what several experts' labels become: `random` (one of them for each patch), `soft` (the share of all),
            `majority` or `staple` (one consensus), or a network that tells them apart: `heads`, `conditioned`, `crowd`.
    """

    data: str
    split: str | None = None
    init: str | None = None
    cascade: str | None = None
    absent_structures: Literal["refuse", "allow"] = "refuse"
    raters: RaterMode = "random"
    plan: PlanConfig = PlanConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    folds: FoldsConfig = FoldsConfig()
    sampling: SamplingConfig = SamplingConfig()
    transforms: TransformsConfig = TransformsConfig()
    model: ModelConfig = UNetConfig()
    loss: LossConfig = DiceCEConfig()
    training: TrainingConfig = TrainingConfig()
    inference: InferenceConfig = InferenceConfig()
    tracking: TrackingConfig = TrackingConfig()


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from YAML with `key=value` overrides on top.

    Raises:
        FileReadError, ConfigError: naming file, line and key.
    """
    return read_config(path, Recipe, overrides)


def with_preferences(recipe: Recipe) -> Recipe:
    """The recipe with the optimiser and the schedule that its network prefers, where it names neither."""
    if recipe.training.model_fields_set & {"optimizer", "schedule"}:
        return recipe
    optimizer, schedule = preferred(*recipe.model.prefers, recipe.training.steps)
    training = recipe.training.model_copy(update={"optimizer": optimizer, "schedule": schedule})
    return recipe.model_copy(update={"training": training})


def learned_alike(recipe: Recipe, other: Recipe) -> Recipe:
    """The recipe with everything of another one that may change on resume: what decides how, but not what is learned
    (another machine, less memory or more loader processes give the same curve), and the scale of the learning rate."""
    recipe, changed = with_rate_of(recipe, other), {}
    for section, keys in HOW.items():
        theirs = {key: getattr(getattr(other, section), key) for key in keys}
        changed[section] = getattr(recipe, section).model_copy(update=theirs)
    return recipe.model_copy(update=changed)


def with_rate_of(recipe: Recipe, other: Recipe) -> Recipe:
    """The recipe with another one's scale of the learning rate."""
    scale = other.training.learning_rate_scale
    training = recipe.training.model_copy(update={"learning_rate_scale": scale})
    return recipe.model_copy(update={"training": training})


def training_transforms(recipe: Recipe, plan: Plan) -> TransformsConfig:
    """The recipe's augmentation with the plan's own normalisation where its window step stands, else at the end; only
    the jitter of the window's ends is the recipe's.

    Raises:
        ConfigError: the recipe's `window` step names another window than the plan.
    """
    steps = recipe.transforms.complete()
    place = next((number for number, step in enumerate(steps) if isinstance(step, WindowConfig)), len(steps))
    jitter = WindowConfig()
    if place < len(steps) and isinstance(given := steps[place], WindowConfig):
        if "window_hu" in given.model_fields_set and given.window_hu != plan.window_hu:
            raise ConfigError("the window step names another window than the plan", where="transforms",
                              expected=f"{plan.window_hu}", got=f"{given.window_hu}",
                              do="Set plan.window_hu and leave window_hu out of the window step.")  # fmt: skip
        jitter = given
    window = WindowConfig(window_hu=plan.window_hu, output=normalised_window(plan), probability=jitter.probability,
                          jitter_hu=jitter.jitter_hu)  # fmt: skip
    steps = with_window((*steps[:place], window, *steps[place + 1 :]), plan.window_hu)
    return TransformsConfig(preset="none", steps=steps)
