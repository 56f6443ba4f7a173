"""What is read equals what dcm2niix reads of it, and what other software made of the same scan.

The comparisons are those of `benchmarks/parity.py`: on the small series of `tests/data` always, on the larger public
data where they are.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SERIES = ROOT / "tests" / "data" / "dicom"


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module; its neighbours are imported by their bare names."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("parity")
    for name in [name for name in sys.modules if name.startswith("parity")]:
        del sys.modules[name]


@pytest.fixture
def dcm2niix() -> None:
    if not (Path(sys.executable).with_name("dcm2niix").exists() or shutil.which("dcm2niix")):
        pytest.skip("dcm2niix is not installed (it belongs to the extras test and bench)")


@pytest.mark.usefixtures("dcm2niix")
@pytest.mark.parametrize(
    ("series", "verdicts"),
    [
        ("lidc", ["equal"]), ("empty_uid", ["equal"]), ("oblique", ["equal"]), ("small", ["equal"]),
        ("multiframe", ["equal"]), ("tilted", ["equal", "explained"]),
        ("uneven", ["refused", "explained", "explained"]),
        ("tilted_uneven", ["refused", "equal", "explained"]), ("one_place", ["refused"]), ("too_few", ["refused"]),
        ("mixed_orientation", ["refused"]),
    ],
)  # fmt: skip
def test_a_small_series_has_the_voxels_and_the_place_that_dcm2niix_gives_it(
    parity: ModuleType, series: str, verdicts: list[str]
) -> None:
    rows = list(parity.dicom_rows(SERIES / series))

    assert [row.verdict for row in rows] == verdicts, "\n".join(row.as_markdown() for row in rows)


@pytest.mark.usefixtures("dcm2niix")
def test_every_real_series_is_that_of_dcm2niix_or_the_difference_is_explained(
    parity: ModuleType, shared_data: Path
) -> None:
    rows = list(parity.dicom_rows(shared_data))

    assert [row.as_markdown() for row in rows if row.verdict == "differs"] == []
    assert sum(row.verdict == "equal" for row in rows) >= 13


@pytest.mark.usefixtures("dcm2niix")
def test_compressed_slices_equal_their_twins(parity: ModuleType, shared_data: Path) -> None:
    rows = list(parity.compressed_rows(shared_data))

    assert [row.as_markdown() for row in rows if row.verdict not in ("equal", "explained")] == []
    assert all(row.verdict == "equal" for row in rows if "twin" in row.what)


@pytest.mark.parametrize("section", ["nifti", "rtstruct", "seg"])
def test_scans_contours_and_segmentations_equal_what_other_software_made_of_them(
    parity: ModuleType, shared_data: Path, section: str
) -> None:
    rows = list(parity.SECTIONS[section](shared_data))

    assert rows and [row.as_markdown() for row in rows if row.verdict != "equal"] == []


def test_a_difference_is_not_called_equal(parity: ModuleType) -> None:
    grid = parity.Geometry((4, 3, 2), np.diag([-1.0, -1.0, 2.0, 1.0]))
    moved = parity.Geometry((4, 3, 2), np.diag([-1.0, -1.0, 2.01, 1.0]))
    hu = np.arange(24, dtype=np.float32).reshape(4, 3, 2)

    assert parity.compare_hu("a", "b", (hu, grid), (hu, grid)).verdict == "equal"
    assert parity.compare_hu("a", "b", (hu, grid), (hu + 1, grid)).verdict == "differs"
    assert parity.compare_hu("a", "b", (hu, grid), (hu, moved)).verdict == "differs"
    assert parity.compare_masks("a", "b", (hu > 3, grid), (hu > 4, grid)).verdict == "differs"


def test_a_flip_of_the_rows_is_the_same_volume(parity: ModuleType) -> None:
    grid = parity.Geometry((4, 3, 2), np.diag([-1.0, -1.0, 2.0, 1.0]))
    flipped = parity.Geometry((4, 3, 2), np.array([[-1, 0, 0, 0], [0, 1, 0, -2], [0, 0, 2, 0], [0, 0, 0, 1.0]]))
    hu = np.arange(24, dtype=np.float32).reshape(4, 3, 2)

    assert parity.compare_hu("a", "b", (hu, grid), (hu[:, ::-1], flipped)).verdict == "equal"
