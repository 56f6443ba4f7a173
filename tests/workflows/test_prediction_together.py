"""Several `predict` commands into one folder at the same time: nothing is lost, nothing is left over."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import OutputExistsError
from medseg.files import MARKER
from medseg.workflows import predict, prediction_files, prediction_folder
from medseg.workflows.prediction_folder import shared_folder
from tests.support.command_server import CommandServer

LEFTOVER = ".c001-0123abcd.nii.gz"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    found = CommandServer(tmp_path_factory.mktemp("server") / "log")
    yield found
    found.close()


def studies_of(out: Path) -> set[str]:
    return {row["study"] for row in csv.DictReader((out / "measurements.csv").read_text().splitlines())}


def formats_of(out: Path, name: str) -> list[str]:
    return json.loads((out / f"{name}.json").read_text())["formats"]


def hidden(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob(".*"))


def test_two_commands_with_other_and_with_the_same_studies_lose_nothing(
    run_folder: Path, phantoms: Path, tmp_path: Path, server: CommandServer
) -> None:
    images, out = sorted((phantoms / "images").glob("*.nii.gz")), tmp_path / "out"
    given = (images[:3], images[2:], images)  # the third study is in all of them

    running = [server.start("predict", run_folder, *some, "--out", out, "--format", form)
               for some, form in zip(given, ("nifti,nrrd", "nifti,png", "nifti"), strict=True)]  # fmt: skip

    assert [one.wait() for one in running] == [0, 0, 0], server.log.read_text()
    names = [path.name.removesuffix(".nii.gz") for path in images]
    assert studies_of(out) == set(names)
    assert formats_of(out, names[0]) == ["nifti", "nrrd"] and formats_of(out, names[4]) == ["nifti", "png"]
    assert formats_of(out, names[2]) == ["nifti", "nrrd", "png"]
    assert hidden(out) == [MARKER]


def test_leftovers_go_only_when_nobody_else_works_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with shared_folder(out, kind="predictions"):
        (out / LEFTOVER).touch()
        with shared_folder(out, kind="predictions"):
            assert hidden(out) == [LEFTOVER, MARKER]
        assert hidden(out) == [LEFTOVER, MARKER]
    assert hidden(out) == [MARKER]

    (out / LEFTOVER).touch()
    with shared_folder(out, kind="predictions"):
        assert hidden(out) == [MARKER]


def test_a_file_system_without_locks_is_told_and_only_old_leftovers_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(prediction_folder.fcntl, "flock", refuse)
    said: list[str] = []
    for name in (LEFTOVER, ".c002-0123abcd.json"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / MARKER).write_text("made by medseg: predictions\n")
        (tmp_path / "out" / name).touch()
    os.utime(tmp_path / "out" / LEFTOVER, (1, 1))

    with shared_folder(tmp_path / "out", kind="predictions", say=said.append):
        assert hidden(tmp_path / "out") == [".c002-0123abcd.json", MARKER]
    assert len(said) == 1 and "out keeps no locks" in said[0]


def write_beside(monkeypatch: pytest.MonkeyPatch, name: str, what: Any) -> None:
    """Does something when the first file of a study is written, as another command would."""
    form = prediction_files.FILES[name]

    def write(job: Any, path: Path) -> Any:
        monkeypatch.setitem(prediction_files.FILES, name, form)
        what()
        return form.write(job, path)

    monkeypatch.setitem(prediction_files.FILES, name, replace(form, write=write))


def test_formats_of_another_command_stay_in_the_record(
    run_folder: Path, held_out_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_beside(monkeypatch, "nrrd", lambda: predict(run_folder, held_out_image, out, formats=["png"],
                                                      uncertainty=True))  # fmt: skip

    predict(run_folder, held_out_image, out, formats=["nrrd", "nifti"])

    assert formats_of(out, "c005") == ["nifti", "nrrd", "png"]
    lines = list(csv.DictReader((out / "measurements.csv").read_text().splitlines()))
    assert all(line["expected_ml"] for line in lines)  # what only the other one had asked for


def test_two_models_at_the_same_time_are_not_mixed(
    run_folder: Path, held_out_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(run_folder, tmp_path / "other"))
    (other / "recipe.yaml").write_text("# another\n" + (other / "recipe.yaml").read_text())
    out = tmp_path / "out"
    write_beside(monkeypatch, "nrrd", lambda: predict(other, held_out_image, out, formats=["png"]))

    with pytest.raises(OutputExistsError, match="results of another model"):
        predict(run_folder, held_out_image, out, formats=["nrrd"])

    assert formats_of(out, "c005") == ["png"]


def test_the_table_has_the_study_that_another_command_finished_meanwhile(
    run_folder: Path, phantoms: Path, held_out_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.workflows import prediction

    out, write_csv, first = tmp_path / "out", prediction.write_csv, sorted((phantoms / "images").glob("*.nii.gz"))[0]

    def late(*arguments: Any) -> None:
        monkeypatch.setattr(prediction, "write_csv", write_csv)
        predict(run_folder, first, out)
        write_csv(*arguments)  # read before the other study was there

    monkeypatch.setattr(prediction, "write_csv", late)
    predict(run_folder, held_out_image, out)

    assert studies_of(out) == {"c001", "c005"}
