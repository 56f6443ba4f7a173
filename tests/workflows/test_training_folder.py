"""The folder of a run that a killed training left half made, and an old run that another one is to replace."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import FileReadError, MedsegError, OutputExistsError
from medseg.files import open_output_folder, write_text
from medseg.io.manifest import read_dataset, write_dataset
from medseg.training.checkpoint import read_checkpoint
from medseg.workflows import train, train_folds, training, training_folder, training_hooks, training_run

ONE = ["training.steps=1"]


class Killed(BaseException):
    """As sudden as a kill: nothing in the program handles it."""


def killed(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, after: int = 0) -> None:
    """Lets the process die when a function is called the `after`-th time."""
    calls, original = iter(range(after)), getattr(module, name)

    def die(*given: Any, **named: Any) -> Any:
        if next(calls, None) is None:
            raise Killed
        return original(*given, **named)

    monkeypatch.setattr(module, name, die)


def digest(run: Path, which: str = "last") -> str:
    return read_checkpoint(run / "checkpoints" / f"{which}.safetensors").facts["sha256"]


@pytest.fixture(scope="module")
def short(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step."""
    out = tmp_path_factory.mktemp("short") / "run"
    train(recipe_file, ONE, out=out)
    return out


@pytest.mark.parametrize(
    "module, name, resume",
    [(training_run, "make_room", True), (training_run, "write_folds", True), (training_run, "take_over", True),
     (training_run, "write_run", True), (training_run, "write_run", False), (training, "_learn", True)],
)  # fmt: skip
def test_a_training_killed_before_its_first_step_is_begun_by_resume_and_by_the_same_command(
    short: Path, recipe_file: Path, tmp_path: Path, module: Any, name: str, resume: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed(patch, module, name)
        train(recipe_file, ONE, out=tmp_path / "run")
    if name == "make_room":
        write_text(tmp_path / "run" / ".medseg", "")  # which a kill would have left, as the lock of the folder
    else:
        write_text(tmp_path / "run" / ".folds-0123abcd.json", "a write that was cut off")
    said: list[str] = []

    train(recipe_file, ONE, out=tmp_path / "run", resume=resume, say=said.append)

    assert digest(tmp_path / "run") == digest(short)
    assert any("No training has begun in run yet" in line for line in said) == (resume and name != "_learn")


def test_resume_begins_a_training_where_there_is_nothing(short: Path, recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, ONE, out=tmp_path / "run", resume=True)

    assert digest(tmp_path / "run") == digest(short)


@pytest.mark.parametrize("resume, error", [(True, FileReadError), (False, OutputExistsError)])
@pytest.mark.parametrize("kind", ["foreign", "result", "run with notes", "lost run.json"])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(
    short: Path, recipe_file: Path, tmp_path: Path, kind: str, resume: bool, error: type[Exception]
) -> None:
    folder = tmp_path / "folder"
    if kind == "lost run.json":
        shutil.copytree(short, folder)
        (folder / "run.json").unlink()
    elif kind == "foreign":
        folder.mkdir()
    else:
        open_output_folder(folder, kind=kind.split()[0])
    write_text(folder / "notes.txt", "mine")
    before = sorted(folder.rglob("*"))

    with pytest.raises(error):
        train(recipe_file, ONE, out=folder, resume=resume)
    assert sorted(folder.rglob("*")) == before


def test_folds_that_were_killed_between_and_in_their_beginnings_are_completed(
    recipe_file: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed(patch, training_run, "write_folds")  # those of the run of folds itself
        train_folds(recipe_file, ONE, out=tmp_path / "run")
    (tmp_path / "run" / ".folds-0123abcd.json").write_text("a write that was cut off")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed(patch, training_run, "write_run", after=1)
        train_folds(recipe_file, ONE, out=tmp_path / "run", resume=True)

    trainings = train_folds(recipe_file, ONE, out=tmp_path / "run", resume=True)

    assert [each.run.folder.name for each in trainings] == ["fold_0", "fold_1"]


def test_a_run_that_died_between_its_very_first_checkpoints_goes_on(
    run_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    wishes, out = ["training.validate_every=2", "training.checkpoint_every=9"], tmp_path / "run"
    train(recipe_file, wishes, out=tmp_path / "straight")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed(patch, training_hooks, "write_checkpoint", after=1)
        train(recipe_file, wishes, out=out)
    assert [path.name for path in sorted((out / "checkpoints").glob("*.safetensors"))] == ["best.safetensors"]

    train(recipe_file, wishes, out=out, resume=True)

    assert [digest(out, which) for which in ("best", "last")] == [
        digest(tmp_path / "straight", which) for which in ("best", "last")
    ]


# ---- an old run that is to be replaced


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "fault, sentence",
    [
        ("a damaged label file", "c002"),
        ("a class that never occurs", "occurs in no case; got pancreas"),
        ("no donor", "needs two training cases"),
        ("itself", "init: the run that is to be replaced is needed"),
        ("above", "cascade: the run that is to be replaced is needed"),
    ],
)
def test_what_can_be_refused_is_refused_before_an_old_run_is_removed(
    short: Path, phantoms: Path, recipe_file: Path, tmp_path: Path, fault: str, sentence: str
) -> None:
    out, data = (Path(shutil.copytree(source, tmp_path / name)) for source, name in
                 ((short, "run"), (phantoms, "data")))  # fmt: skip
    dataset, before = read_dataset(data), files(out)
    wishes = [f"data={data.as_posix()}", *ONE]
    if fault == "a damaged label file":
        path = next(iter(dataset.entry("c002").raters.values())).path
        assert path is not None
        path.write_bytes(path.read_bytes()[:200])
    elif fault == "a class that never occurs":
        manifest = data / "dataset.yaml"
        manifest.write_text(manifest.read_text().replace("bone: 7", "bone: 7, pancreas: 9"))
    elif fault == "no donor":
        write_dataset(replace(dataset, cases=dataset.cases[:1]))
        wishes += ["folds.fold=all", "transforms={preset: none, steps: [{name: occlusion, fills: [tissue]}]}"]
    else:
        named = {"itself": out, "above": tmp_path}[fault]
        wishes += [f"cascade={named.as_posix()}" if fault == "above" else f"init={named.as_posix()}"]

    with pytest.raises(MedsegError, match=sentence):
        train(recipe_file, wishes, out=out, overwrite=True)
    assert files(out) == before


def test_a_kill_while_an_old_run_is_removed_leaves_a_folder_that_resume_takes(
    short: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(short, tmp_path / "run"))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed(patch, training_folder.shutil, "rmtree", after=1)
        train(recipe_file, ["training.seed=1", *ONE], out=out, overwrite=True)
    assert not (out / "run.json").exists()

    train(recipe_file, ONE, out=out, resume=True)

    assert digest(out) == digest(short)
    assert not (out / training_folder.REPLACED).exists()
