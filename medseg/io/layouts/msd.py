"""The Medical Segmentation Decathlon: `dataset.json` that lists every image and label of one task.

`{"modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"}, "numTraining": 41, "training":
[{"image": "./imagesTr/spleen_2.nii.gz", "label": "./labelsTr/spleen_2.nii.gz"}], "test": ["./imagesTs/s_1.nii.gz"]}`
http://medicaldecathlon.com
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.errors import FileReadError, InputError, LabelError
from medseg.io.label_files import is_label_file
from medseg.io.layouts.label_names import from_values, given_labels
from medseg.io.layouts.layout import Faults, FoundCase, ImportOptions, Layout, check_source, listed
from medseg.io.layouts.source_files import counted_as_told, dataset_json, missing, volumes
from medseg.io.manifest import LabelFile

NAME = "msd"
JSON = "dataset.json"
FOLDERS = ("imagesTr", "imagesTs", "labelsTr")


def find_msd(source: Path, options: ImportOptions) -> Layout:
    """The cases of a Decathlon task: split `train` from `training`, `test` from `test`; one patient each.

    Raises:
        FileReadError: no such folder, or no readable `dataset.json` of this layout.
        InputError: more than one modality, or another than CT.
        LabelError: labels that contradict each other.
    """
    check_source(source, NAME)
    data = dataset_json(source, NAME)
    labels = given_labels(options.labels) or _labels(data.get("labels"))
    faults = Faults()
    listing = [*_training(data), *_test(data)]
    _check_modality(data, [image for image, _ in listing], options)
    cases = list(_cases(listing, source, options, faults))
    counted_as_told(data, sum(label is not None for _, label in listing), faults)
    used = {path for case in cases for path in (case.image, *(file.path for file in case.raters.values()
                                                             if isinstance(file, LabelFile)))}  # fmt: skip
    spare = [path for folder in FOLDERS for path in volumes(source / folder) if path not in used]
    notes = (f"{len(spare)} files that dataset.json does not list are left out: "
             + listed([path.name for path in spare]),) if spare and not faults.found else ()  # fmt: skip
    return Layout(source, labels, (options.rater,), tuple(cases), notes=notes, faults=tuple(faults.found))


def _labels(table: Any) -> Any:
    if not isinstance(table, dict) or not table:
        raise LabelError("no labels", where=JSON, expected='"labels": {"0": "background", "1": "spleen"}')
    if not all(isinstance(name, str) for name in table.values()):
        raise LabelError(
            "labels by name, not by value: nnU-Net's form",
            where=JSON,
            expected='"labels": {"0": "background"}',
            do="Import it with the layout 'nnunet'.",
        )
    return from_values(table, where=JSON)


def _check_modality(data: Mapping[str, Any], images: list[str], options: ImportOptions) -> None:
    modality = data.get("modality")
    if not isinstance(modality, dict) or not modality:
        raise FileReadError("no modality", where=JSON, expected='"modality": {"0": "CT"}')
    told = ", ".join(f"{name} ({number})" for number, name in modality.items())
    if len(modality) > 1:
        cases = [PurePosixPath(image).name for image in images]
        raise InputError(f"{len(modality)} channels, and a case is one CT", where=JSON, expected="one modality, CT",
                         got=f"{told} in {len(cases)} cases: {listed(cases)}",
                         do="Save the CT frames as files of their own, and the modality as CT.")  # fmt: skip
    if str(next(iter(modality.values()))).strip().lower() != "ct" and not options.assume_ct:
        raise InputError("the modality is not CT", where=JSON, expected="CT", got=told,
                         do="If it holds HU all the same, pass --assume-ct.")  # fmt: skip


def _training(data: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Image and label of every training case."""
    entries = data.get("training")
    if not isinstance(entries, list) or not entries:
        raise FileReadError("no training cases", where=JSON, expected='"training": [{"image": ..., "label": ...}]')
    for entry in entries:
        image, label = (entry.get("image"), entry.get("label")) if isinstance(entry, dict) else (None, None)
        if not isinstance(image, str) or not isinstance(label, str):
            raise FileReadError("a training case without image and label", where=JSON, got=repr(entry)[:80])
        yield image, label


def _test(data: Mapping[str, Any]) -> Iterator[tuple[str, None]]:
    """Image of every test case; the Decathlon keeps their labels."""
    for entry in data.get("test") or []:
        image = entry.get("image") if isinstance(entry, dict) else entry
        if not isinstance(image, str):
            raise FileReadError("a test case without an image", where=JSON, got=repr(entry)[:80])
        yield image, None


def _cases(
    listing: list[tuple[str, str | None]], source: Path, options: ImportOptions, faults: Faults
) -> Iterator[FoundCase]:
    seen: set[Path] = set()
    for image_text, label_text in listing:
        image = _inside(source, image_text)
        label = None if label_text is None else _inside(source, label_text)
        absent = [(path, kind) for path, kind in ((image, "image"), (label, "label"))
                  if path is not None and not os.path.isfile(path)]  # fmt: skip
        twice = [path for path in (image, label) if path is not None and path in seen]
        seen |= {path for path in (image, label) if path is not None}
        faults.found += [missing(path, source, kind, _hint(path)) for path, kind in absent]
        faults.found += [InputError("a file is listed twice", where=JSON, got=path.name, do="Take one entry out.")
                         for path in twice]  # fmt: skip
        if not absent and not twice:
            raters = {} if label is None else {options.rater: LabelFile(label)}
            yield FoundCase(image.name, image, raters, patient=image.name, split="test" if label is None else "train")


def _inside(source: Path, text: str) -> Path:
    """A path that dataset.json lists, relative to the source and within it."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or not is_label_file(path.name):
        raise FileReadError("not the path of a volume inside the source", where=JSON, got=path.name,
                            expected="for example ./imagesTr/case.nii.gz")  # fmt: skip
    return source / path


def _hint(path: Path) -> str:
    numbered = path.with_name(path.name.replace(".nii", "_0000.nii", 1))
    return "Import it with the layout 'nnunet'." if os.path.isfile(numbered) else "Copy the data again."
