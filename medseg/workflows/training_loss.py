"""What a training minimises, and the structures by which it is judged: classes, and regions of several of them."""

from __future__ import annotations

from torch import nn

from medseg.imaging.labels import LabelSet
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.regions import find_regions
from medseg.losses.registry import build_loss
from medseg.losses.task import Task
from medseg.models.contentless import contentless
from medseg.preprocessing.plan import Plan
from medseg.workflows.recipe import Recipe
from medseg.workflows.run import build_network


def training_loss(recipe: Recipe, plan: Plan, labels: LabelSet) -> nn.Module:
    """The recipe's loss for these labels, over all outputs of the network.

    Raises:
        ConfigError: the loss names a class that is not there, or regions that do not tell the classes apart.
    """
    return DeepSupervision(build_loss(recipe.loss, Task(labels.names, plan.spacing_mm, plan.patch)))


def judged_structures(recipe: Recipe, labels: LabelSet) -> dict[str, tuple[int, ...]]:
    """Name to class indices of what validation reports: every class but the background, then the regions."""
    classes = {name: (index,) for index, name in enumerate(labels.names) if index}
    return classes | find_regions(recipe.loss.regions, labels.names) if recipe.loss.regions else classes


def check_network(recipe: Recipe, plan: Plan, labels: LabelSet) -> None:
    """Builds the network without its weights, so that settings that cannot be built show before anything is written.

    Raises:
        ConfigError: see the networks' `build`.
    """
    with contentless():
        build_network(recipe, plan, len(labels.names), len(labels.names))
