"""`medseg invariance --export-inputs`: the changed inputs as files, for models that medseg cannot call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.files import replaced_folder, write_text
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import Dataset
from medseg.io.nifti import write_volume
from medseg.workflows.dose_response import choose_cases
from medseg.workflows.invariance_case import ChallengedCase
from medseg.workflows.invariance_settings import IDENTITY, Doses, Plan, Step, build_plan
from medseg.workflows.outputs import plain
from medseg.workflows.readings import open_dataset
from medseg.workflows.telling import Progress

SCHEMA = "medseg.invariance_inputs/1"
INDEX = "invariance_inputs.json"


def export_inputs(
    dataset: Dataset | str | Path,
    *,
    out: str | Path,
    transforms: Sequence[str] | str | None = None,
    doses: Doses | Sequence[str] | None = None,
    quick: bool = False,
    cases: int | None = None,
    split: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
) -> Path:
    """Writes `<transform>/<dose>/<case>.nii.gz` and `identity/<case>.nii.gz` in HU; returns the folder.

    `invariance_inputs.json` says what was done: transforms, doses, seed, and for each file its grid and where the
    case's own voxels went. It holds nothing of a patient. Predictions go under the same names into another folder,
    which `invariance(None, dataset, predictions=...)` reads.

    Args:
        dataset, transforms, doses, quick, cases, split, seed, progress: as in `invariance`.

    Raises:
        OutputExistsError: the folder holds something; UsageError, InputError: as `invariance`.
    """
    source = open_dataset(dataset)
    chosen = choose_cases(source, split, cases)
    plan = build_plan(transforms, doses, quick=quick, seed=seed)
    steps: list[Step | None] = [None, *plan.steps]
    files: dict[str, Any] = {}
    with replaced_folder(out, kind="invariance inputs", overwrite=overwrite) as folder:
        for place, entry in enumerate(chosen):
            case = ChallengedCase(source, entry, LabelSet({"background": 0}))
            for number, step in enumerate(steps, 1):
                name = f"{IDENTITY if step is None else step.folder}/{case.id}.nii.gz"
                write_volume(folder / name, case.seen(step, seed))
                files[name] = case.way(step).described()
                progress("Writing inputs", place * len(steps) + number, len(chosen) * len(steps), name)
        write_text(folder / INDEX, json.dumps(plain(_index(plan, files)), indent=1) + "\n")
    return Path(out)


def _index(plan: Plan, files: dict[str, Any]) -> dict[str, Any]:
    transforms = {
        name: {"doses": doses, "identity": CHALLENGES[name].identity, "unit": CHALLENGES[name].unit,
               "meaning": CHALLENGES[name].meaning}
        for name, doses in plan.doses.items()
    }  # fmt: skip
    return {"schema": SCHEMA, "medseg": metadata.version("medseg"), "seed": plan.seed, "transforms": transforms,
            "files": files}  # fmt: skip
