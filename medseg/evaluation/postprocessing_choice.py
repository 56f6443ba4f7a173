"""Which postprocessing helps, decided on held-out cases so that noise does not choose.

For one structure after the other three questions are asked: whether its pieces must touch an organ, which pieces are
large enough, whether its cavities are to be filled. Each has a few candidate answers beside "no step". An answer is
taken if its mean gain in Dice over patients is at least twice the standard error of that gain, or if three patients or
more gain and none loses; and if the same procedure, repeated without each patient in turn, has gained on the patients
that were left out. So neither one patient nor the luckiest of many useless candidates chooses a step: of eight
independent candidates that change Dice at random, one is taken in 6 to 23 of 100 simulations. Cases whose reference
lacks the structure have no Dice and cannot gain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.held_out import UNKNOWN, HeldOutCase, Structures, mean_dice, score
from medseg.imaging.pieces import Pieces, find_cavities, find_pieces
from medseg.imaging.postprocess import DropApart, DropSmall, FillCavities, KeepLargest, Step
from medseg.shapes import BoolArray, FloatArray, IntArray

LEAST_PATIENTS = 5  # with the structure: of fewer, nothing is learned by leaving one out
LEAST_GAIN = 1e-4  # Dice that is worth a step
LEAST_WINNERS = 3  # patients who must gain where none loses
STANDARD_ERRORS = 2.0
MOST_KEPT = 2  # pieces of a structure: pairs such as lungs under one name
VOLUMES_ML = tuple(first * 10.0**power for power in range(-3, 3) for first in (1, 2, 5))
SMALLEST_SHARE = 0.5  # of the smallest structure that any reference has: a limit may never come near a real one
ENCLOSED_SHARE = 0.9  # of a structure's volume, in all references together, that one organ surrounds


@dataclass(frozen=True)
class ChosenStep:
    """A step and what it gained.

    Args:
        structure: whose Dice this is.
        dice_before, dice_after: mean over the cases whose reference has the structure.
        cases: how many these are.
        left_out_gain: mean gain over patients who were not asked, each by the procedure without them.
    """

    step: Step
    structure: str
    dice_before: float
    dice_after: float
    cases: int
    left_out_gain: float


@dataclass(frozen=True, eq=False)
class Question:
    """One structure of which steps are asked for.

    Args:
        name: of a class, or of a region of several.
        members: names of its classes.
        organs: names of structures that surround it.
    """

    name: str
    members: tuple[str, ...]
    organs: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Table:
    """The pieces of a structure in one case.

    Args:
        patient: of the case.
        voxels, common: (P) of each piece, those that somebody read, and those of them in the reference.
        volumes: (P) all voxels of each piece.
        touching: (organs, P) whether a piece touches the organ.
        reference: voxels of the reference.
    """

    patient: str
    voxels: IntArray
    common: IntArray
    volumes: IntArray
    touching: BoolArray
    reference: int
    voxel_ml: float

    def dice(self, kept: BoolArray) -> float:
        """Dice if these pieces (P) stay."""
        return 2 * float(self.common[kept].sum()) / (self.reference + float(self.voxels[kept].sum()))

    @property
    def all(self) -> BoolArray:
        return np.ones(len(self.voxels), np.bool_)


def choose_steps(
    cases: Sequence[HeldOutCase],
    names: Sequence[str],
    structures: Structures,
    on_structure: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[ChosenStep], list[HeldOutCase]]:
    """The steps that help, in the order in which they are to be applied, and the cases after them.

    Args:
        names: of the classes, the background first.
        structures: classes and regions by name, as they are judged.
    """
    chosen: list[ChosenStep] = []
    now = list(cases)
    questions = list_questions(cases, names, structures)
    for done, question in enumerate(questions, 1):
        for ask in (_ask_pieces, _ask_cavities):
            for step, gain in ask(now, names, question):
                after = [case.apply(step, names) for case in now]
                if (taken := _taken(now, after, question.name, structures, step, gain)) is not None:
                    chosen.append(taken)
                    now = after
        on_structure(done, len(questions))
    return chosen, now


def _taken(
    before: Sequence[HeldOutCase], after: Sequence[HeldOutCase], name: str, structures: Structures, step: Step,
    gain: float,
) -> ChosenStep | None:  # fmt: skip
    """The step, if on the voxels too its structure gains and the mean of all structures does not lose."""
    one = {name: structures[name]}
    old, new = score(before, one)[name], score(after, one)[name]
    if new.dice - old.dice < LEAST_GAIN or mean_dice(after, structures) < mean_dice(before, structures):
        return None
    return ChosenStep(step, name, old.dice, new.dice, old.cases, gain)


def list_questions(cases: Sequence[HeldOutCase], names: Sequence[str], structures: Structures) -> list[Question]:
    """Regions of several classes first, then classes, those that lie inside an organ after all others."""
    regions = [Question(name, tuple(names[index] for index in classes))
               for name, classes in structures.items() if len(classes) > 1]  # fmt: skip
    found = surrounding_organs(cases, names)
    for region in regions:  # core in tumour: said by the regions of the loss
        for other in regions + [Question(name, (name,)) for name in names[1:]]:
            if set(other.members) < set(region.members) and len(other.members) == 1:
                rest = [name for name in region.members if name not in other.members]
                found[other.name] = tuple(dict.fromkeys((*found.get(other.name, ()), *rest)))
    classes = [Question(name, (name,), found.get(name, ())) for name in names[1:]]
    return [*regions, *sorted(classes, key=lambda question: bool(question.organs))]


def surrounding_organs(cases: Sequence[HeldOutCase], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By class the one that surrounds at least 90 % of its volume in the references; classes without one are absent."""
    inside = np.zeros((len(names), len(names)))
    for case in cases:
        reference = case.reference.unpack()
        for index in range(1, len(names)):
            if (pieces := find_pieces(reference, [index])) is not None:
                around = pieces.surrounding(np.ones(pieces.count, np.bool_), 0)
                np.add.at(inside[index], np.maximum(around, 0), pieces.voxels * case.voxel_ml)
    found = {}
    for index, volumes in enumerate(inside):
        organ = int(volumes.argmax())
        if organ and volumes[organ] >= ENCLOSED_SHARE * volumes.sum():
            found[names[index]] = (names[organ],)
    return found


def _ask_pieces(cases: Sequence[HeldOutCase], names: Sequence[str], question: Question) -> Iterator[tuple[Step, float]]:
    """Whether pieces must touch an organ, then how large they must be."""
    members = [names.index(name) for name in question.members]
    organs = [names.index(name) for name in question.organs]
    tables = [_tabulate(case, members, organs) for case in cases
              if case.looked_for(members) and case.sizes(members)[0]]  # fmt: skip
    kept = [table.all for table in tables]
    touching: list[Step] = [DropApart(question.members, (organ,)) for organ in question.organs]
    largest: list[Step] = [KeepLargest(question.members, count) for count in range(1, MOST_KEPT + 1)]
    limits: list[Step] = [DropSmall(question.members, volume) for volume in _limits_ml(cases, members)]
    sizes = limits + largest if question.organs else largest + limits  # of equal gains the first: lesions may be many
    for steps in (touching, sizes):
        options = [[_kept_by(step, table, mask, question.organs) for table, mask in zip(tables, kept, strict=True)]
                   for step in steps]  # fmt: skip
        gains = [[table.dice(after) - table.dice(mask) for table, mask, after in zip(tables, kept, option, strict=True)]
                 for option in options]  # fmt: skip
        if (found := choose(gains, [table.patient for table in tables])) is not None:
            index, gain = found
            kept = options[index]
            yield steps[index], gain


def _kept_by(step: Step, table: _Table, kept: BoolArray, organs: Sequence[str]) -> BoolArray:
    """Which of the pieces (P) that are left a step keeps."""
    if isinstance(step, DropApart):
        return kept & table.touching[organs.index(step.touching[0])]
    if isinstance(step, DropSmall):
        return kept & (table.volumes * table.voxel_ml >= step.below_ml)
    assert isinstance(step, KeepLargest)
    order = np.argsort(-np.where(kept, table.volumes, 0), kind="stable")
    largest = np.zeros_like(kept)
    largest[order[: step.pieces]] = True
    return kept & largest


def _tabulate(case: HeldOutCase, members: Sequence[int], organs: Sequence[int]) -> _Table:
    reference = case.reference.unpack()
    size, _, _ = case.sizes(members)
    pieces = find_pieces(case.labels.unpack(), members)
    if pieces is None:
        none = np.zeros(0, np.int64)
        return _Table(case.patient, none, none, none, np.zeros((len(organs), 0), np.bool_), size, case.voxel_ml)
    touching = np.array([pieces.touching([organ]) for organ in organs], np.bool_).reshape(len(organs), pieces.count)
    known = pieces.voxels - pieces.common(reference, [UNKNOWN])
    return _Table(case.patient, known, pieces.common(reference, members), pieces.voxels, touching, size, case.voxel_ml)


def _limits_ml(cases: Sequence[HeldOutCase], members: Sequence[int]) -> list[float]:
    """Volumes below which pieces may go, up to half of the smallest structure that a reference has."""
    sizes = [case.sizes(members)[0] * case.voxel_ml for case in cases]
    smallest = min((size for size in sizes if size), default=0.0)
    least = min((case.voxel_ml for case in cases), default=0.0)
    return [round(volume, 6) for volume in VOLUMES_ML if least < volume <= SMALLEST_SHARE * smallest]


def _ask_cavities(
    cases: Sequence[HeldOutCase], names: Sequence[str], question: Question
) -> Iterator[tuple[Step, float]]:
    """Whether the cavities of a class are filled; a region has no label to fill them with."""
    if len(question.members) > 1:
        return
    index = names.index(question.name)
    gains, patients = [], []
    for case in cases:
        reference, predicted, both = case.sizes([index])
        if case.looked_for([index]) and reference:
            more, right = _cavity_sizes(case, index)
            gains.append(2 * (both + right) / (reference + predicted + more) - 2 * both / (reference + predicted))
            patients.append(case.patient)
    if (found := choose([gains], patients)) is not None:
        yield FillCavities((question.name,)), found[1]


def _cavity_sizes(case: HeldOutCase, index: int) -> tuple[int, int]:
    """Background voxels in the cavities of a class that somebody read, and those of them in the reference."""
    labels = case.labels.unpack()
    if (rest := find_cavities(labels, [index])) is None or (closed := ~rest.is_open).sum() == 0:
        return 0, 0
    filled, reference = _filled(rest, closed, labels, index), case.reference.unpack()
    return int((reference[filled] != UNKNOWN).sum()), int((reference[filled] == index).sum())


def _filled(rest: Pieces, closed: BoolArray, labels: IntArray, index: int) -> BoolArray:
    """(X, Y, Z) what filling adds; the labels are changed."""
    before = labels == index
    rest.fill(closed, index, 0)
    return (labels == index) & ~before


def choose(gains: Sequence[Sequence[float]], patients: Sequence[str]) -> tuple[int, float] | None:
    """The candidate that helps and the gain on patients left out; None where no candidate can be told from noise.

    Args:
        gains: of each candidate the gain in Dice of every case.
        patients: of every case.

    >>> choose([[0.1, 0.1, 0.0, 0.0, 0.0, 0.0]], "abcdef") is None  # two patients alone decide nothing
    True
    >>> choose([[0.1, 0.1, 0.1, 0.0, 0.0, 0.0]], "abcdef")
    (0, 0.05)
    """
    persons = sorted(set(patients))
    if len(persons) < LEAST_PATIENTS or not len(gains):
        return None
    table = np.array(gains, np.float64)
    means = np.stack([table[:, [each == person for each in patients]].mean(axis=1) for person in persons], axis=1)
    if (best := _best(means, LEAST_WINNERS)) is None:
        return None
    left_out = 0.0
    for index in range(len(persons)):
        if (found := _best(np.delete(means, index, axis=1), LEAST_WINNERS - 1)) is not None:
            left_out += float(means[found, index]) / len(persons)
    return (best, round(left_out, 4)) if left_out >= LEAST_GAIN else None


def _best(means: FloatArray, winners: int) -> int | None:
    """The candidate (of C, P patients) of the largest mean gain among those that cannot be noise."""
    gain = means.mean(axis=1)
    error = means.std(axis=1, ddof=1) / np.sqrt(means.shape[1])
    harmless = (means.min(axis=1) > -LEAST_GAIN) & ((means >= LEAST_GAIN).sum(axis=1) >= winners)
    good = (gain >= LEAST_GAIN) & (harmless | (gain >= STANDARD_ERRORS * error))
    return int(np.where(good, gain, -np.inf).argmax()) if good.any() else None
