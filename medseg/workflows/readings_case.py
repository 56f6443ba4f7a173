"""The nouns of a comparison: all readings of one case, and where the readings of all cases come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.words import percent
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap
from medseg.imaging.regions import Reading
from medseg.imaging.volume import Volume
from medseg.shapes import FloatArray
from medseg.workflows.readings_grid import Resampled
from medseg.workflows.readings_soft import SoftFiles

LISTED = 10  # names shown in a sentence
BARE = "it counts as looked for and not found: say in a manifest (`labelled`) what was not looked for"
NAMED = "it counts as not looked for"


@dataclass(frozen=True)
class CaseFacts:
    """What was met in a case while it was read; small, and a process can hand it to another.

    Args:
        labels: reader to the labels that the reading is about: those that occur in a map of bare values, else those
            that were looked for.
        resampled: model to what resampling did to its labels.
        open_ended: who does not say what was looked for: a label that their map does not hold was not found.
    """

    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resampled: Mapping[str, Resampled] = field(default_factory=dict)
    open_ended: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadCase:
    """One case with everything that is to be compared, on the grid of its first reading.

    `readings` maps raters, in their order, and then the models to their labels; who is missing is not in it.
    `repeats` holds further readings by the same raters and models, named as in `Readings.repeats`.
    """

    id: str
    patient: str
    readings: Mapping[str, Reading]
    truth: Reading | None
    repeats: Mapping[str, Reading] = field(default_factory=dict)
    facts: CaseFacts = field(default_factory=CaseFacts)
    soft: Mapping[str, SoftFiles] = field(default_factory=dict)

    @property
    def geometry(self) -> Geometry:
        return next(iter(self.readings.values())).geometry

    @property
    def diagonal_mm(self) -> float:
        """Length of the image's diagonal: the largest distance that two voxels can have."""
        return float(np.linalg.norm((np.array(self.geometry.shape) - 1) * self.geometry.spacing_mm))

    def probabilities(self, label: str, model: str | None = None) -> FloatArray | None:
        """A model's probability (X, Y, Z) of a label, float32; None where it left none.

        Args:
            model: the first model that left probabilities or samples by default.

        Raises:
            FileReadError, GeometryError, LabelError, VoxelError: damaged, on another grid, other labels, no shares.
        """
        soft = self._soft(model)
        return None if soft is None else soft.read_probabilities(label, self.geometry)

    def samples(self, model: str | None = None) -> Iterator[Reading]:
        """The draws of a model one by one; nothing where it left none.

        Raises:
            FileReadError, GeometryError, LabelError: as a model's labels.
        """
        soft = self._soft(model)
        return iter(()) if soft is None else soft.read_samples(self.geometry)

    def sample_count(self, model: str | None = None) -> int:
        """The number of draws, without reading them."""
        soft = self._soft(model)
        return 0 if soft is None else len(soft.samples)

    def _soft(self, model: str | None) -> SoftFiles | None:
        return next(iter(self.soft.values()), None) if model is None else self.soft.get(model)


@dataclass(frozen=True)
class Readings:
    """Where readings come from; nothing is read until `read` is called with a case id.

    `read` and `image` can be handed to another process.

    Args:
        raters, models: all names, in order.
        cases: case id to patient, in order.
        labels: names of the structures, or None when every file brings its own values (bare folders).
        files: shown name to path, of every file that enters the numbers.
        read: gives the case of an id.
        image: gives the CT of an id, None where this case has none; itself None where no case has one.
        notes: what a reader of the report must know about the input.
        anonymous: rater K is another person in every case.
        repeats: name of a further reading to the rater or model who made it.
        trained_on: model to the raters from whose outlines it learned.
        strata: case to group names and values.
        soft_files: as `files`, of probabilities and samples.
    """

    raters: tuple[str, ...]
    models: tuple[str, ...]
    cases: Mapping[str, str]
    labels: tuple[str, ...] | None
    files: Mapping[str, Path]
    read: Callable[[str], ReadCase]
    image: Callable[[str], Volume | None] | None = None
    notes: tuple[str, ...] = ()
    anonymous: bool = False
    repeats: Mapping[str, str] = field(default_factory=dict)
    trained_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    soft_files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def model(self) -> str | None:
        """The first model."""
        return self.models[0] if self.models else None

    def told(self, facts: Iterable[CaseFacts]) -> tuple[str, ...]:
        """The notes, and what only reading the cases showed: label sets that differ, labels that were resampled."""
        met = list(facts)
        consequence = BARE if self.labels is None else NAMED
        different = _different_labels((*self.raters, *self.models), met, consequence)
        return (*self.notes, *different, *_resampling(self.models, met))


def facts_of(readings: Mapping[str, Reading], resampled: Mapping[str, Resampled]) -> CaseFacts:
    """The facts of one case."""
    open_ended = tuple(name for name, reading in readings.items() if _is_open_ended(reading))
    return CaseFacts({name: _labels_of(reading) for name, reading in readings.items()}, resampled, open_ended)


def listed(names: Sequence[str], most: int = LISTED) -> str:
    """The first names and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def unknown_model(name: str, models: Sequence[str], where: str) -> UsageError:
    """The error for an option that names a model that is not there."""
    return UsageError(f"no model '{name}'", where=where, expected="one of " + ", ".join(models))


def _labels_of(reading: Reading) -> tuple[str, ...]:
    names = reading.label_set.foreground
    return names if _is_open_ended(reading) else tuple(name for name in names if reading.was_read(name))


def _is_open_ended(reading: Reading) -> bool:
    return isinstance(reading, LabelMap) and reading.labelled is None


def _different_labels(names: Sequence[str], facts: Sequence[CaseFacts], consequence: str) -> Iterator[str]:
    """A sentence for each reader who holds fewer labels than all together."""
    held: dict[str, set[str]] = {}
    for case in facts:
        for name, labels in case.labels.items():
            held.setdefault(name, set()).update(labels)
    everything = set().union(*held.values()) if held else set()
    for name in names:
        if name in held and (lacking := sorted(everything - held[name], key=_by_value)):
            yield f"label sets differ: no reading of {name} holds {listed(lacking)}, which others do; {consequence}"


def _by_value(name: str) -> tuple[int, str]:
    return int(name) if name.isdigit() else 0, name


def _resampling(models: Sequence[str], facts: Sequence[CaseFacts]) -> Iterator[str]:
    for model in models:
        moved = [case.resampled[model] for case in facts if model in case.resampled]
        if moved:
            shift, outside = max(one.shift_mm for one in moved), max(one.outside for one in moved)
            beyond = f"; up to {percent(outside, 1)} of a grid lay outside the model's image and count as background"
            yield (f"{model}: the labels of {len(moved)} of {len(facts)} cases were resampled to the readers' grid "
                   f"(nearest neighbour, by up to {shift:.2f} mm){beyond if outside > 0 else ''}")  # fmt: skip
