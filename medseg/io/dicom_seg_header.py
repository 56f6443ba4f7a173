"""What a DICOM segmentation says of itself before its pixels are looked at: its kind and the CT that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.errors import DicomError
from medseg.io.dicom_damage import reading
from medseg.io.dicom_object import object_class, read_object
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.series_facts import SeriesFacts

SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # and Label Map Segmentation


def is_segmentation(path: str | Path) -> bool:
    """Whether the path is a DICOM file whose meta header says that it is a segmentation."""
    return object_class(path) in SEGMENTATION


def referenced_series(path: str | Path, *, where: str = "") -> frozenset[str]:
    """The UIDs of the series that a segmentation says it was made on; for finding its CT, never to be shown.

    Raises:
        FileReadError, DicomError: no such file, or no DICOM segmentation.
    """
    return _referenced_series(read_dataset(Path(path), where or "a DICOM segmentation", pixels=False))


def read_dataset(path: Path, where: str, *, pixels: bool) -> Any:
    """The dataset of a file that is a segmentation."""
    with reading(where, "the segmentation"), quiet_pydicom():
        dataset = read_object(path, "segmentation", where, pixels=pixels)
        if (sop_class := str(dataset.get("SOPClassUID", ""))) not in SEGMENTATION:
            kind = str(dataset.get("Modality", ""))
            known = len(kind) <= 16 and kind.isalnum() and bool(sop_class)
            raise DicomError("no DICOM segmentation", where=where, expected="a SEG file",
                             got=kind if known else "another object")  # fmt: skip
        if int(dataset.get("InConcatenationTotalNumber", 1) or 1) > 1:
            raise DicomError("one part of a segmentation that is spread over several files", where=where,
                             do="Export it as one file.")  # fmt: skip
        return dataset


def check_reference(dataset: Any, series: SeriesFacts, where: str) -> None:
    """The file must say that it was made on this series, and lie in its frame of reference."""
    if str(dataset.get("FrameOfReferenceUID", "") or "") != str(series.frame_of_reference_uid or ""):
        raise DicomError(f"the segmentation lies in another frame of reference than {series.id}", where=where,
                         do="Positions in different frames cannot be compared: name its CT (--series).")  # fmt: skip
    named, images = _referenced_series(dataset), _referenced_images(dataset)
    if not named and not images:
        raise DicomError(f"the segmentation does not say that it was made on {series.id}", where=where,
                         expected="a reference to the series or its images", got="no reference",
                         do="Export it together with its CT.")  # fmt: skip
    if named and str(series.uid or "") not in named and images.isdisjoint(series.instance_uids):
        raise DicomError(f"the segmentation was made on another series than {series.id}", where=where,
                         got=f"references to {len(named)} other series", do="Name its own CT (--series).")  # fmt: skip
    if images and images.isdisjoint(series.instance_uids):
        raise DicomError(f"the segmentation was made on other images than those of {series.id}", where=where,
                         got=f"references to {len(images)} other images", do="Name its own CT (--series).")  # fmt: skip


def references(dataset: Any) -> tuple[frozenset[str], frozenset[str]]:
    """UIDs of the series and of the images that the dataset names as those it was made on."""
    return _referenced_series(dataset), _referenced_images(dataset)


def _referenced_series(dataset: Any) -> frozenset[str]:
    items = dataset.get("ReferencedSeriesSequence") or []
    return frozenset(str(item.SeriesInstanceUID) for item in items if item.get("SeriesInstanceUID"))


def _referenced_images(dataset: Any) -> frozenset[str]:
    """SOPInstanceUIDs that the file names, for the whole object or per frame."""
    found = [image for series in dataset.get("ReferencedSeriesSequence") or []
             for image in series.get("ReferencedInstanceSequence") or []]  # fmt: skip
    shared, per_frame = (dataset.get(f"{name}FunctionalGroupsSequence") or [] for name in ("Shared", "PerFrame"))
    for groups in (*shared, *per_frame):
        for derivation in groups.get("DerivationImageSequence") or []:
            found += derivation.get("SourceImageSequence") or []
    return frozenset(str(image.ReferencedSOPInstanceUID) for image in found if image.get("ReferencedSOPInstanceUID"))
