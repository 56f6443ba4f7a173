"""Who made a result: what every file of a prediction says of its origin, and nothing of a patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

RESEARCH_ONLY = "RESEARCH USE ONLY - NOT REVIEWED"
Way = Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]


@dataclass(frozen=True)
class MadeBy:
    """The origin of a label map.

    Args:
        algorithm: the program, or for masks from elsewhere whatever made them.
        version: of the program; by default that of medseg, when it is medseg.
        model, recipe: SHA-256 in hexadecimal digits of the weights and of the recipe; empty where there is none.
        way: AUTOMATIC, SEMIAUTOMATIC or MANUAL (PS3.3 C.8.20.4).
        postprocessing: SHA-256 of the steps that were done to the labels afterwards; empty where there were none.

    >>> MadeBy("TotalSegmentator", "2.4.0").facts
    {'algorithm': 'TotalSegmentator', 'version': '2.4.0'}
    """

    algorithm: str = "medseg"
    version: str = ""
    model: str = ""
    recipe: str = ""
    way: Way = "AUTOMATIC"
    postprocessing: str = ""

    def __post_init__(self) -> None:
        if not self.version and self.algorithm == "medseg":
            object.__setattr__(self, "version", version("medseg"))

    @property
    def facts(self) -> Mapping[str, str]:
        """What is known, ready for JSON or a header of keys and values."""
        known = {"algorithm": self.algorithm, "version": self.version, "model_sha256": self.model,
                 "recipe_sha256": self.recipe, "postprocessing_sha256": self.postprocessing}  # fmt: skip
        return {key: value for key, value in known.items() if value}
