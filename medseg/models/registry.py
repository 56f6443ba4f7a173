"""The architectures that a recipe can name. A new one is a file with a Config and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medseg.models.unet import UNetConfig
from medseg.models.unetr import UNETRConfig

ModelConfig = Annotated[UNetConfig | UNETRConfig, Field(discriminator="name")]
