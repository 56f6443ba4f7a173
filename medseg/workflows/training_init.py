"""Trained weights to begin with: of another run, of a .safetensors file, or of nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from medseg.config import Config
from medseg.data.folds import read_folds, run_folders, split_fold
from medseg.errors import CheckpointError, FileReadError, UsageError
from medseg.imaging.labels import LabelSet
from medseg.models.contentless import contentless
from medseg.models.nnunet_files import as_override, differences, read_nnunet
from medseg.training.checkpoint import Checkpoint, digest, read_checkpoint
from medseg.training.initial_weights import TakenOver, class_tensors, take_over
from medseg.workflows.recipe import Recipe
from medseg.workflows.run import Run, open_run

NNUNET = "nnunet:"
NAMED = 8  # layers that a sentence names


@dataclass(frozen=True)
class Weights:
    """Weights to begin with.

    Args:
        kind: `run`, `safetensors` or `nnunet`.
        name: how a sentence calls them; no path.
        tensors: by name.
        classes: that their head is for; None where nobody says.
        remarks: sentences on where they come from.
        odds: a sentence on what differs between their network and the recipe's.
    """

    kind: str
    name: str
    tensors: dict[str, Tensor]
    classes: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    odds: str = ""

    @property
    def sha256(self) -> str:
        return digest(self.tensors)


@dataclass(frozen=True)
class Beginning:
    """What was taken over, for `run.json`, and in sentences."""

    facts: dict[str, Any]
    sentences: tuple[str, ...]


def begin_with(run: Run, model: nn.Module, validated: Sequence[str]) -> Beginning | None:
    """Puts the weights that the recipe's `init` names into a model with random ones; None without `init`.

    Args:
        model: of the run; changed in place. Layers that do not fit stay random, and so does the head where the classes
            are others.
        validated: ids of the cases held out.

    Raises:
        CheckpointError: they cannot be read, hold more than tensors, or no layer fits.
        FileReadError: there are none.
    """
    if run.recipe.init is None:
        return None
    weights = read_weights(run.recipe.init, run.recipe, validated)
    head = class_tensors(lambda count: _contentless(with_classes(run, count)), len(run.labels.names))
    same = weights.classes is not None and weights.classes == run.labels.names
    other = weights.classes is not None and not same
    taken = take_over(model, weights.tensors, head if other else ())
    if not taken.taken:
        raise CheckpointError(
            "no layer of the initial weights fits this network",
            where="init",
            expected=f"layers of {run.recipe.model.name}, such as {_few(taken.missing[:2] or taken.other_shape[:2])}",
            got=weights.odds.removeprefix("init: ").rstrip(".") or _few((taken.unused or taken.other_shape)[:2]),
            do="Give the recipe the network that the weights are of, or leave init out.",
        )
    facts = {"kind": weights.kind, "sha256": weights.sha256, "taken": len(taken.taken), "random": list(taken.random)}
    odds = [weights.odds] if weights.odds else []
    return Beginning(facts, (*weights.remarks, *odds, *_told(weights, taken)))


def check_init(run: Run) -> None:
    """Refuses initial weights that cannot be read or of which no layer fits, before a run folder is written.

    Raises:
        as `begin_with`.
    """
    if run.recipe.init is not None:
        begin_with(run, _contentless(run), ())


def _contentless(run: Run) -> nn.Module:
    with contentless():
        return run.build_model()


def with_classes(run: Run, count: int) -> Run:
    """The run for another number of classes, to see which tensors depend on it."""
    names = (*run.labels.names, "one more")[:count]
    return replace(run, labels=LabelSet({name: value for value, name in enumerate(names)}))


def read_weights(source: str, recipe: Recipe, validated: Sequence[str] = ()) -> Weights:
    """The weights that `init` names.

    Raises:
        UsageError: a .pth file itself; see `begin_with` for the rest.
    """
    if source.startswith(NNUNET):
        return _of_nnunet(Path(source.removeprefix(NNUNET)), recipe)
    path = Path(source)
    if path.suffix == ".safetensors":
        return _of_file(path)
    if path.suffix in (".pth", ".pt", ".ckpt", ".bin"):
        raise UsageError("a file that may hold more than tensors", where=f"init {path.name}",
                         expected="a RUN, a .safetensors file or nnunet:DIR",
                         do="Save its tensors as .safetensors; of nnU-Net give the folder.")  # fmt: skip
    return _of_run(path, recipe, validated)


def _of_run(folder: Path, recipe: Recipe, validated: Sequence[str]) -> Weights:
    """Those of a run's best checkpoint (its last where it has no best yet); of several folds the recipe's own."""
    found = {path.name: path for path in run_folders(folder)}
    if not found:
        raise FileReadError("not a run folder", where=f"init {folder.name}",
                            expected="a folder that `medseg train` wrote, a .safetensors file, or nnunet:DIR",
                            do="Check the path.")  # fmt: skip
    if folder.name not in found:
        own = f"fold_{recipe.folds.fold}"
        if own not in found:
            raise UsageError("a run of several folds", where=f"init {folder.name}", expected="one of them",
                             got=", ".join(found), do=f"Give {folder.name}/{next(iter(found))}.")  # fmt: skip
        folder = found[own]
    run = open_run(folder)
    which = "best" if run.checkpoint_file("best").exists() else "last"
    checkpoint = run.load(which)
    learned, _ = split_fold(read_folds(run.folds_file), run.recipe.folds.fold)
    known = sorted(set(learned) & set(validated))
    remark = (
        f"init: {len(known)} validation cases have ids of cases that the weights have seen ({_few(known)}); "
        "if they are the same patients, the validation Dice is too high."
    )
    return Weights("run", f"{which} weights of the run {folder.name}", _averaged(checkpoint), run.labels.names,
                   (remark,) if known else (), _odds(run.recipe.model, recipe.model))  # fmt: skip


def _odds(theirs: Config, ours: Config) -> str:
    """What differs between the network of another run and the recipe's; empty where nothing does."""
    before, now = theirs.model_dump(), ours.model_dump()
    if before["name"] != now["name"]:
        return f"init: the weights are of another network: {before['name']} against {now['name']}."
    told = [f"{key} {value} against {now[key]}" for key, value in before.items() if value != now.get(key)]
    return f"init: the network of the weights differs: {'; '.join(told)}." if told else ""


def _averaged(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The moving average of the weights where the checkpoint has one."""
    return checkpoint.part("ema") or checkpoint.part("model")


def _of_file(path: Path) -> Weights:
    """Those of a medseg checkpoint, or of any file of named tensors."""
    if not path.is_file():
        raise FileReadError("no such file", where=f"init {path.name}", do="Check the path.")
    try:
        with safe_open(path, framework="pt") as stream:
            ours = "medseg" in (stream.metadata() or {})
            names = [] if ours else list(stream.keys())
            tensors = {name: stream.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError("the file is no safetensors file, or damaged", where=f"init {path.name}",
                              got=str(error).split("\n")[0][:80]) from None  # fmt: skip
    if not ours:
        return Weights("safetensors", path.name, tensors)
    checkpoint = read_checkpoint(path)
    labels = checkpoint.facts.get("labels")
    return Weights("safetensors", path.name, _averaged(checkpoint), tuple(map(str, labels)) if labels else None)


def _of_nnunet(folder: Path, recipe: Recipe) -> Weights:
    """Those of a network that nnU-Net trained, and what differs from the recipe's."""
    found = read_nnunet(folder, recipe.folds.fold)
    told = ""
    if found.model is not None and (odd := differences(found.model, recipe.model)):
        told = (
            f"init: nnU-Net's network and the recipe's differ: {'; '.join(odd)}. "
            f"nnU-Net's is '{as_override(found.model)}'."
        )
    name = f"nnU-Net's {found.file.parent.name}/{found.file.name}"
    return Weights("nnunet", name, found.tensors, found.classes or (), odds=told)


def _told(weights: Weights, taken: TakenOver) -> list[str]:
    """What was taken over and what not."""
    every = len(taken.taken) + len(taken.random)
    told = [f"init: {len(taken.taken)} of {every} layers from {weights.name}."]
    reasons = {"replaced": "for other classes", "other_shape": "of another shape", "missing": "not among the weights"}
    random = [f"{_few(layers)} ({why})" for name, why in reasons.items() if (layers := asdict(taken)[name])]
    if random:
        told.append(f"init: random as without it: {'; '.join(random)}.")
    if weights.classes is None and not taken.random:
        told.append("init: the head was taken over too; the file does not say for which classes it is.")
    if taken.unused:
        told.append(f"init: not used: {_few(taken.unused)}.")
    return told


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
