"""Validation of a training: Dice on whole cases of the fold that is held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

from medseg.data.store import StoredCase, majority_vote
from medseg.errors import TrainingError
from medseg.inference.network import device_of
from medseg.inference.sliding_window import predict_probabilities
from medseg.losses.regions import merge_labels
from medseg.preprocessing.standardise import normalise
from medseg.training.faults import is_out_of_memory, release_memory
from medseg.workflows.mirroring import swap_rule
from medseg.workflows.run import Run
from medseg.workflows.telling import Progress
from medseg.workflows.training_loss import judged_structures

Look = Callable[[str, Any, Any, Any], None]  # case, HU, reference, prediction: arrays (X, Y, Z)


def validation_dice(
    model: torch.nn.Module,
    cases: Sequence[StoredCase],
    run: Run,
    progress: Progress,
    look: Look = lambda *each: None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, dict[str, float]] | None:
    """Dice per case and structure against the readers' majority (with `raters: staple` STAPLE's estimate), on the
    plan's grid; empty without cases.

    The regions of the loss are structures too. A structure that neither the majority nor the model marked in a case is
    absent there, and so is one that nobody looked for. Voxels that nobody read are left out. `look` is shown every
    case. None: it was `stopped` half way.
    """
    found: dict[str, dict[str, float]] = {}
    for done, case in enumerate(cases, 1):
        if stopped():
            return None
        found[case.id] = _in_memory(case, model, run, look)
        progress("Validating", done, len(cases), "")
    return found


def _in_memory(case: StoredCase, model: torch.nn.Module, run: Run, look: Look) -> dict[str, float]:
    """The Dice of a case.

    Raises:
        TrainingError: the memory is not enough; says of what size the case is, and not which.
    """
    try:
        return _dice(case, model, run, look)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory()  # not in the handler, whose traceback holds the arrays
    shape, classes = case.hu.shape[1:], len(run.labels.names)
    other = "" if device_of(model).type == "cpu" else "with training.device=cpu, or "
    raise TrainingError(
        "out of memory while a whole case was validated",
        got=f"{' x '.join(map(str, shape))} voxels and {classes - 1} structures, whose probabilities alone take "
        f"{4 * classes * prod(shape) / 2**30:.3g} GiB",
        do=f"Everything is saved; go on with --resume {other}with more free memory, or start anew with a coarser "
        "plan.spacing_mm.",
    )


def _dice(case: StoredCase, model: torch.nn.Module, run: Run, look: Look) -> dict[str, float]:
    names, found = run.labels.names, {}
    reference = torch.from_numpy(majority_vote(case.labels[:].numpy(), len(names), case.known))
    image = normalise(case.hu[:].float(), run.plan)  # type: ignore[arg-type]
    if case.coarse is not None:
        image = torch.cat([image, case.coarse.to(image)])  # type: ignore[list-item]
    scores = predict_probabilities(model, image, run.plan.patch, run.recipe.inference, run.labels.mirror_indices,  # type: ignore[arg-type]
                                   swap=swap_rule(run.recipe))  # fmt: skip
    predicted = scores.argmax(0)
    predicted[reference < 0] = -1
    sought = case.known.any(0).tolist() if case.known is not None else [True] * len(names)
    for name, classes in judged_structures(run.recipe, run.labels).items():
        a, b = merge_labels(reference, classes), merge_labels(predicted, classes)
        if all(sought[index] for index in classes) and (total := int(a.sum() + b.sum())):
            found[name] = round(2 * int((a & b).sum()) / total, 5)
    look(case.id, case.hu[:][0].numpy(), reference.numpy(), predicted.cpu().numpy())
    return found
