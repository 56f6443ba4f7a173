"""MLflow, only where the recipe names a folder or an address: settings as parameters, curves as metrics.

MLflow's usage reports are switched off, and neither user, machine, program nor folder is told: runs are made with the
client, which adds no tags of its own. Points that are in the store already are not told again after a resume.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import FileReadError, UsageError
from medseg.files import write_text
from medseg.training.events import StepEvent, ValidationEvent

FILE = "mlflow.json"
EXPERIMENT = "medseg"
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:")  # a scheme of two letters or more: `C:` is a drive
UNKNOWN = re.compile(r"[^\w\-. /:]")  # what MLflow takes in no name
LONGEST = 500  # letters of a parameter


@dataclass(frozen=True)
class Described:
    """What MLflow is told of a training besides its curves.

    Args:
        name: of the MLflow run.
        settings: become its parameters.
        finished: whether nothing is left to do, asked at the end; early stopping is an end too.
    """

    name: str
    settings: Mapping[str, str]
    finished: Callable[[], bool]


class MLflow:
    """A watcher that tells an MLflow store; when the store fails, training goes on without it and says so once.

    Args:
        store: a folder, or an address such as `sqlite:///mlflow.db` (full `mlflow` only) or `https://...`.
        folder: of the run; `mlflow.json` in it says which MLflow run of which store belongs to it. In another store a
            new one is begun.
        described: name, settings and end of the training.
        say: called with the sentence that the store has failed.

    Raises:
        UsageError: MLflow is not installed, or the store cannot be opened.
        FileReadError: `mlflow.json` is damaged.
    """

    def __init__(self, store: str, folder: Path, described: Described, say: Callable[[str], None]) -> None:
        self.client, self.say, self.described = open_store(store), say, described
        self.failed = False
        known = _known_run(folder / FILE, store)
        try:
            self.run = known or self._new_run()
            if known:
                self.client.update_run(known, status="RUNNING")
            self.told = {key: self._last(key) for key in ("loss", "dice/mean")}
        except _failures() as error:
            raise _closed(
                "the MLflow run cannot be opened", error, f"Delete {FILE} in the run to begin a new one."
            ) from error
        write_text(folder / FILE, json.dumps({"run": self.run, "store": _digest(store)}) + "\n")

    def step(self, event: StepEvent) -> None:
        if event.step > self.told["loss"]:
            self._log(event.step, {
                "loss": event.loss,
                "learning_rate": event.learning_rate,
                "gradient_norm": event.gradient_norm,
                "patches_per_second": event.patches_per_second,
                "waiting_share": event.wait_share,
            })  # fmt: skip

    def validation(self, event: ValidationEvent) -> None:
        if event.step > self.told["dice/mean"]:
            self._log(
                event.step, {"dice/mean": event.mean} | {f"dice/{name}": dice for name, dice in event.dice.items()}
            )

    def close(self) -> None:
        self._try(
            lambda: self.client.set_terminated(self.run, status="FINISHED" if self.described.finished() else "KILLED")
        )

    def _new_run(self) -> str:
        from mlflow.entities import Param

        found = self.client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
        run = self.client.create_run(experiment, run_name=self.described.name).info.run_id
        params = [Param(UNKNOWN.sub("_", key), text[:LONGEST]) for key, text in self.described.settings.items()]
        self.client.log_batch(run, params=params)
        return run

    def _last(self, key: str) -> int:
        return max((metric.step for metric in self.client.get_metric_history(self.run, key)), default=-1)

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(UNKNOWN.sub("_", key), value, now, step) for key, value in values.items()]
        self._try(lambda: self.client.log_batch(self.run, metrics=metrics))

    def _try(self, tell: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            tell()
        except _failures() as error:
            self.failed = True
            self.say(f"MLflow takes no more ({type(error).__name__}); training goes on without it.")


def open_store(store: str) -> Any:
    """An MLflow client of a folder or an address, with MLflow's usage reports switched off.

    Raises:
        UsageError: MLflow is not installed, or the store cannot be opened.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read at every call, so it stays
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # 7 by default: minutes in which nobody trains
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise UsageError("MLflow is not installed", where="tracking.mlflow",
                         do="pip install 'medseg[mlflow]', or leave the key out.") from error  # fmt: skip
    uri = store
    if not ADDRESS.match(store):
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # MLflow 3.7 and later ask for it; mlflow-skinny has no other
        uri = Path(store).absolute().as_uri()
    try:
        client = MlflowClient(tracking_uri=uri)
        client.get_experiment_by_name(EXPERIMENT)
    except _failures() as error:
        raise _closed("the MLflow store cannot be opened", error,
                      "Name a folder or a server's address; sqlite needs the full mlflow.") from error  # fmt: skip
    return client


def _failures() -> tuple[type[Exception], ...]:
    """What a store raises when it fails."""
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError


def _closed(what: str, error: Exception, do: str) -> UsageError:
    return UsageError(what, where="tracking.mlflow", got=type(error).__name__, do=do)


def _digest(store: str) -> str:
    """By which a store is known again, without its path or address."""
    return hashlib.sha256(store.encode()).hexdigest()[:16]


def _known_run(path: Path, store: str) -> str | None:
    """The MLflow run in this store; None where there is none yet."""
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return str(told["run"]) if told.get("store", _digest(store)) == _digest(store) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileReadError("mlflow.json cannot be read", where=path.name, got=type(error).__name__,
                            do="Delete it to begin a new MLflow run.") from error  # fmt: skip
