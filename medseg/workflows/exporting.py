"""`medseg export`: a data set as nnU-Net's raw data, to compare on the same cases; or a run's network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medseg.config import nearest
from medseg.errors import InputError, LabelError, UsageError
from medseg.evaluation.majority_map import majority_map
from medseg.imaging.case import check_same_grid
from medseg.imaging.labels import LabelSet
from medseg.imaging.regions import Reading, RegionMap
from medseg.io.layouts.copying import copy_image
from medseg.io.layouts.layout import Faults, listed
from medseg.io.layouts.nnunet_target import FILE_ENDING, check_name, consecutive, dataset_json, renumbered_regions
from medseg.io.layouts.region_table import read_regions_table
from medseg.io.manifest import CaseEntry, Dataset, read_dataset, read_image, read_reading
from medseg.io.nifti import is_nifti, write_labels
from medseg.shapes import IntArray
from medseg.workflows.export_formats import DATASET_FORMATS, MODEL_FORMATS
from medseg.workflows.outputs import write_json
from medseg.workflows.telling import Progress
from medseg.workflows.whole_folder import whole_folder

if TYPE_CHECKING:
    from medseg.workflows.model_export import ExportedModel

KIND = "nnU-Net data set"
TEST = "test"
THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Exported:
    """What an export made: the folder with `dataset.json`, numbers for the screen, and what the user must know."""

    path: Path
    training: int
    test: int
    notes: tuple[str, ...]


def export(
    format: str,
    dataset: Dataset | str | Path,
    out: str | Path,
    *,
    rater: str | None = None,
    raters: Literal["majority"] | None = None,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
    **of_run: Any,
) -> Exported | ExportedModel:
    """Writes a data set as nnU-Net raw data into `out`, or into `out/name`; or a run's network, see `export_model`.

    With the formats `onnx`, `torch-export` and `monai-bundle`, `dataset` is a run and the rest goes to `export_model`.

    Of a data set: the split `test` becomes imagesTs (and labelsTs where it was read), everything else imagesTr and
    labelsTr. Label values become consecutive in their order; what was not read becomes nnU-Net's ignore label, above
    all others.

    Args:
        rater: whose labels; needed when there are several raters.
        raters: `majority`, instead of one rater: a structure is where more than half of those who read it marked it.
        name: folder of the form `Dataset123_Name` to make in `out`.

    Raises:
        UsageError: an unknown format or rater, or several raters and no rule.
        LabelError: a training case has no such reading, regions overlap, or a structure was not looked for.
        OutputExistsError: the folder holds something.
        InputError: a file of a case is damaged; the faults of all cases are raised together.
        WriteError: the disk refused.
    """
    if format in MODEL_FORMATS:
        return _export_model(format, dataset, out, overwrite, of_run, rater=rater, raters=raters, name=name)
    known = (*DATASET_FORMATS, *MODEL_FORMATS)
    if format not in known:
        raise UsageError(f"no export format '{format}'{nearest(format, known)}", expected="one of " + ", ".join(known))
    _refuse("exporting a data set", of_run)
    if name is not None:
        check_name(name)
    data = dataset if isinstance(dataset, Dataset) else read_dataset(dataset)
    job = _Export(data, _chosen(data, rater, raters), consecutive(data.labels))
    regions = renumbered_regions(read_regions_table(data.root), data.labels, job.target)
    training = [entry for entry in data.cases if entry.split != TEST]
    if not training:
        raise InputError("no training case", where="dataset.yaml", expected=f"cases outside the split '{TEST}'")
    folder = Path(out) if name is None else Path(out) / name
    with whole_folder(folder, kind=KIND, overwrite=overwrite) as root:
        ignored = _write_cases(job, root, progress) or data.labels.ignore is not None
        content = dataset_json(job.target, regions, training=len(training), ignored=ignored)
        write_json(root / "dataset.json", content)
    return Exported(folder, len(training), len(data.cases) - len(training), _notes(training))


def _export_model(
    format: str, run: Any, out: str | Path, overwrite: bool, of_run: dict[str, Any], **of_dataset: Any
) -> ExportedModel:
    from medseg.workflows.model_export import export_model  # loads PyTorch, which exporting a data set does not need

    _refuse("exporting a network", of_dataset)
    return export_model(run, out, format=format, overwrite=overwrite, **of_run)


def _refuse(what: str, options: dict[str, Any]) -> None:
    if given := [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]:
        raise UsageError(f"{what} takes no {', '.join(given)}")


def _chosen(data: Dataset, rater: str | None, raters: str | None) -> tuple[str, ...]:
    """The raters whose labels are written: one, or several for a majority."""
    if raters not in (None, "majority"):
        raise UsageError("an unknown rule for several raters", where="--raters", expected="majority", got=raters)
    if rater is not None and raters is not None:
        raise UsageError("--rater and --raters exclude each other")
    if rater is not None and rater not in data.raters:
        known = ", ".join(data.raters) or "none"
        raise UsageError(
            f"no rater '{rater}'{nearest(rater, data.raters)}", where="--rater", expected=f"one of {known}"
        )
    if rater is None and raters is None and len(data.raters) != 1:
        raise UsageError("several raters, and nothing says whose labels are meant" if data.raters else "no rater",
                         where="dataset.yaml", got=", ".join(data.raters),
                         do="Pass --rater NAME, or --raters majority." if data.raters else "")  # fmt: skip
    return data.raters if rater is None else (rater,)


@dataclass(frozen=True)
class _Export:
    """One data set, the raters to write and the label values to write them in."""

    data: Dataset
    raters: tuple[str, ...]
    target: LabelSet

    def case(self, root: Path, entry: CaseEntry) -> bool:
        """Writes image and labels of one case and returns whether any voxel is to be ignored.

        Raises:
            InputError: a file is damaged, or there are no labels to train on.
        """
        end = "Ts" if entry.split == TEST else "Tr"
        present = [rater for rater in self.raters if rater in entry.raters]
        if not present and end == "Tr":
            raise LabelError("no reading to train on", where=f"case {entry.id}", expected=", ".join(self.raters),
                             got=", ".join(entry.raters) or "no rater",
                             do="Choose another rater, or give the case the split 'test'.")  # fmt: skip
        image = root / f"images{end}" / f"{entry.id}_0000{FILE_ENDING}"
        volume = read_image(self.data, entry)
        copy_image(volume, entry.image, image, entry.image_options)
        if not present:
            return False
        readings = [read_reading(self.data, entry, rater) for rater in present]
        for rater, reading in zip(present, readings, strict=True):
            check_same_grid(volume.geometry, reading.geometry, where=f"case {entry.id}, {rater}")
        labels = self._labels(readings, f"case {entry.id}")
        own = entry.raters[present[0]].path if len(present) == 1 else None
        like = own if own is not None and is_nifti(own) else image
        write_labels(root / f"labels{end}" / f"{entry.id}{FILE_ENDING}", labels, readings[0].geometry, like=like)
        return bool((labels == self.target.ignore).any())

    def _labels(self, readings: Sequence[Reading], where: str) -> IntArray:
        """The label map in the target's values."""
        for structure in self.target.foreground:
            if not any(reading.was_read(structure) for reading in readings):
                raise LabelError(f"nobody looked for '{structure}', which nnU-Net cannot be told", where=where,
                                 do="Choose another rater, or take the structure or the case out.")  # fmt: skip
        maps = [reading.merged(where=where) if isinstance(reading, RegionMap) else reading for reading in readings]
        return (
            self.target.to_values(maps[0].indices) if len(maps) == 1 else majority_map(maps, self.target, where=where)
        )


def _write_cases(job: _Export, root: Path, progress: Progress) -> bool:
    """Writes all cases and returns whether any has voxels to be ignored; the faults of all are raised together."""
    faults, ignored = Faults(), False

    def write(entry: CaseEntry) -> tuple[bool, list[InputError]]:
        own, any_ignored = Faults(), False
        with own.gathered():
            any_ignored = job.case(root, entry)
        return any_ignored, own.found

    with ThreadPoolExecutor(THREADS) as pool:
        for number, (any_ignored, found) in enumerate(pool.map(write, job.data.cases), start=1):
            ignored, faults.found = ignored or any_ignored, [*faults.found, *found]
            progress("Exporting", number, len(job.data.cases), job.data.cases[number - 1].id)
    faults.raise_all()
    return ignored


def _notes(training: Sequence[CaseEntry]) -> tuple[str, ...]:
    """nnU-Net's own folds do not know patients."""
    patients = [entry.patient for entry in training]
    shared = [entry.id for entry in training if patients.count(entry.patient) > 1]
    told = f"{len(shared)} training cases share a patient, which nnU-Net's own folds do not heed: {listed(shared)}"
    return (told,) if shared else ()
