"""MLflow: every point once, nothing of the user or the machine, and a training that outlives its store."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

import pytest

from medseg.errors import FileReadError, UsageError
from medseg.training.events import StepEvent, ValidationEvent
from medseg.workflows.watching_mlflow import Described, MLflow, open_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
pytest.importorskip("mlflow")


def tell(mlflow: MLflow, *steps: int) -> None:
    for step in steps:
        mlflow.step(StepEvent(step, 9, float(step), 1e-3, 1.0, 2.0, 0.1, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def watch(folder: Path, said: list[str] | None = None, *, finished: bool = False, store: str = "store") -> MLflow:
    described = Described("run", {"training.steps": "9", "data": "dataset.yaml"}, lambda: finished)
    return MLflow(str(folder.parent / store), folder, described, (said if said is not None else []).append)


def test_settings_become_parameters_and_curves_metrics(folder: Path) -> None:
    mlflow = watch(folder)
    tell(mlflow, 1, 2)
    mlflow.validation(ValidationEvent(2, {"liver (left)": 0.5}, 0.5, {}))

    found = mlflow.client.get_run(mlflow.run).data
    assert found.params == {"training.steps": "9", "data": "dataset.yaml"}
    assert (found.metrics["loss"], found.metrics["dice/mean"], found.metrics["dice/liver _left_"]) == (2.0, 0.5, 0.5)


def test_a_resumed_run_goes_on_in_the_same_mlflow_run_and_tells_no_point_twice(folder: Path) -> None:
    tell(watch(folder), 1, 2, 3, 4)

    again = watch(folder)
    tell(again, 3, 4, 5)

    assert [metric.step for metric in again.client.get_metric_history(again.run, "loss")] == [1, 2, 3, 4, 5]


def test_in_another_store_a_resumed_run_is_a_new_mlflow_run(folder: Path) -> None:
    tell(watch(folder), 1, 2)

    again = watch(folder, store="another")
    tell(again, 3)

    assert [metric.step for metric in again.client.get_metric_history(again.run, "loss")] == [3]
    assert watch(folder, store="another").run == again.run


@pytest.mark.parametrize("finished, status", [(True, "FINISHED"), (False, "KILLED")])
def test_the_end_is_told(folder: Path, finished: bool, status: str) -> None:
    mlflow = watch(folder, finished=finished)
    tell(mlflow, 5)

    mlflow.close()

    assert mlflow.client.get_run(mlflow.run).info.status == status


def test_neither_user_nor_machine_nor_program_is_told(folder: Path) -> None:
    mlflow = watch(folder)

    run = mlflow.client.get_run(mlflow.run)
    assert (run.data.tags, run.info.user_id) == ({"mlflow.runName": "run"}, "unknown")
    stored = b"".join(path.read_bytes() for path in (folder.parent / "store").rglob("*") if path.is_file())
    assert socket.gethostname().encode() not in stored
    assert f"user: {getpass.getuser()}".encode() not in stored


def test_usage_reports_are_off(folder: Path) -> None:
    watch(folder)

    from mlflow.telemetry.utils import is_telemetry_disabled

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert is_telemetry_disabled()


def test_training_outlives_its_store_and_says_so_once(folder: Path) -> None:
    said: list[str] = []
    mlflow = watch(folder, said)
    mlflow.client.delete_run(mlflow.run)

    tell(mlflow, 1, 2, 3)

    assert len(said) == 1 and "training goes on without it" in said[0]


def test_a_store_that_does_not_answer_is_told_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"tracking\.mlflow: the MLflow store cannot be opened"):
        open_store("http://127.0.0.1:9")


def test_a_damaged_note_of_the_mlflow_run_is_refused(folder: Path) -> None:
    (folder / "mlflow.json").write_text("{")

    with pytest.raises(FileReadError, match=r"mlflow\.json cannot be read.*Delete it"):
        watch(folder)


def test_a_run_that_the_store_has_lost_is_refused(folder: Path) -> None:
    (folder / "mlflow.json").write_text('{"run": "0123456789abcdef0123456789abcdef"}')

    with pytest.raises(UsageError, match=r"the MLflow run cannot be opened.*Delete mlflow\.json"):
        watch(folder)
