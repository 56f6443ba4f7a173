"""The losses that a recipe can name. A new one is a file with a Config and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medseg.losses.boundary import BoundaryConfig
from medseg.losses.cl_dice import ClDiceConfig
from medseg.losses.dice_ce import DiceCEConfig, DiceFocalConfig, DiceTopKConfig

LossConfig = Annotated[
    DiceCEConfig | DiceTopKConfig | DiceFocalConfig | BoundaryConfig | ClDiceConfig, Field(discriminator="name")
]
