"""nnU-Net's raw data: `dataset.json`, `imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz`, `imagesTs` for tests.

Version 2 (`channel_names`, labels by name, regions, an ignore label, explicit paths under `dataset`) and version 1
(`modality`, labels by value) are told apart by their keys.
https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medseg.errors import FileReadError, InputError, LabelError
from medseg.io.label_files import is_label_file
from medseg.io.layouts.label_names import LONGEST, from_nnunet, given_labels, whole_number
from medseg.io.layouts.layout import Faults, FoundCase, ImportOptions, Layout, check_source, listed, shown
from medseg.io.layouts.source_files import counted_as_told, dataset_json, missing, visible
from medseg.io.manifest import LabelFile

NAME = "nnunet"
JSON = "dataset.json"
CHANNEL = re.compile(r"(.+)_(\d{4})")
Channels = Mapping[str, Path]  # four digits to file


def find_nnunet(source: Path, options: ImportOptions) -> Layout:
    """The cases of an nnU-Net raw folder: split `train` from imagesTr, `test` from imagesTs.

    Raises:
        FileReadError: no such folder, or no readable `dataset.json`.
        InputError: more than one channel, or one that is not CT.
        LabelError: labels that contradict each other.
    """
    check_source(source, NAME)
    data = dataset_json(source, NAME)
    ending, names = _ending(data), _channel_names(data)
    labels, regions = from_nnunet(data.get("labels"), data.get("regions_class_order"), where=JSON)
    if (given := given_labels(options.labels)) is not None:
        labels, regions = given, None
    faults = Faults()
    train = dict(_explicit(data["dataset"], source, faults)) if "dataset" in data else None
    train = train or {case: (found, source / "labelsTr" / f"{case}{ending}")
                      for case, found in _images(source / "imagesTr", ending, source, faults).items()}  # fmt: skip
    test = {case: (found, source / "labelsTs" / f"{case}{ending}")
            for case, found in _images(source / "imagesTs", ending, source, faults).items()}  # fmt: skip
    channel = _channel(names, [*train, *test], options)
    if not train and not test:
        faults.add(
            FileReadError(
                "no images",
                where="imagesTr",
                expected=f"<case>_0000{ending}",
                do="Data without channel numbers may be of the layout 'msd'.",
            )
        )
    cases = [*_cases(train, "train", channel, names, source, options, faults),
             *_cases(test, "test", channel, names, source, options, faults)]  # fmt: skip
    if "dataset" not in data:
        _orphans(source / "labelsTr", {path for _, path in train.values()}, source, faults)
    _orphans(source / "labelsTs", {path for _, path in test.values()}, source, faults)
    for case in sorted(set(train) & set(test)):
        faults.add(InputError("a case of training and of test", where=case, do="Take one of them out."))
    counted_as_told(data, len(train), faults)
    return Layout(source, labels, (options.rater,), tuple(cases), regions=regions, faults=tuple(faults.found))


def _ending(data: Mapping[str, Any]) -> str:
    """The file ending; version 1 knew only `.nii.gz`."""
    ending = data.get("file_ending", ".nii.gz" if "modality" in data else None)
    if not isinstance(ending, str) or not ending.startswith("."):
        raise FileReadError("no file_ending", where=JSON, expected='for example ".nii.gz"', got=repr(ending)[:LONGEST])
    if not is_label_file(f"case{ending}"):
        raise FileReadError("files that hold no volume", where=JSON, expected="file_ending .nii.gz, .nrrd or .mha",
                            got=ending, do="Convert them to NIfTI.")  # fmt: skip
    return ending


def _channel_names(data: Mapping[str, Any]) -> dict[str, str]:
    """Four digits to channel name."""
    names = data.get("channel_names", data.get("modality"))
    numbers = {key: whole_number(key) for key in names} if isinstance(names, dict) else {}
    if not isinstance(names, dict) or not names or None in numbers.values():
        raise FileReadError("no channel_names", where=JSON, expected='"channel_names": {"0": "CT"}',
                            got=repr(names)[:LONGEST])  # fmt: skip
    return {f"{number:04d}": str(names[key]) for key, number in sorted(numbers.items(), key=lambda item: item[1] or 0)}


def _channel(names: Mapping[str, str], cases: list[str], options: ImportOptions) -> str:
    """Number of the channel that is the CT.

    Raises:
        InputError: there are several and the user chose none, or it is not called CT.
    """
    told = ", ".join(f"{name} ({number})" for number, name in names.items())
    chosen = [number for number, name in names.items() if options.only in (None, number, name)]
    if len(chosen) != 1:
        what = f"{len(chosen)} channels, and a case is one CT" if chosen else f"no channel '{options.only}'"
        example = next((name for name in names.values() if name.lower().startswith("ct")), next(iter(names.values())))
        raise InputError(what, where=JSON, expected="one channel", got=f"{told} in {len(cases)} cases: {listed(cases)}",
                         do=f"Choose one with --only, for example --only '{example}'.")  # fmt: skip
    if names[chosen[0]].strip().lower() != "ct" and not options.assume_ct:
        raise InputError("the channel is not CT", where=JSON, expected="CT", got=f"{names[chosen[0]]} ({chosen[0]})",
                         do="If it holds HU all the same, pass --assume-ct.")  # fmt: skip
    return chosen[0]


def _images(folder: Path, ending: str, source: Path, faults: Faults) -> dict[str, dict[str, Path]]:
    """Case to channel to file."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in visible(folder):
        match = CHANNEL.fullmatch(path.name.removesuffix(ending)) if path.name.endswith(ending) else None
        if match:
            found[match[1]][match[2]] = path
        elif is_label_file(path):
            faults.add(
                FileReadError(
                    "not an image of this layout",
                    where=shown(path, source),
                    expected=f"<case>_0000{ending}",
                    do="Data without channel numbers may be of the layout 'msd'.",
                )
            )
    return dict(found)


def _explicit(dataset: Any, source: Path, faults: Faults) -> Iterator[tuple[str, tuple[Channels, Path]]]:
    """Cases of the key `dataset`: `{"case": {"images": [path], "label": path}}`, relative to the folder or absolute."""
    if not isinstance(dataset, dict) or not dataset:
        raise FileReadError(
            "'dataset' lists no cases", where=JSON, expected='{"case": {"images": [...], "label": ...}}'
        )
    used: dict[Path, str] = {}
    for case, files in dataset.items():
        images, label = (files.get("images"), files.get("label")) if isinstance(files, dict) else (None, None)
        if not isinstance(images, list) or not images or not all(isinstance(path, str) for path in [*images, label]):
            raise FileReadError("a case without paths", where=f"{JSON}, {case}",
                                expected='{"images": [path], "label": path}')  # fmt: skip
        if variables := [path for path in [*images, label] if "$" in path]:
            raise FileReadError("a path with an environment variable", where=f"{JSON}, {case}",
                                got=Path(variables[0]).name, do="Write the path out.")  # fmt: skip
        paths = [Path(os.path.abspath(source / path)) for path in [*images, label]]
        for path in paths:
            if path in used:
                faults.add(
                    InputError(
                        "a file is listed twice",
                        where=f"{JSON}, {case}",
                        got=path.name,
                        expected=f"once (also in {used[path]})",
                    )
                )
            used[path] = case
        yield case, ({f"{index:04d}": path for index, path in enumerate(paths[:-1])}, paths[-1])


def _cases(
    found: Mapping[str, tuple[Channels, Path]],
    split: str,
    channel: str,
    names: Mapping[str, str],
    source: Path,
    options: ImportOptions,
    faults: Faults,
) -> Iterator[FoundCase]:
    """Cases whose files are there; faults for the others."""
    for case, (channels, label) in found.items():
        if extra := [number for number in channels if number not in names]:
            faults.add(
                InputError(
                    f"{len(channels)} channels, and a case is one CT",
                    where=case,
                    expected=", ".join(names),
                    got=", ".join(channels),
                    do=f"Name {extra[0]} under channel_names and choose with --only.",
                )
            )
        image = channels.get(channel, source / "absent")
        if not os.path.isfile(image):
            faults.add(
                missing(image, source, "image")
                if channel in channels
                else FileReadError(f"no channel {channel}", where=case, got=", ".join(channels))
            )
        elif split == "train" and not os.path.isfile(label):
            faults.add(missing(label, source, "label"))
        elif not extra:
            raters = {options.rater: LabelFile(label)} if os.path.isfile(label) else {}
            yield FoundCase(case, image, raters, split=split)


def _orphans(folder: Path, expected: set[Path], source: Path, faults: Faults) -> None:
    """A fault for every label file without an image."""
    for path in visible(folder):
        if is_label_file(path) and path not in expected:
            faults.add(
                LabelError(
                    "a label file without an image",
                    where=shown(path, source),
                    do="Add the image, or take the file out.",
                )
            )
