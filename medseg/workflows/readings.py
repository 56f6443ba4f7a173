"""Readings to compare, one case at a time on one grid: from a data set with predictions, bare folders or a manifest.

The way of all three: which file is whose (`readings_files`), what lies there (`readings_formats`), what its labels are
called (`readings_naming`), then case by case read (`readings_sources`) and put on one grid (`readings_grid`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.errors import FileReadError, LabelError, UsageError
from medseg.evaluation.agreement import TRUTH
from medseg.evaluation.words import counted, were
from medseg.io.layouts.label_names import from_names
from medseg.io.manifest import Dataset, ImageOptions, read_dataset
from medseg.io.reading_manifest import ReadingManifest, ReadingRow, read_reading_manifest
from medseg.workflows.readings_case import CaseFacts, ReadCase, Readings, listed
from medseg.workflows.readings_files import (
    Models,
    case_pattern,
    check_predicted,
    find_case_files,
    find_images,
    model_folders,
)
from medseg.workflows.readings_formats import entries, find_place
from medseg.workflows.readings_grid import check_same_lattice, on_one_grid
from medseg.workflows.readings_labels import ModelLabels
from medseg.workflows.readings_models import FoundModels, find_models, source_of
from medseg.workflows.readings_naming import CaseSources, settle_names
from medseg.workflows.readings_options import ReadingOptions
from medseg.workflows.readings_read import ReadImages, ReadSources
from medseg.workflows.readings_runs import check_unseen, learned_raters
from medseg.workflows.readings_sources import Source

__all__ = ["CaseFacts", "ModelLabels", "Models", "ReadCase", "ReadingOptions", "Readings", "check_same_lattice",
           "dataset_readings", "folder_readings", "manifest_readings", "on_one_grid", "open_dataset"]  # fmt: skip

PLAIN = ReadingOptions()


def open_dataset(dataset: Dataset | str | Path) -> Dataset:
    """The data set itself, or read from its `dataset.yaml` or folder."""
    return dataset if isinstance(dataset, Dataset) else read_dataset(dataset)


def dataset_readings(
    dataset: Dataset,
    predictions: Models,
    *,
    split: str | None = None,
    allow_missing: bool = False,
    options: ReadingOptions = PLAIN,
) -> Readings:
    """Raters of a data set and, beside them, the predictions in each model's folder.

    Raises:
        UsageError: the split is empty, or a folder has predictions of none of the cases.
        FileReadError: predictions are missing and `allow_missing` is not given; all are listed.
        LabelError: a model's structures are no labels of the data set.
    """
    options.refuse(("labels", "raters_match", "images", "anonymous", "strata"), "a data set")
    chosen = {entry.id: entry for entry in dataset.select(split) if entry.raters or entry.truth}
    if not chosen:
        what = "no case has a reader" if split is None else f"no case of split '{split}' has a reader"
        raise UsageError(what, where="dataset.yaml", do="Check the split and the raters in dataset.yaml.")
    _check_raters(dataset.raters, "dataset.yaml")
    folders = model_folders(predictions, (*dataset.raters, TRUTH))
    images = {case: (entry.image, entry.image_options) for case, entry in chosen.items()}
    runs = options.runs_of(list(folders))
    check_unseen(runs, {case: entry.patient for case, entry in chosen.items()},
                 {entry.id: entry.patient for entry in dataset.cases})  # fmt: skip
    models = find_models(folders, list(chosen), images, options, allow_missing=allow_missing)
    cases = [CaseSources(case, entry.patient, models.of(case), {}) for case, entry in chosen.items()]
    naming = settle_names(cases, tuple(folders), options.naming(dataset.labels))
    files = {}
    for entry in chosen.values():
        paths = [*(p for file in entry.raters.values() for p in file.paths), *([entry.truth] if entry.truth else [])]
        files |= {dataset.shown(path): path for path in paths}
    soft = models.soft(naming, resample=options.resample_to is not None)
    read = ReadSources({case.id: case for case in cases}, tuple(folders), naming, options.resample_to is not None, soft,
                       dataset=dataset, entries=chosen)  # fmt: skip
    return Readings(
        dataset.raters,
        tuple(folders),
        {case_id: entry.patient for case_id, entry in chosen.items()},
        dataset.labels.foreground,
        files | models.files,
        read,
        image=ReadImages(dataset=dataset, entries=chosen),
        notes=models.notes,
        anonymous=dataset.anonymous,
        trained_on=learned_raters(runs, dataset),
        soft_files=models.soft_files,
    )


def folder_readings(
    raters: str | Path, models: Models = None, *, allow_missing: bool = False, options: ReadingOptions = PLAIN
) -> Readings:
    """Raters of `raters/<rater>/<case>.nii.gz` and models of `<folder>/<case>.nii.gz`; the models may be left out.

    Instead of a label file there may be any format of `readings_formats`. Without names for the labels every
    non-zero value is one.

    Raises:
        FileReadError: a folder is missing, a case's folder is empty, or predictions are missing and `allow_missing`
            is not given.
        UsageError: there is no rater, a rater's folder has no file, or two files are of one case.
        LabelError: names of structures that do not fit together.
    """
    options.refuse(("strata",), "bare folders")
    root = Path(raters)
    if not root.is_dir():
        raise FileReadError("no such folder", where=root.name, expected="one folder per rater in it")
    folders = {path.name: path for path in entries(root, where=root.name) if path.is_dir()}
    if not folders:
        raise UsageError("no rater", where=root.name, expected="<rater>/<case>.nii.gz")
    _check_raters(tuple(folders), root.name)
    cut = case_pattern(options.raters_match, where="--raters-match")
    found = {name: find_case_files(folder, name=name, pattern=cut, strict=True) for name, folder in folders.items()}
    if empty := [name for name, files in found.items() if not files.places]:
        raise UsageError("no rater" if len(empty) == len(found) else f"no label file of rater '{empty[0]}'",
                         where=root.name, expected="<rater>/<case>.nii.gz", do="Fill or remove empty folders.",
                         )  # fmt: skip
    ids = sorted({case for files in found.values() for case in files.places})
    images = {case: (path, ImageOptions()) for case, path in find_images(options.images, ids).items()}
    own = model_folders(models, (*folders, TRUTH))
    check_unseen(options.runs_of(list(own)), {case: case for case in ids}, {case: case for case in ids})
    predicted = find_models(own, ids, images, options, allow_missing=allow_missing)
    cases = []
    for case in ids:
        read = {name: source_of(files.places[case], case, name, images.get(case)) for name, files in found.items()
                if case in files.places}  # fmt: skip
        cases.append(CaseSources(case, case, read | predicted.of(case), {}))
    pattern = options.raters_match
    notes = [f"left out, because they do not fit {pattern}: {counted(len(files.passed_over), 'file')} of {name}"
             for name, files in found.items() if files.passed_over]  # fmt: skip
    files = {f"raters/{name}/{shown}": path for name, files in found.items() for case, place in files.places.items()
             for shown, path in place.shown(case).items()}  # fmt: skip
    bare = Readings(tuple(folders), tuple(own), {case: case for case in ids}, None, files, _unread,
                    notes=tuple(notes), anonymous=options.anonymous)  # fmt: skip
    return _readings(bare, cases, predicted, options, {case: path for case, (path, _) in images.items()})


def manifest_readings(
    manifest: ReadingManifest | str | Path, *, allow_missing: bool = False, options: ReadingOptions = PLAIN
) -> Readings:
    """The readings that a manifest lists; see `reading_manifest` for its columns.

    A case that no rater read is left out, with a note.

    Raises:
        FileReadError: files are missing (all are counted), or predictions are and `allow_missing` is not given.
        ConfigError: see `read_reading_manifest`.
        UsageError, LabelError: there is no rater, or names of structures do not fit together.
    """
    options.refuse(("images", "match", "raters_match", "runs"), "a manifest")
    if not isinstance(manifest, ReadingManifest):
        manifest = read_reading_manifest(manifest, strata=options.strata)
    raters, models = manifest.readers("human"), manifest.readers("model")
    _check_raters(raters, "the manifest")
    rows = [row for row in manifest.rows if row.status != "missing"]
    _check_files(rows)
    known = {row.case for row in rows if row.role == "human"}
    if not known:
        raise UsageError("no rater read any case", where="the manifest", expected="rows with the role `human`")
    patients = {case: patient for case, patient in manifest.patients.items() if case in known}
    images = {row.case: row.image for row in manifest.rows if row.image is not None and row.case in known}
    made = _CaseBuilder(models, options, images)
    by_case: dict[str, list[ReadingRow]] = {case: [] for case in patients}
    for row in rows:
        by_case.get(row.case, []).append(row)
    cases = [made.case(case, patient, by_case[case]) for case, patient in patients.items()]
    for model in models:
        found = {case.id: case.readers[model] for case in cases if model in case.readers}
        check_predicted(model, found, list(patients), allow_missing=allow_missing)
    unread = len(manifest.patients) - len(patients)
    notes = [
        f"{counted(unread, 'case')} {were(unread)} left out, because no rater read {'it' if unread == 1 else 'them'}"
    ]
    notes = notes if unread else []
    files = {f"{name}/{shown}": path for case in cases for name, source in case.everything.items()
             if source.place for shown, path in source.place.shown(case.id).items()}  # fmt: skip
    given = from_names(manifest.labels, where="the manifest") if manifest.labels else None
    bare = Readings(
        raters,
        models,
        patients,
        None if given is None else given.foreground,
        files,
        _unread,
        notes=tuple(notes),
        anonymous=manifest.anonymous or options.anonymous,
        repeats=made.repeats,
        trained_on=manifest.trained_on,
        strata={row.case: dict(row.strata) for row in manifest.rows if row.case in known and row.strata},
    )
    if given is not None and options.labels is None:
        options = replace(options, labels=given)
    return _readings(bare, cases, FoundModels(), options, images)


def _unread(case_id: str) -> ReadCase:
    raise AssertionError(case_id)


def _readings(
    bare: Readings,
    cases: Sequence[CaseSources],
    models: FoundModels,
    options: ReadingOptions,
    images: Mapping[str, Path],
) -> Readings:
    """The readings with names for their labels and with what reads them."""
    naming = settle_names(cases, bare.models, options.naming())
    resample = options.resample_to is not None
    read = ReadSources({case.id: case for case in cases}, bare.models, naming, resample,
                       models.soft(naming, resample=resample), images)  # fmt: skip
    return replace(
        bare,
        labels=None if naming.labels is None else naming.labels.foreground,
        files={**bare.files, **models.files},
        read=read,
        image=ReadImages(images) if images else None,
        notes=(*bare.notes, *models.notes),
        soft_files=models.soft_files,
    )


class _CaseBuilder:
    """Makes the sources of a manifest's cases; keeps whose the repeats are."""

    def __init__(self, models: Sequence[str], options: ReadingOptions, images: Mapping[str, Path]) -> None:
        options.check_models(models)
        self.images = images
        self.mappings: dict[str, ModelLabels | None] = {name: options.of_model(name)[1] for name in models}
        self.repeats: dict[str, str] = {}

    def case(self, case: str, patient: str, rows: Sequence[ReadingRow]) -> CaseSources:
        """The first row of a reader is the reading, further ones are repeats; raters stand before models."""
        truth = next((self._source(row, TRUTH) for row in rows if row.role == "truth"), None)
        rows = [row for row in rows if row.role != "truth"]
        readers: dict[str, Source] = {}
        repeats: dict[str, Source] = {}
        for row in sorted(rows, key=lambda row: row.role):  # human, model; the order of rows stays
            if row.rater not in readers:
                readers[row.rater] = self._source(row, row.rater)
            else:
                name = f"{row.rater}, reading {row.reading or 1}"
                self.repeats[name] = row.rater
                repeats[name] = self._source(row, name)
        return CaseSources(case, patient, readers, repeats, truth)

    def _source(self, row: ReadingRow, name: str) -> Source:
        where = f"case {row.case}, {name}"
        place = None if row.path is None else find_place(row.path, where=where)
        image = self.images.get(row.case)
        source = source_of(place, row.case, name, None if image is None else (image, ImageOptions()))
        return replace(source, reader=row.rater, labelled=row.labelled, slices_read=row.slices_read,
                       mapping=self.mappings.get(row.rater), empty=row.status == "absent")  # fmt: skip


def _check_files(rows: Sequence[ReadingRow]) -> None:
    absent = [f"{row.case} by {row.rater}" for row in rows if row.path is not None and not os.path.exists(row.path)]
    if absent:
        raise FileReadError(f"not there: {counted(len(absent), 'reading')} of the manifest", where=listed(absent),
                            expected="paths from the manifest's own folder",
                            do="Check the paths; who did not read has the status `missing`.")  # fmt: skip


def _check_raters(raters: Sequence[str], where: str) -> None:
    if TRUTH in raters:
        raise LabelError(f"a rater is called '{TRUTH}'", where=where, do="Rename the rater.")
