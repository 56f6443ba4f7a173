"""`runs`: results and differing settings of several runs; folds together, damage named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.cli import main
from medseg.errors import FileReadError, UsageError
from medseg.workflows import runs
from medseg.workflows.run_lock import locked_folder

Make = Callable[..., Path]


@pytest.fixture
def make(run_folder: Path, tmp_path: Path) -> Make:
    """Makes a run of a real one, with other settings, another state and other validations."""

    def made(name: str, *, dice: tuple[float, ...] = (), state: str | None = "finished", **settings: str) -> Path:
        folder = Path(shutil.copytree(run_folder, tmp_path / name))
        recipe = (folder / "recipe.yaml").read_text()
        for old, new in settings.values():
            assert old in recipe
            recipe = recipe.replace(old, new)
        (folder / "recipe.yaml").write_text(recipe)
        rows: list[dict[str, Any]] = [{"step": step, "loss": 1.0, "seconds": 2.0} for step in range(1, 5)]
        rows += [
            {"step": step, "validation_dice": {"liver": mean}, "mean_dice": mean} for step, mean in enumerate(dice, 1)
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        facts = json.loads((folder / "run.json").read_text())
        facts["training"] = {"state": state, "seconds": 100.0} if state else {}
        (folder / "run.json").write_text(json.dumps(facts))
        return folder

    return made


SOFT = ("raters: soft", "raters: majority")


def test_best_and_last_dice_steps_state_and_time_are_told(make: Make, tmp_path: Path) -> None:
    make("a", dice=(0.5, 0.9, 0.7))

    (row,) = runs(tmp_path / "a").rows

    assert (row.best_dice, row.last_dice, row.dice) == (0.9, 0.7, {"liver": 0.9})
    assert (row.state, row.step, row.steps, row.seconds) == ("finished", 4, 4, 100.0)


def test_only_settings_that_differ_are_listed(make: Make, tmp_path: Path) -> None:
    make("a")
    make("b", raters=SOFT)

    table = runs(tmp_path)

    assert [row.differs for row in table.rows] == [{"raters": "soft"}, {"raters": "majority"}]
    assert table.settings() == (["setting", "1", "2"], [["raters", "soft", "majority"]])


def test_folds_are_one_row_with_their_mean(make: Make, tmp_path: Path) -> None:
    make("cv/fold_0", dice=(0.8,))
    make("cv/fold_1", dice=(0.6,), state="stopped", fold=("fold: 0", "fold: 1"))

    (row,) = runs(tmp_path / "cv").rows

    assert (Path(row.name).name, row.best_dice, row.dice) == ("cv", 0.7, {"liver": 0.7})
    assert (row.state, row.step, row.steps, row.seconds) == ("stopped", 8, 8, 200.0)
    assert [Path(fold.name).name for fold in row.folds] == ["fold_0", "fold_1"]
    assert row.differs == {}


def test_a_fold_s_number_is_no_difference_between_runs_of_folds(make: Make, tmp_path: Path) -> None:
    make("x/fold_0")
    make("y/fold_1", fold=("fold: 0", "fold: 1"), raters=SOFT)

    assert [row.differs for row in runs(tmp_path).rows] == [{"raters": "soft"}, {"raters": "majority"}]


@pytest.mark.parametrize(
    "sort, expected", [("name", "abc"), ("best", "bac"), ("last", "acb"), ("time", "abc"), ("steps", "abc")]
)
def test_runs_are_sorted_and_those_without_dice_come_last(make: Make, tmp_path: Path, sort: Any, expected: str) -> None:
    make("a", dice=(0.5, 0.6))
    make("b", dice=(0.9, 0.1))
    make("c", dice=(0.4, 0.3))

    assert "".join(Path(row.name).name for row in runs(tmp_path, sort=sort).rows) == expected


def test_a_run_without_a_validation_comes_last(make: Make, tmp_path: Path) -> None:
    make("a")
    make("b", dice=(0.1,))

    assert [Path(row.name).name for row in runs(tmp_path, sort="best").rows] == ["b", "a"]


@pytest.mark.parametrize(
    "damage, problem",
    [
        (lambda run: (run / "recipe.yaml").write_text("a: [1"), "recipe.yaml cannot be read"),
        (lambda run: (run / "recipe.yaml").unlink(), "recipe.yaml is missing"),
        (lambda run: (run / "run.json").write_text("[]"), "run.json cannot be read"),
        (lambda run: (run / "log.jsonl").write_bytes(b"\xff\xfe\x00"), "log.jsonl cannot be read"),
        (lambda run: cut(run / "checkpoints" / "last.safetensors"), "last.safetensors cannot be read"),
        (lambda run: (run / "checkpoints" / "last.safetensors").unlink(), "last.safetensors is missing"),
    ],
)
def test_a_damaged_run_is_listed_as_such_beside_the_others(
    make: Make, tmp_path: Path, damage: Any, problem: str
) -> None:
    make("a", dice=(0.5,))
    damage(make("b", dice=(0.6,)))

    table = runs(tmp_path)

    assert [row.state for row in table.rows] == ["finished", "damaged"]
    assert table.rows[1].problem == problem
    assert problem in table.cells()[1][1][2]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def test_odd_rows_in_a_log_are_passed_over(make: Make, tmp_path: Path) -> None:
    folder = make("a", dice=(0.5,))
    odd = [5, None, {"loss": 1}, {"step": "x"}, {"step": 9, "mean_dice": None}, {"step": 9, "seconds": "long"}]
    with open(folder / "log.jsonl", "a") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in odd)
        stream.write('{"step": 10, "mean_')  # cut short by a kill

    assert runs(folder).rows[0].last_dice == 0.5


def test_a_run_is_running_while_its_folder_is_held_and_stopped_when_it_was_killed(make: Make, tmp_path: Path) -> None:
    folder = make("a", state="running")

    with locked_folder(folder):
        held = runs(folder).rows[0].state

    assert (held, runs(folder).rows[0].state) == ("running", "stopped")


def test_an_older_run_without_notes_is_finished_when_all_its_steps_are_saved(make: Make, tmp_path: Path) -> None:
    make("done", state=None)
    make("cut", state=None, steps=("steps: 4", "steps: 400"))

    assert {Path(row.name).name: row.state for row in runs(tmp_path).rows} == {"done": "finished", "cut": "stopped"}


def test_time_of_an_older_run_is_that_of_its_log(make: Make, tmp_path: Path) -> None:
    assert runs(make("a", state=None)).rows[0].seconds == 8.0


def test_paths_are_told_by_their_last_part_and_numbered_when_that_is_the_same(make: Make, tmp_path: Path) -> None:
    data = next(line for line in (make("a") / "recipe.yaml").read_text().splitlines() if line.startswith("data:"))
    make("b", data=(data, "data: /another/hospital/data"))

    assert [row.differs for row in runs(tmp_path).rows] == [{"data": "data (1)"}, {"data": "data (2)"}]


def test_where_there_is_no_run_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match=r"nothing: no run here"):
        runs(tmp_path / "nothing")


def test_an_unknown_order_lists_the_known_ones(run_folder: Path) -> None:
    with pytest.raises(UsageError, match="expected name, best, last, steps, time, got dice"):
        runs(run_folder, sort="dice")  # type: ignore[arg-type]


def test_records_are_flat_for_pandas(make: Make, tmp_path: Path) -> None:
    make("a", dice=(0.5,))
    make("b", raters=SOFT)

    first, second = runs(tmp_path).records()

    assert (first["best_dice"], first["raters"], second["raters"]) == (0.5, "soft", "majority")
    assert not any(isinstance(value, dict | list) for row in (first, second) for value in row.values())


def test_in_a_notebook_it_is_a_table_whose_texts_are_no_markup(make: Make, tmp_path: Path) -> None:
    make("<b>a")

    assert "<td>&lt;b&gt;a</td>" in runs(tmp_path)._repr_html_()


def test_the_command_prints_tables(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("first", dice=(0.5,))
    make("second", raters=SOFT)

    with pytest.raises(SystemExit) as ended:
        main(["runs", str(tmp_path)])

    words = capsys.readouterr().out.split()
    assert ended.value.code == 0
    assert {"first", "second", "0.500", "raters", "soft", "majority", "0:01:40"} <= set(words)


def test_the_command_prints_json(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("a", dice=(0.5,))

    with pytest.raises(SystemExit):
        main(["runs", str(tmp_path), "--json", "--report"])

    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "medseg.runs/1"
    assert found["runs"][0]["best_dice"] == 0.5


def test_comparing_runs_loads_no_pytorch(run_folder: Path) -> None:
    code = "import sys; from medseg.cli import main\ntry: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code, "runs", run_folder, "--report"], capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "False", done.stderr
