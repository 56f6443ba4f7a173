"""`RUN/postprocessing.yaml`: what `medseg validate` chose to do to the labels of a run, to be read and changed by hand.

```yaml
format: medseg.postprocessing/1
model_sha256: 9d5f...       # the weights for which this was chosen
steps:
- {name: keep_largest, of: [liver], pieces: 1, gain: {dice_before: 0.931, dice_after: 0.944, cases: 20}}
- {name: drop_small, of: [tumour], below_ml: 0.3}
- {name: drop_apart, of: [tumour], touching: [liver]}
- {name: fill_cavities, of: [liver], up_to_ml: null}
```
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medseg.config import Config, read_config, write_config
from medseg.imaging.labels import LabelSet
from medseg.imaging.postprocess import DropApart, DropSmall, FillCavities, KeepLargest, Step, check_steps

FILE = "postprocessing.yaml"
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class Gain(Config):
    """Mean Dice of a step's structures over so many held-out cases, without the step and with it."""

    dice_before: float
    dice_after: float
    cases: int


class _StepConfig(Config):
    """What every step has; `gain` stands last in the file."""

    of: Names


class KeepLargestConfig(_StepConfig):
    """Only the largest pieces stay of the structure that the labels are together."""

    name: Literal["keep_largest"] = "keep_largest"
    pieces: int = Field(default=1, ge=1)
    gain: Gain | None = None

    def build(self) -> Step:
        """The step."""
        return KeepLargest(self.of, self.pieces)


class DropSmallConfig(_StepConfig):
    """Pieces below a volume are removed."""

    name: Literal["drop_small"] = "drop_small"
    below_ml: float = Field(gt=0)
    gain: Gain | None = None

    def build(self) -> Step:
        """The step."""
        return DropSmall(self.of, self.below_ml)


class DropApartConfig(_StepConfig):
    """Pieces that touch none of these structures are removed."""

    name: Literal["drop_apart"] = "drop_apart"
    touching: Names
    gain: Gain | None = None

    def build(self) -> Step:
        """The step."""
        return DropApart(self.of, self.touching)


class FillCavitiesConfig(_StepConfig):
    """Background that one label encloses on all sides gets the label."""

    name: Literal["fill_cavities"] = "fill_cavities"
    up_to_ml: float | None = Field(default=None, gt=0)
    gain: Gain | None = None

    def build(self) -> Step:
        """The step."""
        return FillCavities(self.of, self.up_to_ml)


StepConfig = Annotated[
    KeepLargestConfig | DropSmallConfig | DropApartConfig | FillCavitiesConfig, Field(discriminator="name")
]


class Postprocessing(Config):
    """The steps of a run, in their order.

    Args:
        model_sha256: of the weights for which they were chosen; empty where somebody wrote them by hand.
    """

    format: Literal["medseg.postprocessing/1"] = "medseg.postprocessing/1"
    model_sha256: str = ""
    steps: tuple[StepConfig, ...] = ()

    @property
    def built(self) -> tuple[Step, ...]:
        """The steps, ready to be applied."""
        return tuple(step.build() for step in self.steps)

    @property
    def digest(self) -> str:
        """SHA-256 of what the steps do, whatever they gained and for whom they were chosen; empty without a step."""
        if not self.steps:
            return ""
        plain = [step.model_dump(mode="json", exclude={"gain"}) for step in self.steps]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_postprocessing(folder: str | Path, chosen: Postprocessing) -> Path:
    """Writes the file of a run; returns its path."""
    path = Path(folder) / FILE
    write_config(path, chosen)
    return path


def read_postprocessing(folder: str | Path, labels: LabelSet | None = None) -> Postprocessing | None:
    """What a run's file says; None where the run has none.

    Args:
        labels: of the run, where names are to be checked.

    Raises:
        FileReadError, ConfigError: the file cannot be read, or is no such file; names line and key.
        LabelError: it names a structure that the run does not have.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    found = read_config(path, Postprocessing)
    if labels is not None:
        check_steps(found.built, labels, where=FILE)
    return found


def agreed_postprocessing(
    folders: Sequence[str | Path], labels: LabelSet | None = None
) -> tuple[Postprocessing | None, bool]:
    """The postprocessing on which runs that predict together agree, and whether they do.

    Steps were chosen for the mistakes of one run; of runs that disagree none has a claim on the mean of them all.

    Raises:
        FileReadError, ConfigError, LabelError: as `read_postprocessing`.
    """
    found = [read_postprocessing(folder, labels) or Postprocessing() for folder in folders]
    agree = len({each.digest for each in found}) == 1
    return (found[0] if agree and found[0].steps else None), agree


def postprocessing_doubts(folders: Sequence[str | Path], model_sha256: str) -> tuple[str, ...]:
    """What the user should know of the postprocessing of runs: that it is left out, or was chosen for other weights.

    Args:
        model_sha256: of the weights that predict.
    """
    found, agree = agreed_postprocessing(folders)
    if not agree:
        return ("nothing was postprocessed, because the runs do not agree on it",)
    if found and len(folders) == 1 and found.model_sha256 not in ("", model_sha256):
        return (f"{FILE} was chosen for another checkpoint or rater; `medseg validate` chooses anew",)
    return ()
