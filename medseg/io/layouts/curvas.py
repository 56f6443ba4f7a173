"""CURVAS: a folder for each case with `image.nii.gz` and the annotations of three radiologists.

Values: pancreas 1, kidney 2, liver 3. https://curvas.grand-challenge.org, https://doi.org/10.5281/zenodo.12687192
"""

from __future__ import annotations

import re
from pathlib import Path

from medseg.errors import FileReadError, InputError
from medseg.io.label_files import label_stem
from medseg.io.layouts.label_names import build_label_set, given_labels
from medseg.io.layouts.layout import Faults, FoundCase, ImportOptions, Layout, check_source, listed, shown
from medseg.io.layouts.source_files import by_stem, visible, volumes
from medseg.io.manifest import LabelFile

NAME = "curvas"
VALUES = {"pancreas": 1, "kidney": 2, "liver": 3}
SPLITS = {"training_set": "train", "validation_set": "validation", "testing_set": "test"}  # the archives' folders
ANNOTATION = re.compile(r"annotation_([1-9]\d*)")
RADIOLOGISTS = 3


def find_curvas(source: Path, options: ImportOptions) -> Layout:
    """The cases of CURVAS with the raters radiologist_1 to radiologist_3, the same persons in every case.

    The source holds the case folders, or the archives' folders `training_set`, `validation_set`, `testing_set`. An
    annotation that is not there is a missing rater.

    Raises:
        FileReadError: no such folder, or no case in it.
        UsageError, LabelError: see `given_labels`.
    """
    check_source(source, NAME)
    faults = Faults()
    sets = [(source / name, split) for name, split in SPLITS.items() if (source / name).is_dir()]
    folders = [(folder, split) for parent, split in sets or [(source, None)] for folder in _case_folders(parent)]
    if not folders:
        raise FileReadError("no case", where=source.name, expected="folders with image.nii.gz and annotation_1.nii.gz",
                            do="Check the path.")  # fmt: skip
    found = [_case(folder, split, source, options, faults) for folder, split in folders]
    cases = tuple(case for case in found if case is not None)
    raters = sorted({name for case in cases for name in case.raters}, key=lambda name: int(name.rpartition("_")[2]))
    absent = [shown(source / case.name, source) for case in cases if len(case.raters) < RADIOLOGISTS]
    notes = (f"{len(absent)} cases were not read by all radiologists: {listed(absent)}",) if absent else ()
    labels = given_labels(options.labels) or build_label_set(VALUES)
    return Layout(source, labels, tuple(raters), cases, notes=notes, faults=tuple(faults.found))


def _case_folders(parent: Path) -> list[Path]:
    def is_case(path: Path) -> bool:
        return label_stem(path) == "image" or ANNOTATION.fullmatch(label_stem(path)) is not None

    return [path for path in visible(parent) if path.is_dir() and any(is_case(file) for file in volumes(path))]


def _case(folder: Path, split: str | None, source: Path, options: ImportOptions, faults: Faults) -> FoundCase | None:
    files = by_stem(folder, source, faults)
    name = shown(folder, source)
    image = files.pop("image", None)
    if image is None or not image.is_file():
        faults.add(FileReadError("no such image file", where=f"{name}/image.nii.gz", do="Copy the data again."))
        return None
    raters = {}
    for stem, path in sorted(files.items()):
        match = ANNOTATION.fullmatch(stem)
        if match is None:
            faults.add(
                InputError(
                    "a second image or another file",
                    where=shown(path, source),
                    do="Take it out.",
                    expected="image and annotation_1 to annotation_3",
                )
            )
        elif int(match[1]) > RADIOLOGISTS and options.labels is None:
            faults.add(
                InputError(
                    "more annotations than CURVAS has, so the values may mean something else",
                    where=shown(path, source),
                    expected=f"{RADIOLOGISTS}",
                    do="Pass --labels with the names of the values.",
                )
            )
        else:
            raters[f"radiologist_{match[1]}"] = LabelFile(path)
    return FoundCase(name, image, raters, patient=name, split=split)
