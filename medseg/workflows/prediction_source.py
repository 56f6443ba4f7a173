"""The study of a prediction: where it lies, what its files are, and the DICOM series to which results refer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from medseg.imaging.volume import Volume
from medseg.io.dicom_sources import FileItem, Item
from medseg.io.dicom_write_source import DicomSource, read_source
from medseg.io.input_files import files_of
from medseg.io.readers import find_reader
from medseg.workflows.prediction_record import InputFacts, input_facts


@dataclass(frozen=True, eq=False)
class StudySource:
    """The study that was predicted.

    Args:
        path: where it lies.
        reading: how its reader was told to read it (`series`, `tilt`, `gaps`, ...).
        volume: its HU for picture and page, or None: outlines alone are drawn.
        where: stands first in messages.
        besides: other files that the result is made from, such as the masks of another tool.
    """

    path: str | Path
    reading: Mapping[str, Any] = field(default_factory=dict)
    volume: Volume | None = None
    where: str = ""
    besides: tuple[Path, ...] = ()

    @cached_property
    def files(self) -> tuple[Item, ...]:
        """What it is read from.

        Raises:
            FileReadError, DicomError: nothing there, or not one CT series.
        """
        besides = tuple(map(FileItem, self.besides))
        if "dicom" in vars(self):
            return (*files_of(self.dicom.series), *besides)
        options = {"series": self.reading["series"]} if "series" in self.reading else {}
        return (*find_reader(self.path, where=self.where).files(self.path, where=self.where, **options), *besides)

    @cached_property
    def input(self) -> InputFacts:
        """The study as it is now; reads its files once.

        Raises:
            FileReadError, DicomError: as `files`.
        """
        return input_facts(self.files, find_reader(self.path, where=self.where).told(self.reading), self.where)

    @cached_property
    def dicom(self) -> DicomSource:
        """The DICOM series; read before the prediction, a series that changes in between cannot be mistaken.

        Raises:
            FileReadError, DicomError: no DICOM, or slices to which nothing can refer.
        """
        known = {key: value for key, value in self.reading.items() if key in ("series", "tilt", "gaps")}
        return read_source(self.path, where=self.where, **known)

    def showing(self, volume: Volume) -> StudySource:
        """The same study with its HU; what was read of its files is not read again."""
        shown = replace(self, volume=volume)
        vars(shown).update({name: vars(self)[name] for name in ("dicom", "files", "input") if name in vars(self)})
        return shown
