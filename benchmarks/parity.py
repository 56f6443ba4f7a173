"""What medseg reads beside what the references say: dcm2niix, and files of other software made from the same scan.

    python benchmarks/parity.py ../shared/data            # a Markdown table
    python benchmarks/parity.py ../shared/data --json     # one JSON object a line

The exit code is 1 when a row `differs`: two results are not the same and no reason for it is known.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from parity_dcm2niix import convert, dicom_rows, series_rows
from parity_rows import HEADER, Row, compare_hu, compare_masks
from pydicom.uid import UID

from medseg.errors import MedsegError
from medseg.imaging.geometry import Geometry
from medseg.io import itk_images, nifti
from medseg.io.dicom import list_series, read_series, read_series_grid
from medseg.io.dicom_rtstruct import read_rtstruct
from medseg.io.dicom_seg import read_segmentation
from medseg.io.roi_names import RoiRules
from medseg.shapes import BoolArray

CODECS = ("mr_rle", "mr_jpegls", "mr_j2k")  # the same MR slices
GTV = RoiRules.model_validate({"labels": {"tumour": {"value": 1, "match": "GTV.*"}}, "unmatched": "ignore"})
TWINS: dict[str, dict[str, tuple[str, int]]] = {  # file: segment to the NRRD that dcmqi made of it, and the value there
    "liver.dcm": {"Liver": ("liver_seg.nrrd", 1)},
    "24x38x3/seg/label.seg": {"Liver": ("24x38x3/nrrd/label.nrrd", 1)},
    "23x38x3/seg/label.seg": {"Liver": ("23x38x3/nrrd/label.nrrd", 1)},
    "partial_overlaps.dcm": {"GREEN": ("partial_overlaps-1.nrrd", 1), "ORANGE": ("partial_overlaps-2.nrrd", 2),
                             "PURPLE": ("partial_overlaps-3.nrrd", 3), "LIGHT_BLUE": ("partial_overlaps-1.nrrd", 4),
                             "DARK_BLUE": ("partial_overlaps-1.nrrd", 5)},
    "sparse-labelmap-noppv.dcm": {"Liver": ("sparse_labelmap_noppv_seg.nrrd", 1)},
    "sparse-labelmap-ppv5.dcm": {"Liver": ("sparse_labelmap_ppv5_seg.nrrd", 1)},
}  # fmt: skip


def compressed_rows(data: Path) -> Iterator[Row]:
    """The slices of one MR in three codecs, and one CT slice in several: each against its twin and against dcm2niix.

    They are copied as CT series, the MR with modality CT and the single slice at three heights, because medseg reads
    nothing else; the pixels stay as they are encoded.
    """
    folder = data / "dicom" / "compressed"
    first = None
    with tempfile.TemporaryDirectory() as temporary:
        for name in CODECS:
            copy = as_ct(sorted((folder / name / "001").iterdir()), Path(temporary) / name)
            volume = read_series(copy)
            source = f"dicom/compressed/{name}"
            yield from (row for one in list_series(copy) for row in series_rows(one, convert(copy), source))
            first = first or volume
            yield compare_hu(source, f"against its twin {CODECS[0]}", (volume.hu, volume.geometry),
                             (first.hu, first.geometry))  # fmt: skip
        place = "ct_dicomparser/encapsulated/single-frame"
        files = sorted((folder / place).glob("*.dcm"))
        plain = next(path for path in files if "UNC" in path.name)
        twin = read_series(at_heights(plain, Path(temporary) / plain.name))
        for path in files:
            copy = at_heights(path, Path(temporary) / f"{path.name}.series")
            source = f"dicom/compressed/{place}/{path.name}"
            try:
                volume = read_series(copy)
            except MedsegError as error:
                yield Row(source, "three copies of the slice", "refused", why=str(error))
                continue
            yield compare_hu(source, "against its uncompressed twin", (volume.hu, volume.geometry),
                             (twin.hu, twin.geometry))  # fmt: skip
            yield from (row for one in list_series(copy) for row in series_rows(one, convert(copy), source))


def as_ct(files: list[Path], folder: Path) -> Path:
    """The files copied as slices of a CT whose stored values are its HU."""
    folder.mkdir()
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept = "CT", 1, 0
        dataset.save_as(folder / path.name)
    return folder


def at_heights(path: Path, folder: Path) -> Path:
    """One slice copied to three heights, 5 mm apart."""
    folder.mkdir()
    for index in range(3):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient[2] = 5 * index
        dataset.InstanceNumber = index + 1
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{index + 1}")
        dataset.save_as(folder / str(index))
    return folder


def twin_rows(data: Path) -> Iterator[Row]:
    """DICOM series and the NIfTI files that other software made of them."""
    pairs = [(f"sts_dicom/{path.name}/image", f"sts_nifti/{path.name}/CT_image.nii.gz")
             for path in sorted((data / "sts_dicom").iterdir())]  # fmt: skip
    for series, twin in [*pairs, ("lidc_0001/dicom", "lidc_0001/nifti/ct.nii.gz")]:
        ours, theirs = read_series(data / series), nifti.read_volume(data / twin)
        yield compare_hu(series, f"against {twin}", (ours.hu, ours.geometry), (theirs.hu, theirs.geometry))


def contour_rows(data: Path) -> Iterator[Row]:
    """Structure sets, rasterised, and the masks that were made of them elsewhere."""
    for folder in sorted((data / "sts_dicom").iterdir()):
        series, acquisition = read_series_grid(folder / "image")
        contoured = read_rtstruct(next((folder / "mask").iterdir()), series, acquisition, GTV)
        values, grid = nifti.read_label_values(data / "sts_nifti" / folder.name / "CT_mask.nii.gz")
        yield compare_masks(f"sts_dicom/{folder.name}/mask", "RTSTRUCT against CT_mask.nii.gz",
                            (contoured.masks["tumour"], acquisition.geometry), (values > 0, grid))  # fmt: skip


def segment_rows(data: Path) -> Iterator[Row]:
    """DICOM segmentations and their NRRD twins."""
    folder = data / "dicom" / "seg_dcmqi"
    for name, segments in TWINS.items():
        found = read_segmentation(folder / name)
        for segment, (twin, value) in segments.items():
            what = f"segment {segment} against {Path(twin).name} = {value}"
            values, grid = itk_images.read_label_values(folder / twin)
            mask = found.masks[segment]
            theirs = on_grid(values == value, grid, found.geometry)
            yield compare_masks(f"dicom/seg_dcmqi/{name}", what, (mask, found.geometry), theirs)


def on_grid(mask: BoolArray, grid: Geometry, target: Geometry) -> tuple[Any, Geometry]:
    """The mask cut to the target's field where the two are one lattice; as it is where they are not."""
    start = grid.index(target.world(np.zeros((1, 3))))[0]
    whole = start.round().astype(int)
    same = abs(start - whole).max() < 1e-3 and grid.orientation == target.orientation
    if grid.shape == target.shape or not same or (whole < 0).any():
        return mask, grid
    box = tuple(slice(a, a + n) for a, n in zip(whole.tolist(), target.shape, strict=True))
    cut = mask[box]
    return (cut, grid.cropped(tuple(whole.tolist()), cut.shape)) if cut.shape == target.shape else (mask, grid)


SECTIONS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "dcm2niix": dicom_rows, "compressed": compressed_rows, "nifti": twin_rows, "rtstruct": contour_rows,
    "seg": segment_rows,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the public data")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    options = parser.parse_args(arguments)
    if not options.json:
        print(HEADER)
    verdicts: Counter[str] = Counter()
    for section in options.only:
        for row in SECTIONS[section](options.data):
            verdicts[row.verdict] += 1
            print(json.dumps(row.as_json()) if options.json else row.as_markdown(), flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()), file=sys.stderr)
    return int(verdicts["differs"] > 0)


if __name__ == "__main__":
    sys.exit(main())
