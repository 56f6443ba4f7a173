"""One case read: every reader's labels, on one grid, with what was met on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.evaluation.agreement import TRUTH
from medseg.imaging.geometry import Geometry
from medseg.imaging.regions import Reading
from medseg.imaging.volume import Volume
from medseg.io.manifest import CaseEntry, Dataset, read_image, read_reading, read_truth
from medseg.io.readers import find_reader
from medseg.workflows.readings_case import ReadCase, facts_of
from medseg.workflows.readings_grid import ONE_VOXEL, GridOptions, on_one_grid
from medseg.workflows.readings_naming import CaseSources
from medseg.workflows.readings_soft import SoftFiles
from medseg.workflows.readings_sources import Naming, nothing_found, read_source


@dataclass(frozen=True)
class ReadSources:
    """Reads a case from its sources; can be handed to another process.

    Args:
        resample: whether a model's labels may be resampled to the readers' grid.
        soft: case to model to probabilities and samples.
        dataset: where raters and truth come from, when they come from a data set.
    """

    cases: Mapping[str, CaseSources]
    models: tuple[str, ...]
    naming: Naming
    resample: bool = False
    soft: Mapping[str, Mapping[str, SoftFiles]] = field(default_factory=dict)
    images: Mapping[str, Path] = field(default_factory=dict)
    dataset: Dataset | None = None
    entries: Mapping[str, CaseEntry] = field(default_factory=dict)

    def __call__(self, case_id: str) -> ReadCase:
        """The case on one grid.

        Raises:
            FileReadError, DicomError, GeometryError, LabelError, VoxelError: a file is damaged or does not fit.
        """
        case = self.cases[case_id]
        given, truth = self._of_dataset(case_id)
        sources = case.everything
        read = given | {
            name: read_source(source, self.naming) for name, source in sources.items() if source.place is not None
        }
        options = GridOptions(
            on_part=[name for name, source in sources.items() if source.on_part],
            resampled=self.models if self.resample else (),
            models=self.models,
        )
        found = on_one_grid({**read, **({TRUTH: truth} if truth else {})}, case_id, options)
        together = found.readings
        grid = next(iter(together.values())).geometry if together else self._image_grid(case_id)
        for name, source in sources.items():
            if source.place is None:
                together[name] = nothing_found(grid, source, self.naming)
        readings = {name: together[name] for name in (*given, *case.readers)}
        repeats = {name: together[name] for name in case.repeats}
        facts = facts_of(readings, found.resampled)
        soft = self.soft.get(case_id, {})
        return ReadCase(case_id, case.patient, readings, together.get(TRUTH), repeats, facts, soft)

    def _of_dataset(self, case_id: str) -> tuple[dict[str, Reading], Reading | None]:
        if self.dataset is None:
            return {}, None
        dataset, entry = self.dataset, self.entries[case_id]
        raters = [rater for rater in dataset.raters if rater in entry.raters]
        return {rater: read_reading(dataset, entry, rater) for rater in raters}, read_truth(dataset, entry)

    def _image_grid(self, case_id: str) -> Geometry:
        """Of a case in which everybody found nothing: there is nothing to measure."""
        if (path := self.images.get(case_id)) is None:
            return ONE_VOXEL
        where = f"case {case_id}, image"
        return find_reader(path, where=where).grid(path, where=where)


@dataclass(frozen=True)
class ReadImages:
    """Reads the CT of a case, None where there is none; can be handed to another process."""

    images: Mapping[str, Path] = field(default_factory=dict)
    dataset: Dataset | None = None
    entries: Mapping[str, CaseEntry] = field(default_factory=dict)

    def __call__(self, case_id: str) -> Volume | None:
        """The image in HU.

        Raises:
            FileReadError, DicomError, GeometryError, VoxelError: see the readers.
        """
        if self.dataset is not None:
            return read_image(self.dataset, self.entries[case_id])
        if (path := self.images.get(case_id)) is None:
            return None
        where = f"case {case_id}, image"
        return find_reader(path, where=where).read(path, where=where)
