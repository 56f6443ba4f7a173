"""Tiny sources in the public layouts, 8 x 8 x 6 voxels each, and the import that every importer must pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.imaging.case import Case
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.layouts.layout import ImportOptions
from medseg.io.manifest import Dataset, read_case, read_dataset, read_image
from medseg.shapes import IntArray

GRID = Geometry((8, 8, 6), np.array([[-0.75, 0, 0, 10], [0, 0.75, 0, -20], [0, 0, 2.5, -30], [0, 0, 0, 1.0]]))


@dataclass
class Tree:
    """A source that a test builds and damages."""

    root: Path

    def blocks(self, *values: int) -> IntArray:
        """Background with a block of 2 x 3 x 2 voxels for each value, side by side."""
        labels = np.zeros(GRID.shape, dtype=np.uint8)
        for index, value in enumerate(values):
            labels[2 * index : 2 * index + 2, 2:5, 1:3] = value
        return labels

    def image(self, relative: str) -> Path:
        hu = np.linspace(-1000, 900, 384, dtype=np.float32).reshape(GRID.shape)
        nifti.write_volume(self.root / relative, Volume(np.rint(hu), GRID))
        return self.root / relative

    def frames(self, relative: str, count: int) -> Path:
        image = nib.Nifti1Image(np.zeros((*GRID.shape, count), dtype=np.int16), GRID.affine)
        (self.root / relative).parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, self.root / relative)
        return self.root / relative

    def labels(self, relative: str, *values: int) -> Path:
        nifti.write_labels(self.root / relative, self.blocks(*(values or (1,))), GRID)
        return self.root / relative

    def mask(self, relative: str, array: Any) -> Path:
        nifti.write_labels(self.root / relative, np.asarray(array, dtype=np.uint8), GRID)
        return self.root / relative

    def text(self, relative: str, text: str) -> Path:
        (self.root / relative).parent.mkdir(parents=True, exist_ok=True)
        (self.root / relative).write_text(text, encoding="utf-8")
        return self.root / relative

    def json(self, relative: str, data: Any) -> Path:
        return self.text(relative, json.dumps(data))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "source")


Imports = Callable[..., tuple[Dataset, Sequence[Case]]]


@pytest.fixture
def imports(tmp_path: Path) -> Imports:
    """Imports a source, reads it back and gives the data set and every case that has a rater."""
    from medseg.workflows.importing import import_

    def run(layout: str, source: Path, *, copy: bool = False, **options: Any) -> tuple[Dataset, Sequence[Case]]:
        result = import_(layout, source, tmp_path / "out", copy=copy, overwrite=True, options=ImportOptions(**options))
        dataset = read_dataset(result.path)
        for entry in dataset.cases:
            read_image(dataset, entry)
        return dataset, [read_case(dataset, entry) for entry in dataset.cases if entry.raters]

    return run
