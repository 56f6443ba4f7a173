"""Cases on disk: both layouts give back what was stored, patch by patch, and damage is noticed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from medseg.data.patches import cut
from medseg.data.store import Majority, StoredCase
from medseg.data.store_disk import Layout, is_intact, read_facts, read_stored, write_stored
from medseg.errors import FileReadError
from medseg.preprocessing.seen import Looks

LAYOUTS = get_args(Layout)


def make_case(highest: int = 3, known: torch.Tensor | None = None) -> StoredCase:
    generator = torch.Generator().manual_seed(0)
    hu = torch.randint(-1024, 3071, (1, 70, 33, 9), dtype=torch.int16, generator=generator)
    labels = torch.randint(-1, highest + 1, (2, 70, 33, 9), dtype=torch.int16, generator=generator)
    places = {1: torch.tensor([[1, 2, 3]], dtype=torch.int16)}
    return StoredCase("c1", hu, labels, places, ("A", "B"), known)


def stored(folder: Path, layout: Layout, case: StoredCase | None = None) -> StoredCase:
    write_stored(folder, case or make_case(), layout, "source")
    return read_stored(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_voxel_and_place_comes_back(layout: Layout, tmp_path: Path) -> None:
    case, again = make_case(), stored(tmp_path, layout)
    assert torch.equal(again.hu[:], case.hu[:])
    assert torch.equal(again.labels[:].short(), case.labels[:])
    assert again.id == "c1" and torch.equal(again.places[1], case.places[1])
    assert (again.raters, again.known) == (("A", "B"), None)


def test_how_a_case_looks_from_outside_comes_back_and_older_stores_do_not_tell(tmp_path: Path) -> None:
    case = replace(make_case(), looks=Looks((0.8, 0.8, 5.0), 612.5))

    assert stored(tmp_path / "new", "memmap", case).looks == case.looks
    assert stored(tmp_path / "old", "memmap").looks is None


def test_what_each_rater_looked_for_comes_back(tmp_path: Path) -> None:
    known = torch.tensor([[True, True, True, True], [True, False, True, False]])
    again = stored(tmp_path, "memmap", make_case(known=known)).known
    assert again is not None and torch.equal(again, known)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_patch_from_disk_is_the_patch_from_memory(layout: Layout, tmp_path: Path) -> None:
    case, again = make_case(), stored(tmp_path, layout)
    box = ((60, -4, 2), (20, 20, 20))  # beyond the image on three sides
    assert torch.equal(cut(again.hu, *box, -1024), cut(case.hu, *box, -1024))
    one = slice(1, 2)
    assert torch.equal(cut(again.labels, *box, 0, one).short(), cut(case.labels, *box, 0, one))


@pytest.mark.parametrize("highest, kept", [(127, torch.int8), (128, torch.int16)])
def test_labels_take_one_byte_while_they_fit(highest: int, kept: torch.dtype, tmp_path: Path) -> None:
    assert stored(tmp_path, "memmap", make_case(highest)).labels[:].dtype == kept


def test_an_open_file_does_not_travel_to_another_process(tmp_path: Path) -> None:
    case = stored(tmp_path, "blosc2")
    first = case.hu[:]
    assert torch.equal(pickle.loads(pickle.dumps(case)).hu[:], first)


def test_a_case_without_its_last_file_is_not_finished(tmp_path: Path) -> None:
    stored(tmp_path, "memmap")
    (tmp_path / "case.json").unlink()
    assert read_facts(tmp_path) is None
    with pytest.raises(FileReadError, match="not finished"):
        read_stored(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    stored(tmp_path, "memmap")
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(FileReadError, match=r"labels\.npy"):
        read_stored(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", [0, 40, -20])
def test_a_changed_byte_is_noticed(layout: Layout, place: int, tmp_path: Path) -> None:
    stored(tmp_path, layout)
    (file,) = tmp_path.glob("hu.*")
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)
    facts = read_facts(tmp_path)
    assert facts and not is_intact(tmp_path, facts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_truncated_array_is_refused_when_it_is_read(layout: Layout, tmp_path: Path) -> None:
    case = stored(tmp_path, layout)
    (file,) = tmp_path.glob("hu.*")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(FileReadError, match=r"hu\."):
        case.hu[:]


def test_the_majority_is_counted_in_the_box_that_is_read() -> None:
    labels = torch.tensor([[0, 1, 2], [0, 1, 1], [2, 1, 1]], dtype=torch.int8).reshape(3, 3, 1, 1)
    voxels = Majority(labels, 3)
    assert voxels[:].flatten().tolist() == [0, 1, 1]
    assert cut(voxels, (1, 0, 0), (3, 1, 1), 0).flatten().tolist() == [1, 1, 0]
    assert voxels.shape == (1, 3, 1, 1) and len(voxels) == 1
