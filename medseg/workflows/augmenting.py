"""The batches of a training: cut, augmented in the loader or on the device, as the recipe says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.data.patches import PatchDataset, PatchSettings, augmented, batches
from medseg.data.store import StoredCase
from medseg.errors import ConfigError
from medseg.models.raters import RATER_NETWORKS
from medseg.training.distributed import World
from medseg.transforms.batch import BatchAugment
from medseg.transforms.pipeline import Pipeline, build_pipeline
from medseg.transforms.sides import mirror_advice
from medseg.transforms.steps import TransformsConfig, without_left_right_flips
from medseg.workflows.recipe import training_transforms
from medseg.workflows.run import Run
from medseg.workflows.telling import Say
from medseg.workflows.training_raters import refuse_strangers

TELLING_S = 30.0  # of steps, below which the start of the loader counts for too much
WORTH_ADVICE = 0.2  # share of each step spent waiting, above which more loader processes are worth naming

Batch = dict[str, Any]


@dataclass(frozen=True)
class Feed:
    """What a loader gives, and what makes the batch of a step of it."""

    loader: Iterable[Batch]
    prepare: Callable[[Batch], Batch]


def build_feed(run: Run, cases: Sequence[StoredCase], first_step: int, world: World, say: Say) -> Feed:
    """This process's share of the batches from `first_step` on; `say` gets a sentence if sides cannot be flipped.

    Raises:
        ConfigError: tissue of another patient is asked for and there is none.
    """
    recipe = run.recipe
    refuse_strangers(run.raters, cases)
    pipeline = augmentation(run, say)
    if pipeline.needs_donor and len(cases) < 2:
        raise ConfigError("tissue of another patient needs two training cases", where="transforms", got=str(len(cases)),
                          do="Take `tissue` out of the fills of the occlusion step.")  # fmt: skip
    device = world.device
    on_device = recipe.training.augments_on(device) == "device"
    patches = PatchDataset(cases, None if on_device else pipeline, _patch_settings(run, pipeline.needs_donor))
    loader = batches(patches, first_step, recipe.training.steps, recipe.training.batch, recipe.sampling.workers,
                     pinned=device.type == "cuda", share=(world.rank, world.size))  # fmt: skip
    augment = BatchAugment(pipeline)
    classes = len(run.labels.names)
    return Feed(loader, lambda batch: augmented(batch, augment, classes, device) if on_device else batch)


def augmentation(run: Run, say: Say = lambda text: None) -> Pipeline:
    """The run's augmentation; where classes name a side without a mirror pair, left and right are not flipped."""
    config = training_transforms(run.recipe, run.plan)
    advice = mirror_advice(run.labels.names, run.labels.mirror_indices)
    safe = TransformsConfig(preset="none", steps=without_left_right_flips(config.complete()))
    if advice.sentence and safe.steps != config.complete():
        say(advice.sentence)
        config = safe
    return build_pipeline(
        config,
        mirror_pairs=run.labels.mirror_indices,
        label_names=run.labels.names,
        spacing_mm=run.plan.spacing_mm,
        patch_shape=run.plan.patch,
    )


def describe_waiting(waited_s: float, stepped_s: float) -> str:
    """How much of each step went into waiting for data, and what would help where it is much; nothing after less than
    half a minute, most of which is the start of the loader.

    >>> describe_waiting(30.0, 70.0)
    'Share of each step spent waiting for data: 30%. More sampling.workers would shorten it.'
    """
    if waited_s + stepped_s < TELLING_S:
        return ""
    share = waited_s / (waited_s + stepped_s)
    advice = " More sampling.workers would shorten it." if share > WORTH_ADVICE else ""
    return f"Share of each step spent waiting for data: {share:.0%}.{advice}"


def _patch_settings(run: Run, donors: bool) -> PatchSettings:
    return PatchSettings(
        patch=run.plan.patch,
        sampling=run.recipe.sampling,
        classes=len(run.labels.names),
        random_rater=run.recipe.raters in ("random", *RATER_NETWORKS),
        seed=run.recipe.training.seed,
        donors=donors,
        raters=run.raters,
    )
