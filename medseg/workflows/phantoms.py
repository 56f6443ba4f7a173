"""`medseg phantom`: the embedded data set, CT bodies with known truth and simulated experts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medseg.errors import UsageError
from medseg.files import open_output_folder, write_text
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, LabelFile, write_dataset
from medseg.io.nifti import write_labels, write_volume
from medseg.phantom.anatomy import LABELS, MIRROR_PAIRS
from medseg.phantom.experts import Expert, sample_experts
from medseg.phantom.study import Study, build_study
from medseg.workflows.telling import Progress


def phantom(
    folder: str | Path,
    *,
    cases: int = 12,
    experts: int = 3,
    seed: int = 0,
    test: int | None = None,
    missing: float = 0.0,
    spacing_mm: float = 4.0,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
) -> Path:
    """Writes phantom studies as a data set and returns its `dataset.yaml`.

    Beside `images/`, `labels/<expert>/` and `truth/` it writes `experts.json`: every expert's habits (boundary bias
    in mm and so on) and, per case, how many lesions there are and which of them each expert overlooked.

    Args:
        cases, experts: how many; the experts are named A, B, C ...
        seed: the same seed gives the same studies, however many are asked for.
        test: how many of the last cases form the split `test`; default a third.
        missing: chance that an expert did not read a case; every case keeps at least one.
        spacing_mm: mean spacing in the plane; slices are 10 to 30 % thicker.

    Raises:
        UsageError: a number out of range.
        OutputExistsError: the folder holds something.
    """
    test = cases // 3 if test is None else test
    _check(cases, experts, seed, test, missing, spacing_mm)
    root = open_output_folder(folder, kind="data set", overwrite=overwrite)
    readers = sample_experts(experts, seed)
    entries, notes = [], {}
    for number in range(cases):
        case_id = f"c{number + 1:0{max(3, len(str(cases)))}d}"
        study = build_study(number, seed, readers, spacing_mm)
        absent = _absent(readers, missing, np.random.default_rng([seed, number, 104729]))
        entries.append(_write(root, case_id, study, absent, "test" if number >= cases - test else "train"))
        overlooked = {name: lost for name, lost in study.missed_lesions.items() if name not in absent}
        notes[case_id] = {"lesions": study.lesions, "overlooked": overlooked}
        progress("Making phantoms", number + 1, cases, case_id)
    facts = {"seed": seed, "experts": [reader.to_json() for reader in readers], "cases": notes}
    write_text(root / "experts.json", json.dumps(facts, indent=1) + "\n")
    labels = LabelSet(LABELS, MIRROR_PAIRS)
    return write_dataset(Dataset(root, labels, tuple(reader.name for reader in readers), tuple(entries)))


def _check(cases: int, experts: int, seed: int, test: int, missing: float, spacing_mm: float) -> None:
    for name, value, low, high in (
        ("cases", cases, 1, 100_000),
        ("experts", experts, 1, 100),
        ("seed", seed, 0, 2**32 - 1),
        ("test", test, 0, cases),
        ("missing", missing, 0, 0.9),
        ("spacing-mm", spacing_mm, 0.5, 20),
    ):
        if not low <= value <= high:
            raise UsageError("out of range", where=f"--{name}", expected=f"{low} to {high}", got=str(value))


def _absent(readers: tuple[Expert, ...], missing: float, rng: np.random.Generator) -> set[str]:
    absent = [reader.name for reader in readers if rng.random() < missing]
    return set(absent[1:] if len(absent) == len(readers) else absent)


def _write(root: Path, case_id: str, study: Study, absent: set[str], split: str) -> CaseEntry:
    image, truth = root / "images" / f"{case_id}.nii.gz", root / "truth" / f"{case_id}.nii.gz"
    geometry = study.volume.geometry
    write_volume(image, study.volume)
    write_labels(truth, study.truth, geometry)
    files = {}
    for name, reading in study.readings.items():
        if name not in absent:
            files[name] = LabelFile(root / "labels" / name / f"{case_id}.nii.gz")
            write_labels(files[name].path, reading, geometry)
    return CaseEntry(case_id, image, files, truth, split=split)
