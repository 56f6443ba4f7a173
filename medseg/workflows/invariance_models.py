"""Who is tested: a run, any function from a volume to labels, or a folder of predictions that another tool made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medseg.errors import FileReadError, GeometryError, LabelError, UsageError
from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.imaging.case import check_same_grid
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet, count_values
from medseg.imaging.prediction import Prediction
from medseg.imaging.volume import Volume
from medseg.io.label_files import read_label_values, read_labels
from medseg.shapes import IntArray
from medseg.workflows.invariance_settings import IDENTITY, Doses, Step, check_dose, check_transform
from medseg.workflows.outputs import sha256
from medseg.workflows.readings_case import listed
from medseg.workflows.readings_labels import ModelLabels, ModelLabelsSource, read_model_labels

Labelled = Callable[[Volume], Any]
Model = str | Path | Labelled
WEIGHTS = ("recipe.yaml", "run.json")


class Judged(Protocol):
    """What is asked for labels.

    `digest` stands for everything that its labels depend on beside the image; None where nothing can vouch for that,
    so that no finished score is taken up again.
    """

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> LabelSet | None: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def structures(self) -> tuple[str, ...] | None:
        """What it looks for; None for everything."""
        ...

    def predict(self, case: str, step: Step | None, seen: Callable[[], Volume], canvas: Geometry) -> IntArray | None:
        """Label values (X, Y, Z on the canvas), or None where there is no prediction; no step: the case as it is."""
        ...


@dataclass(frozen=True, eq=False)
class CalledModel:
    """A function that is given a volume and returns labels on its grid, or a `Prediction`."""

    name: str
    function: Labelled
    labels: LabelSet | None = None
    digest: str | None = None
    structures: tuple[str, ...] | None = None

    def predict(self, case: str, step: Step | None, seen: Callable[[], Volume], canvas: Geometry) -> IntArray | None:
        found = self.function(seen())
        labels = np.asarray(found.labels if isinstance(found, Prediction) else found)
        where = f"{self.name}, case {case}"
        if labels.shape != canvas.shape:
            raise GeometryError("the labels do not lie on the grid of the volume that was given", where=where,
                                expected=str(canvas.shape), got=str(labels.shape))  # fmt: skip
        if labels.dtype == bool:
            return labels.astype(np.uint8)
        if not np.issubdtype(labels.dtype, np.integer):
            raise LabelError("labels must be integers", where=where, got=str(labels.dtype))
        return labels


@dataclass(frozen=True, eq=False)
class PredictedFolder:
    """Files `<transform>/<dose>/<case>.nii.gz` and `identity/<case>.nii.gz`.

    Args:
        mapping: from the files' label values to names; None where they are the data set's own.
    """

    folder: Path
    labels: LabelSet
    mapping: ModelLabels | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        return _folder_name(self.folder)

    @property
    def structures(self) -> tuple[str, ...] | None:
        """Those that a value of the files becomes; the others were not looked for."""
        return None if self.mapping is None else self.mapping.targets

    def path(self, case: str, step: Step | None) -> Path:
        """Where the labels of a case lie."""
        return self.folder / (IDENTITY if step is None else step.folder) / f"{case}.nii.gz"

    def predict(self, case: str, step: Step | None, seen: Callable[[], Volume], canvas: Geometry) -> IntArray | None:
        path = self.path(case, step)
        if not path.is_file():
            return None
        where = path.relative_to(self.folder).as_posix()
        labels, grid = self._read(path, where)
        check_same_grid(canvas, grid, where=where, first="its exported input")
        return labels

    def _read(self, path: Path, where: str) -> tuple[IntArray, Geometry]:
        """Label values of the data set, and their grid."""
        if self.mapping is None:
            found = read_labels(path, self.labels, where=where, tilt="keep")
            return found.labels, found.geometry
        values, grid = read_label_values(path, where=where, tilt="keep")
        present = [str(value) for value in count_values(values)[0] if value != 0]
        indices = np.zeros(values.shape, dtype=np.int16)
        for value, name in self.mapping.resolve(present, where=where).items():
            indices[values == int(value)] = self.labels.names.index(name)
        return self.labels.to_values(indices), grid

    def missing(self, cases: Sequence[str], steps: Sequence[Step]) -> list[str]:
        """Files of the layout that are not there."""
        wanted = [self.path(case, step) for step in (None, *steps) for case in cases]
        return [path.relative_to(self.folder).as_posix() for path in wanted if not path.is_file()]


def open_model(model: Model, *, checkpoint: str, device: str, name: str | None = None) -> Judged:
    """A run's predictor, loaded once, or the function itself.

    Raises:
        UsageError: no such checkpoint; FileReadError, CheckpointError: see `load_predictor`.
    """
    if not isinstance(model, str | Path):
        return CalledModel(name or getattr(model, "__name__", None) or type(model).__name__, model,
                           getattr(model, "label_set", None))  # fmt: skip
    if checkpoint not in ("best", "last"):
        raise UsageError("no such checkpoint", where="--checkpoint", expected="best or last", got=checkpoint)
    from medseg.workflows.run import load_predictor  # torch, which folders of predictions do not need

    predictor = load_predictor(model, which=checkpoint, device=device)
    return CalledModel(
        name or _folder_name(Path(model)), predictor, predictor.label_set, _run_digest(Path(model), checkpoint)
    )


def _folder_name(folder: Path) -> str:
    """The folder's own name, also of `.`."""
    return Path(os.path.abspath(folder)).name


def _run_digest(run: Path, checkpoint: str) -> str:
    from medseg.workflows.postprocessing_file import read_postprocessing  # numba, which folders do not need either

    folders = sorted(path.parent for path in run.glob("fold_*/run.json")) or [run]
    digest = hashlib.sha256()
    for folder in folders:
        for file in (*WEIGHTS, f"checkpoints/{checkpoint}.safetensors"):
            digest.update(sha256(folder / file).encode())
    if (steps := read_postprocessing(run)) is not None:
        digest.update(steps.digest.encode())
    return digest.hexdigest()


def open_predictions(folder: str | Path, labels: LabelSet, mapping: ModelLabelsSource = None) -> PredictedFolder:
    """A folder in the layout that `export_inputs` writes.

    Args:
        mapping: what its label values mean, or the file that says so (as `agree --model-labels`).

    Raises:
        FileReadError: there is no such folder.
        ConfigError, LabelError: a mapping that cannot be read, or that leads to an unknown label.
    """
    known = read_model_labels(mapping)
    if known is not None:
        known.check_targets(labels.foreground)
    if not Path(folder).is_dir():
        raise FileReadError("no such folder", where=Path(folder).name, expected=f"<transform>/<dose>/<case>.nii.gz and "
                            f"{IDENTITY}/<case>.nii.gz", do="Check the path.")  # fmt: skip
    return PredictedFolder(Path(folder), labels, known)


def found_doses(folder: Path) -> Doses:
    """The doses that a folder of predictions has a folder for, by transform.

    Raises:
        UsageError: a folder is called like no transform, or one in it like no dose, or there is none.
    """
    found: dict[str, list[float]] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if place.name == IDENTITY:
            continue
        check_transform(place.name, where=f"{folder.name}/{place.name}")
        for inner in sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")):
            found.setdefault(place.name, []).append(_dose_of(place.name, inner.name, folder.name))
    if not found:
        raise UsageError("no folder of a transform", where=folder.name, expected="<transform>/<dose>/<case>.nii.gz",
                         do="Write the inputs with --export-inputs and predict into the same layout.")  # fmt: skip
    return {name: found[name] for name in CHALLENGES if name in found}


def _dose_of(transform: str, text: str, root: str) -> float:
    where = f"{root}/{transform}/{text}"
    try:
        dose = float(text)
    except ValueError:
        raise UsageError("the folder's name is no dose", where=where, expected="a number such as 15") from None
    if dose == CHALLENGES[transform].identity:
        raise UsageError("a dose that changes nothing", where=where, do=f"Put these files into {IDENTITY}/.")
    return check_dose(transform, dose, where=where)


def check_predictions(
    folder: PredictedFolder, cases: Sequence[str], steps: Sequence[Step], *, allow: bool
) -> list[str]:
    """The files of the layout that are missing.

    Raises:
        FileReadError: there are some and `allow` is not given, or nothing is there at all.
    """
    missing = folder.missing(cases, steps)
    total = len(cases) * (len(steps) + 1)
    if len(missing) == total or (missing and not allow):
        raise FileReadError(f"{len(missing)} of {total} predictions are missing", where=folder.name,
                            got=f"no {listed(missing, 5)}",
                            do="Predict every exported input under its own name, or pass --allow-missing.")  # fmt: skip
    return missing


def check_labels(labels: IntArray, label_set: LabelSet, *, where: str) -> None:
    """Raises LabelError when the labels hold values that the data set does not know."""
    values = count_values(labels)[0]
    if unknown := [value for value in values if value not in label_set.values.values()]:
        raise LabelError("label values that the label list does not know", where=where,
                         got=listed([*map(str, unknown)]),
                         expected=", ".join(f"{name} {value}" for name, value in label_set.values.items()),
                         do="Return the data set's own values.")  # fmt: skip
