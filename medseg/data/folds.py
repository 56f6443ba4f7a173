"""Who trains and who validates: drawn once per data set, by patient or by group, and written down."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field

from medseg.config import Config
from medseg.errors import ConfigError, FileReadError, InputError
from medseg.files import write_text

SCHEMA, FILE = "medseg.folds/1", "folds.json"
NAMED = 5  # cases that a message names
AGAIN = "Start a new run; drawing folds anew would mix training and validation."
OWN = "Give our folds.json, or nnU-Net's splits_final.json."
Folds = list[list[str]]


class FoldsConfig(Config):
    """Who validates: one of `count` folds; everybody else trains.

    Args:
        count: how many folds are drawn; a `file` decides itself.
        fold: the one held out for validation; `all` trains on every case.
        by: who must not be torn apart: the cases of a `patient`, or all of a `group` of the data set, such as a site.
        file: folds of your own, a JSON file: ours, or nnU-Net's splits_final.json.
    """

    count: int = Field(default=5, ge=2)
    fold: int | Literal["all"] = 0
    by: Literal["patient", "group"] = "patient"
    file: str | None = None


class FoldCase(Protocol):
    """What folds need to know of a case."""

    @property
    def id(self) -> str: ...

    @property
    def patient(self) -> str: ...

    @property
    def group(self) -> str | None: ...


class SplitCase(FoldCase, Protocol):
    """A case that may be one of the test set."""

    @property
    def split(self) -> str | None: ...


def fold_units(cases: Iterable[FoldCase], by: Literal["patient", "group"] = "patient") -> dict[str, str]:
    """Case id to the name of what must stay together: its patient, or its group.

    By group, groups that share a patient are one: nobody is in two folds.

    Raises:
        ConfigError: by group, and a case has none.
    """
    found = list(cases)
    if by == "patient":
        return {case.id: case.patient for case in found}
    if without := [case.id for case in found if not case.group]:
        raise ConfigError("folds by group need a group for every case", where="folds.by",
                          got=f"none for {_few(without)}",
                          do="Give these cases a `group:` in dataset.yaml, or set folds.by=patient.")  # fmt: skip
    return _joined({case.id: (f"group {case.group}", f"patient {case.patient}") for case in found})


def _joined(ties: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Case to the least name among all names that a chain of cases ties it to."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    for one, other in ties.values():
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {case: root(one) for case, (one, _) in ties.items()}


def draw_folds(units: Mapping[str, str], count: int, seed: int) -> Folds:
    """Case ids per fold; cases of one unit stay together, fold sizes differ as little as that allows.

    Args:
        units: case id to what must stay together: its patient, or what `fold_units` says.

    Raises:
        ConfigError: there are fewer of them than folds.

    Example:
        >>> draw_folds({"a": "p", "b": "p", "c": "q"}, 2, seed=0)
        [['a', 'b'], ['c']]
    """
    members: dict[str, list[str]] = {}
    for case, unit in sorted(units.items()):
        members.setdefault(unit, []).append(case)
    if len(members) < count:
        raise ConfigError(
            "fewer training patients (or groups) than folds",
            where="folds.count",
            expected=f"at most {len(members)}",
            got=str(count),
            do="Lower folds.count, or set folds.fold=all." if len(members) > 1 else "Set folds.fold=all.",
        )
    shuffled = np.random.default_rng(seed).permutation(sorted(members))
    folds: Folds = [[] for _ in range(count)]
    for unit in sorted(shuffled, key=lambda each: -len(members[each])):  # stable: large first, else as shuffled
        min(folds, key=len).extend(members[unit])
    return [sorted(fold) for fold in folds]


def check_folds(folds: Sequence[Sequence[str]], units: Mapping[str, str], *, where: str = FILE) -> None:
    """Refuses folds that are no partition of the cases, or that tear a patient or group apart.

    Raises:
        InputError: a case is missing, unknown or there twice; or a unit is in two folds: it is named by its hash.
    """
    home: dict[str, int] = {}
    for number, fold in enumerate(folds):
        if not fold:
            raise InputError("a fold is empty", where=where, got=f"no case in fold {number}", do="Leave the fold out.")
        for case in fold:
            if case in home:
                raise InputError("a case is there twice", where=where, got=f"{case} in fold {home[case]} and {number}",
                                 do="Name every case once.")  # fmt: skip
            home[case] = number
    check_same_cases(home, units, where=where)
    places: dict[str, dict[int, str]] = {}
    for case, number in home.items():
        places.setdefault(units[case], {}).setdefault(number, case)
    for unit, seen in places.items():
        if len(seen) > 1:
            cases = " and ".join(f"{case} in fold {number}" for number, case in sorted(seen.items()))
            raise InputError("a patient or group is in several folds, so validation would be on what was learned",
                             where=where, got=f"hash {unit_hash(unit, units)}: {cases}",
                             do="Put all its cases into one fold.")  # fmt: skip


def check_same_cases(folded: Iterable[str], units: Mapping[str, str], *, where: str = FILE) -> None:
    """Refuses folds of other cases than those of the data set.

    Raises:
        InputError: names cases that were lost or that are new.
    """
    there = set(folded)
    lost, new = sorted(there - set(units)), sorted(set(units) - there)
    told = [f"{words} {_few(cases)}" for words, cases in (("without", lost), ("and besides", new)) if cases]
    if told:
        raise InputError(
            "the data set has other training cases than the folds", where=where, expected=f"{len(there)} cases",
            got=f"{len(units)}, {', '.join(told)}",
            do="Bring back the same cases (`split: later` keeps new ones out), or draw folds anew with another --out.",
        )  # fmt: skip


def check_test_set(cases: Iterable[SplitCase], learned: Iterable[str], *, where: str = "dataset.yaml") -> None:
    """Refuses patients of the split `test` of whom other cases are learned from: the test set would be no test.

    Args:
        cases: all of the data set.
        learned: ids of those that may be learned from.

    Raises:
        InputError: names the cases, and the patient by the hash that folds use.
    """
    found, known = list(cases), set(learned)
    patients = {case.id: case.patient for case in found}
    seen = {patients[case_id]: case_id for case_id in sorted(known, reverse=True)}
    for case in found:
        if case.split == "test" and case.id not in known and case.patient in seen:
            raise InputError("a patient is both in the test set and among the cases to learn from", where=where,
                             got=f"hash {unit_hash(case.patient, patients)}: {case.id} in the split test, "
                                 f"{seen[case.patient]} to learn from",
                             do="Give all cases of one patient the same `split:`.")  # fmt: skip


def unit_hash(unit: str, units: Mapping[str, str]) -> str:
    """A patient or group as 8 hex digits, the same every time for one data set.

    The key is the whole list of cases and patients: without the data set, trying all numbers that a patient may have
    does not give them away.
    """
    key = json.dumps(sorted(units.items())).encode()
    return hmac.new(key, unit.encode(), hashlib.sha256).hexdigest()[:8]


def write_folds(path: Path, folds: Sequence[Sequence[str]], **facts: Any) -> None:
    """Writes folds, and what else is settled with them."""
    write_text(path, json.dumps({"schema": SCHEMA, "folds": folds, **facts}, indent=1) + "\n")


def read_folds(path: Path) -> Folds:
    """The folds that `write_folds` wrote.

    Raises:
        FileReadError: the file is missing or damaged.
    """
    found = _read(path, AGAIN)
    return _folds(path, found.get("folds") if isinstance(found, dict) else None, AGAIN)


def read_settled(path: Path) -> dict[str, Any]:
    """What `write_folds` wrote beside the folds.

    Raises:
        FileReadError: the file is missing or damaged.
    """
    found = _read(path, AGAIN)
    return {name: value for name, value in found.items() if name not in ("schema", "folds")}


def read_own_folds(path: str | Path) -> Folds:
    """The folds of a user's file: ours, a plain list of lists, or nnU-Net's list of `train` and `val`.

    Raises:
        FileReadError: it is missing, or none of these.
        InputError: nnU-Net's splits whose `train` are not all cases that its `val` leaves.
    """
    path = Path(path)
    found = _read(path, OWN)
    if isinstance(found, list) and found and all(isinstance(each, dict) for each in found):
        return _from_splits(path, found)
    return _folds(path, found.get("folds") if isinstance(found, dict) else found, OWN)


def _from_splits(path: Path, splits: list[dict[str, Any]]) -> Folds:
    """nnU-Net's splits as folds."""
    folds = _folds(path, [split.get("val") for split in splits], OWN)
    everybody = {case for fold in folds for case in fold}
    for number, learned in enumerate(_folds(path, [split.get("train") for split in splits], OWN)):
        wanted = everybody - set(folds[number])
        if odd := sorted(set(learned) ^ wanted):
            raise InputError("the splits are no folds: train must be everybody whom val leaves", where=path.name,
                             expected="every case in the `val` of one split",
                             got=f"split {number} differs by {_few(odd)}",
                             do='Write {"folds": [[held out], [others]]} and set folds.fold=0.')  # fmt: skip
    return folds


def _folds(path: Path, found: Any, do: str) -> Folds:
    """Lists of case ids, checked."""
    good = isinstance(found, list) and len(found) > 0
    if not good or not all(isinstance(fold, list) and all(isinstance(case, str) for case in fold) for fold in found):
        raise FileReadError("the folds cannot be read", where=path.name, expected='{"folds": [["c001", ...], ...]}',
                            do=do)  # fmt: skip
    return [list(fold) for fold in found]


def _read(path: Path, do: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileReadError(
            "the folds cannot be read",
            where=path.name,
            got="no such file" if isinstance(error, FileNotFoundError) else type(error).__name__,
            do=do,
        ) from error


def split_fold(folds: Sequence[Sequence[str]], fold: int | str) -> tuple[list[str], list[str]]:
    """Case ids to train on and to validate on (none for `all`)."""
    if fold == "all":
        return sorted(case for each in folds for case in each), []
    if not 0 <= int(fold) < len(folds):
        raise ConfigError("no such fold", where="folds.fold", expected=f"0 to {len(folds) - 1} or all", got=str(fold))
    return sorted(case for i, each in enumerate(folds) if i != fold for case in each), list(folds[int(fold)])


def run_folders(run: Path) -> list[Path]:
    """The run itself, or of a run of folds each `fold_<k>` that has begun, by number; empty where there is neither."""
    if (run / "run.json").is_file():
        return [run]
    found = [path.parent for path in run.glob("fold_*/run.json") if path.parent.name[5:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _few(cases: Sequence[str]) -> str:
    return ", ".join(cases[:NAMED]) + (f" and {len(cases) - NAMED} more" if len(cases) > NAMED else "")
