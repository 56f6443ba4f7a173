"""What nnU-Net wants of a data set: consecutive label values, `dataset.json`, a folder's name."""

from __future__ import annotations

import re
from typing import Any

from medseg.errors import LabelError, UsageError
from medseg.imaging.labels import LabelSet
from medseg.io.layouts.label_names import IGNORE
from medseg.io.layouts.region_table import FILE_NAME, RegionTable

FOLDER_NAME = re.compile(r"Dataset\d{3}_[\w-]+")
FILE_ENDING = ".nii.gz"


def check_name(name: str) -> None:
    """Refuses a folder name that nnU-Net does not find.

    Raises:
        UsageError: it is not of the form `Dataset123_Name`.
    """
    if not FOLDER_NAME.fullmatch(name):
        raise UsageError("not a data set's name for nnU-Net", where="--name", expected="Dataset123_Name", got=name)


def consecutive(labels: LabelSet) -> LabelSet:
    """The same names with the values 0, 1, 2 ... in the order of the old values, and the ignore value above them all.

    The names keep their order, so class indices of `labels` are class indices of the result.

    Raises:
        LabelError: a structure is called `ignore`, which is nnU-Net's own word.

    >>> consecutive(LabelSet({"background": 0, "spleen": 9, "liver": 5})).values
    {'background': 0, 'spleen': 2, 'liver': 1}
    """
    if IGNORE in labels.foreground:
        raise LabelError("a structure is called 'ignore', which nnU-Net keeps for voxels that nobody labelled",
                         where="labels", do="Rename it in dataset.yaml.")  # fmt: skip
    ranked = sorted(labels.foreground, key=lambda name: labels.values[name])
    ranks = {name: rank for rank, name in enumerate(ranked, start=1)}
    return LabelSet({name: ranks.get(name, 0) for name in labels.names}, ignore=len(ranks) + 1)


def renumbered_regions(regions: RegionTable | None, labels: LabelSet, target: LabelSet) -> RegionTable | None:
    """The regions in the values of `target`.

    Raises:
        LabelError: unknown values, or no `class_order`, without which nnU-Net does not train on regions.
    """
    if regions is None:
        return None
    if not regions.class_order:
        raise LabelError("regions without class_order", where=FILE_NAME, expected="a value for each region",
                         do="Add it, or delete the file to export plain labels.")  # fmt: skip
    return regions.renumbered({labels.values[name]: target.values[name] for name in labels.foreground})


def dataset_json(target: LabelSet, regions: RegionTable | None, *, training: int, ignored: bool) -> dict[str, Any]:
    """The content of `dataset.json` for CT images.

    Args:
        target: consecutive values, see `consecutive`.
        training: number of training cases.
        ignored: whether the ignore label is declared.
    """
    names = sorted(target.values, key=lambda name: target.values[name])
    labels: dict[str, Any] = {name: target.values[name] for name in names}
    if regions is not None:
        united = {name: list(values) if len(values) > 1 else min(values) for name, values in regions.values.items()}
        labels = {"background": 0, **united}
    order = {} if regions is None else {"regions_class_order": list(regions.class_order)}
    ignore = {IGNORE: target.ignore} if ignored else {}
    return {"channel_names": {"0": "CT"}, "labels": labels | ignore, **order,
            "numTraining": training, "file_ending": FILE_ENDING}  # fmt: skip
