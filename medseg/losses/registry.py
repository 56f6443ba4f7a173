"""The losses that a recipe can name. A new one is a file with a Config and a line here."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field
from torch import nn

from medseg.losses.boundary import BoundaryConfig
from medseg.losses.cl_dice import ClDiceConfig
from medseg.losses.dice_ce import DiceCEConfig, DiceFocalConfig, DiceTopKConfig
from medseg.losses.regions import RegionTerms, find_regions
from medseg.losses.task import Task

LossConfig = Annotated[
    DiceCEConfig | DiceTopKConfig | DiceFocalConfig | BoundaryConfig | ClDiceConfig, Field(discriminator="name")
]


def build_loss(config: LossConfig, task: Task) -> nn.Module:
    """The loss of a training: on its classes, or on `loss.regions` where there are any.

    Raises:
        ConfigError: a name that the task does not have, see `find_regions`.
    """
    if not config.regions:
        return config.build(task)
    regions = find_regions(config.regions, task.names)
    loss = config.build(replace(task, names=("background", *regions)))
    return RegionTerms(loss.terms, list(regions.values()))
