"""The losses that a recipe can name. A new one is a file with a Config and a line here (a second makes it a union)."""

from __future__ import annotations

from medseg.losses.dice_ce import DiceCEConfig

LossConfig = DiceCEConfig
