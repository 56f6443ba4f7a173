"""`predict` over many studies: what cannot be read or written costs itself and no other, and is said."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medseg.errors import DicomError, MedsegError, WriteError
from medseg.imaging.labels import LabelSet
from medseg.io.dicom import series_id
from medseg.models.unet import UNet
from medseg.workflows import list_studies, predict
from medseg.workflows.fleet import Fleet, ready

DICOM = Path(__file__).parents[1] / "data" / "dicom"
LABELS = LabelSet({"background": 0, "liver": 1})


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two patients, the slices of the second one with an empty file among them."""
    for patient, name in (("Jane Doe", "small"), ("John Doe", "lidc")):
        shutil.copytree(DICOM / name, tmp_path / "archive" / patient / name)
    (tmp_path / "archive" / "John Doe" / "lidc" / "blank").write_bytes(b"")
    return tmp_path / "archive"


def test_a_folder_that_cannot_be_read_costs_no_other_study_of_the_archive(
    run_folder: Path, archive: Path, tmp_path: Path
) -> None:
    outcomes: list[Any] = []

    with pytest.raises(DicomError, match=r"^archive, folder 2.*: an empty file"):
        predict(run_folder, archive, tmp_path / "out", on_done=outcomes.extend)

    assert [outcome.error is None for outcome in outcomes] == [True, False]
    assert (tmp_path / "out" / f"{series_id(DICOM / 'small')}.nii.gz").exists()
    assert "Doe" not in str(outcomes[1].error)


def test_an_input_that_is_no_ct_is_set_aside_beside_others(run_folder: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "words.nii.gz").write_bytes(b"nothing")
    shutil.copytree(DICOM / "small", tmp_path / "mr")
    for path in (tmp_path / "mr").iterdir():
        path.write_bytes(path.read_bytes().replace(b"CT", b"MR"))
    outcomes: list[Any] = []

    with pytest.raises(MedsegError, match=r"1 more of 3 have errors"):
        predict(run_folder, [tmp_path / "mr", tmp_path / "words.nii.gz", DICOM / "small"], tmp_path / "out",
                on_done=outcomes.extend)  # fmt: skip

    assert [outcome.error is None for outcome in outcomes] == [False, False, True]
    assert [outcome.item.id for outcome in outcomes][:2] == ["unreadable_1", "words"]


def test_where_no_input_is_a_study_nothing_is_begun(run_folder: Path, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DicomError, match="an empty file"):
        predict(run_folder, archive / "John Doe", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_series_is_not_cut_where_its_slices_lie_in_two_folders(tmp_path: Path) -> None:
    files = sorted(path for path in (DICOM / "small").iterdir() if path.is_file())
    for folder, part in (("a", files[:2]), ("b", files[2:])):
        (tmp_path / "tree" / folder).mkdir(parents=True)
        for path in part:
            shutil.copy(path, tmp_path / "tree" / folder)
    (tmp_path / "tree" / "b" / "blank").write_bytes(b"")
    (tmp_path / "tree" / "c").mkdir()

    with pytest.raises(DicomError, match="an empty file"):
        list_studies([tmp_path / "tree"], LABELS)


def test_a_full_disk_ends_the_work_and_the_same_command_goes_on(
    run_folder: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def full(_stream: int) -> None:
        written.append(1)
        if len(written) > 12:  # some files fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    outcomes: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr("medseg.files.os.fsync", full)
        with pytest.raises(WriteError, match=r"No space left on device.*Free some space"):
            predict(run_folder, phantoms, tmp_path / "out", ram="4G", on_done=outcomes.extend)
    assert sum(outcome.error is None for outcome in outcomes) in range(1, 5)
    assert [path for path in (tmp_path / "out").rglob(".*") if path.name != ".medseg"] == []

    assert len(predict(run_folder, phantoms, tmp_path / "out")) == 5


def test_after_three_refusals_in_turn_the_rest_are_not_begun(
    run_folder: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise WriteError("could not write: no room")

    outcomes: list[Any] = []
    monkeypatch.setattr("medseg.workflows.prediction_work.write_prediction", full)
    with pytest.raises(WriteError, match="no room"):
        predict(run_folder, phantoms, tmp_path / "out", ram="4G", on_done=outcomes.extend)

    assert [outcome.tries for outcome in outcomes] == [1, 1, 1, 0, 0]
    assert "not begun, for nothing can be written" in str(outcomes[-1].error)


def test_memory_that_does_not_suffice_is_told_on_the_screen_and_in_the_record(
    run_folder: Path, held_out_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, outcomes = UNet.forward, list[Any]()

    def narrow(self: Any, tiles: torch.Tensor) -> Any:
        if len(tiles) > 1 and tiles.device.type != "meta":
            raise torch.OutOfMemoryError("no room")
        return forward(self, tiles)

    monkeypatch.setattr(UNet, "forward", narrow)
    recipe = Path(shutil.copytree(run_folder, tmp_path / "run")) / "recipe.yaml"
    settings = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump(settings | {"inference": {"overlap": 0.25, "batch": 2}}))
    predict(tmp_path / "run", held_out_image, tmp_path / "out", on_done=outcomes.extend)

    told = "The cpu memory does not hold 2 tiles; going on with 1 at a time."
    assert told in outcomes[0].result.notes
    assert told in json.loads((tmp_path / "out/c005.json").read_text())["notes"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_ends_while_a_study_is_read_is_named(error: Exception) -> None:
    def work(_: int) -> None:
        raise error

    (outcome,) = Fleet().map(ready(work), [1], name=lambda _: "study a")
    assert str(outcome.error).startswith("study a: the memory ran out;") and "--ram" in str(outcome.error)
