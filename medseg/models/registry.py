"""The architectures that a recipe can name. A new one is a file with a Config and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medseg.models.mednext import MedNeXtConfig
from medseg.models.segresnet import SegResNetConfig
from medseg.models.swin_unetr import SwinUNETRConfig
from medseg.models.unet import ResEncConfig, UNetConfig
from medseg.models.unetr import UNETRConfig

ModelConfig = Annotated[
    UNetConfig | ResEncConfig | UNETRConfig | SwinUNETRConfig | MedNeXtConfig | SegResNetConfig,
    Field(discriminator="name"),
]
