"""Real soft-tissue sarcomas as a medseg data set, cut so that the image's borders do not give the tumour away.

The published images were cropped 5 cm around the tumour, so a shape that never looks at a voxel already scores well.
Here every image is cut again with margins drawn anew for each of its six sides, always from the same seed, and the
floor of such a blind shape is measured on the same cuts.

    python benchmarks/sts.py ../shared/data/sts_nifti sts-data              # data set and floor
    python benchmarks/sts.py ../shared/data/sts_nifti sts-data --score PREDICTIONS
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from medseg.evaluation.overlap import dice
from medseg.files import open_output_folder
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io.manifest import CaseEntry, Dataset, LabelFile, read_dataset, read_reading, write_dataset
from medseg.io.nifti import read_label_values, read_volume, write_labels, write_volume
from medseg.shapes import BoolArray

SEED = 20130
TEST_CASES = 4  # the last by name
MARGIN_MM = (6.0, 50.0)  # around the tumour's box, never more than the image has
LABELS = LabelSet({"background": 0, "tumour": 1})
RATER = "expert"


def cut_box(mask: BoolArray, spacing_mm: tuple[float, ...], rng: np.random.Generator) -> tuple[slice, ...]:
    """The tumour's box with a margin of its own at each of the six sides, drawn independently."""
    where = np.argwhere(mask)
    margins = rng.uniform(*MARGIN_MM, size=(2, 3)) / np.array(spacing_mm)
    low = np.maximum(np.floor(where.min(0) - margins[0]), 0).astype(int)
    high = np.minimum(np.ceil(where.max(0) + 1 + margins[1]), mask.shape).astype(int)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def write_cuts(source: Path, out: Path) -> Dataset:
    """The cut studies as a data set; the last four by name are the split `test`."""
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    root = open_output_folder(out, kind="data set", overwrite=True)
    entries = []
    for number, folder in enumerate(folders):
        case_id = f"s{number + 1:03d}"
        volume = read_volume(folder / "CT_image.nii.gz", where=case_id)
        labels, _ = read_label_values(folder / "CT_mask.nii.gz", where=case_id)
        box = cut_box(labels > 0, volume.geometry.spacing_mm, np.random.default_rng([SEED, number]))
        hu, labels = volume.hu[box], labels[box]
        geometry = volume.geometry.cropped(tuple(side.start for side in box), hu.shape)
        image, expert = root / "images" / f"{case_id}.nii.gz", root / "labels" / RATER / f"{case_id}.nii.gz"
        write_volume(image, Volume(np.ascontiguousarray(hu), geometry))
        write_labels(expert, labels, geometry)
        split = "test" if number >= len(folders) - TEST_CASES else "train"
        entries.append(CaseEntry(case_id, image, {RATER: LabelFile(expert)}, split=split))
    dataset = Dataset(root, LABELS, (RATER,), tuple(entries))
    write_dataset(dataset)
    return dataset


def read_masks(dataset: Dataset, split: str) -> dict[str, BoolArray]:
    """The expert's tumour of every case of a split."""
    return {entry.id: read_reading(dataset, entry, RATER).mask("tumour") for entry in dataset.select(split)}


def blind_ellipsoid(shape: tuple[int, ...], centre: np.ndarray, radii: np.ndarray) -> BoolArray:
    """An ellipsoid at relative position `centre` with relative `radii` (shares of the image's size)."""
    axes = [(np.arange(n) + 0.5) / n for n in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def fit_blind_shape(masks: list[BoolArray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean relative centre and box of the training tumours; the common scale with the best mean Dice on them."""
    boxes = [(np.argwhere(m).min(0) / m.shape, (np.argwhere(m).max(0) + 1) / m.shape) for m in masks]
    centre = np.mean([(low + high) / 2 for low, high in boxes], axis=0)
    half = np.mean([(high - low) / 2 for low, high in boxes], axis=0)
    scales = np.arange(0.6, 1.41, 0.05)
    means = [np.mean([dice(m, blind_ellipsoid(m.shape, centre, half * s)) for m in masks]) for s in scales]
    return centre, half * scales[int(np.argmax(means))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--score", type=Path, help="folder of predictions of the test cases")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.out) if arguments.score else write_cuts(arguments.source, arguments.out)
    learned, tested = read_masks(dataset, "train"), read_masks(dataset, "test")
    centre, radii = fit_blind_shape(list(learned.values()))
    rows = {case: {"floor": dice(mask, blind_ellipsoid(mask.shape, centre, radii))} for case, mask in tested.items()}
    if arguments.score:
        for case, mask in tested.items():
            labels, _ = read_label_values(arguments.score / f"{case}.nii.gz", where=case)
            rows[case]["model"] = dice(mask, labels == LABELS.values["tumour"])
    means = {key: float(np.mean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
    print(json.dumps({"cases": rows, "mean": means}, indent=1))


if __name__ == "__main__":
    main()
