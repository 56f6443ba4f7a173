"""The predictions of every model, found before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.evaluation.words import counted
from medseg.io.dicom import is_series
from medseg.io.manifest import ImageOptions
from medseg.workflows.readings_case import listed
from medseg.workflows.readings_files import CaseFiles, case_pattern, check_predicted, find_case_files
from medseg.workflows.readings_formats import Place, reading_stem
from medseg.workflows.readings_labels import ModelLabels
from medseg.workflows.readings_options import ReadingOptions
from medseg.workflows.readings_soft import SoftFiles, SoftIndex, find_soft_files
from medseg.workflows.readings_sources import Naming, Source

Image = tuple[Path, ImageOptions]


@dataclass(frozen=True)
class FoundModels:
    """What all models left.

    Args:
        sources: model to case to labels.
        index: model to probabilities and samples.
        notes: sentences for the report.
    """

    sources: Mapping[str, Mapping[str, Source]] = field(default_factory=dict)
    index: Mapping[str, SoftIndex] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, case: str) -> dict[str, Source]:
        """The models' labels of a case."""
        return {name: own[case] for name, own in self.sources.items() if case in own}

    @property
    def files(self) -> dict[str, Path]:
        """Shown name and path of every file of labels."""
        return {
            f"{name}/{shown}": path
            for name, own in self.sources.items()
            for case, source in own.items()
            if source.place
            for shown, path in source.place.shown(case).items()
        }

    @property
    def soft_files(self) -> dict[str, Path]:
        """Shown name and path of every file of probabilities and samples."""
        found = self.soft(Naming(), resample=False)
        return {f"{name}/{shown}": path for own in found.values() for name, soft in own.items()
                for shown, path in soft.files.items()}  # fmt: skip

    def soft(self, naming: Naming, *, resample: bool) -> dict[str, dict[str, SoftFiles]]:
        """Case to model to probabilities and samples, where there are any."""
        found: dict[str, dict[str, SoftFiles]] = {}
        for name, own in self.sources.items():
            for case, source in own.items():
                assert source.place is not None
                files, samples = self.index[name].of((case, reading_stem(source.place.path)))
                if files or samples:
                    found.setdefault(case, {})[name] = SoftFiles(source, naming, files, samples, resample)
        return found


def find_models(
    folders: Mapping[str, Path],
    cases: Sequence[str],
    images: Mapping[str, Image],
    options: ReadingOptions,
    *,
    allow_missing: bool,
) -> FoundModels:
    """The predictions of the cases in each model's folder.

    Raises:
        FileReadError: no such folder, or cases without a prediction unless `allow_missing`.
        UsageError: no prediction of any case, two of one, or an option for a model that is not there.
    """
    names = list(folders)
    options.check_models(names)
    sources: dict[str, dict[str, Source]] = {}
    index: dict[str, SoftIndex] = {}
    notes: list[str] = []
    for name, folder in folders.items():
        pattern, mapping = options.of_model(name)
        found = find_case_files(folder, name=name, pattern=case_pattern(pattern))
        check_predicted(name, found.places, cases, allow_missing=allow_missing, seen=sorted(found.places))
        sources[name] = {case: source_of(found.places[case], case, name, images.get(case), mapping, role="model ")
                         for case in cases if case in found.places}  # fmt: skip
        index[name] = find_soft_files(folder, beside=len(folders) == 1)
        notes += _notes(name, found, cases, pattern)
    return FoundModels(sources, index, tuple(notes))


def source_of(
    place: Place | None,
    case: str,
    reader: str,
    image: Image | None,
    mapping: ModelLabels | None = None,
    *,
    role: str = "",
) -> Source:
    """The source of one reading; a SEG lies on its CT where that is a DICOM series, else on a grid of its own."""
    path, how = image or (None, ImageOptions())
    if place is None or (place.kind == "seg" and path is not None and not is_series(path)):
        path = None
    return Source(place, f"case {case}, {role}{reader}", reader, mapping=mapping, image=path, image_options=how)


def _notes(name: str, found: CaseFiles, cases: Sequence[str], pattern: str | None) -> list[str]:
    notes = []
    if unread := sorted(set(found.places) - set(cases)):
        notes.append(f"left out, because no reader read the case: {counted(len(unread), 'prediction')} of {name}: "
                     + listed(unread))  # fmt: skip
    if found.passed_over:
        passed = counted(len(found.passed_over), "file")
        notes.append(f"left out, because they do not fit {pattern}: {passed} of {name}")
    if missing := [case for case in cases if case not in found.places]:
        notes.append(f"{name}: {len(missing)} of {len(cases)} cases have no prediction and were left out: "
                     + listed(missing))  # fmt: skip
    return notes
