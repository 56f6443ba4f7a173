"""Which transforms at which doses: what the user asked for, checked against the table of challenges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from medseg.config import nearest
from medseg.errors import UsageError
from medseg.evaluation.dose_response_challenges import CHALLENGES, Challenge

Doses: TypeAlias = Mapping[str, Sequence[float]]
IDENTITY = "identity"  # the folder of untransformed inputs in the layout for other tools


@dataclass(frozen=True)
class Step:
    """One transform at one dose."""

    transform: str
    dose: float

    @property
    def challenge(self) -> Challenge:
        return CHALLENGES[self.transform]

    @property
    def folder(self) -> str:
        """Where its files lie in the layout for other tools.

        >>> Step("scale", 0.5).folder, Step("scale", 1.0).folder
        ('scale/0.5', 'identity')
        """
        is_identity = self.dose == self.challenge.identity
        return IDENTITY if is_identity else f"{self.transform}/{dose_text(self.dose)}"


@dataclass(frozen=True)
class Plan:
    """What is tested.

    Args:
        doses: of each transform, rising, the identity among them.
        margin: largest drop of mean Dice that does not matter.
        seed: of noise, hidden cubes and the bootstrap.
    """

    doses: Mapping[str, tuple[float, ...]]
    margin: float = 0.05
    seed: int = 0

    @property
    def steps(self) -> list[Step]:
        """Everything but the identities, in the order of the table."""
        return [Step(name, dose) for name, doses in self.doses.items() for dose in doses
                if dose != CHALLENGES[name].identity]  # fmt: skip


def build_plan(
    transforms: Sequence[str] | str | None = None,
    doses: Doses | Sequence[str] | None = None,
    *,
    quick: bool = False,
    margin: float = 0.05,
    seed: int = 0,
) -> Plan:
    """The plan that the options describe.

    Args:
        transforms: names of the table, or one text with commas; all of them by default.
        doses: other doses for some of them, by name or as texts such as `rotation_z=0,15,30`.
        quick: the table's few doses, and only the transforms that have some unless `transforms` names others.

    Raises:
        UsageError: an unknown transform, a dose out of range, or no dose but the identity.
    """
    if not (math.isfinite(margin) and 0 < margin < 1):
        raise UsageError("wrong margin", where="--margin", expected="a drop of Dice between 0 and 1", got=str(margin))
    given = _given_doses(doses)
    named = _names(transforms)
    chosen = named or [name for name, challenge in CHALLENGES.items() if challenge.quick or not quick or name in given]
    if beside := [name for name in given if name not in chosen]:
        raise UsageError(f"doses for '{beside[0]}', which is not among the transforms", where="--doses",
                         expected=", ".join(chosen), do="Add it to --transforms.")  # fmt: skip
    kept: dict[str, tuple[float, ...]] = {}
    for name in chosen:
        challenge = CHALLENGES[name]
        own = given.get(name) or (challenge.quick if quick and challenge.quick else challenge.doses)
        kept[name] = tuple(sorted({challenge.identity, *map(float, own)}))
        if len(kept[name]) < 2:
            raise UsageError(f"no dose of '{name}' but the one that changes nothing", where="--doses",
                             got=dose_text(challenge.identity))  # fmt: skip
    return Plan(kept, margin, seed)


def dose_text(dose: float) -> str:
    """A dose as it stands in names of folders and in tables.

    >>> dose_text(15.0), dose_text(0.05), dose_text(-100)
    ('15', '0.05', '-100')
    """
    return f"{dose:.10g}"


def check_transform(name: str, *, where: str) -> Challenge:
    """The challenge of that name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    if name not in CHALLENGES:
        raise UsageError(f"unknown transform '{name[:64]}'{nearest(name, CHALLENGES)}", where=where,
                         expected="one of " + ", ".join(CHALLENGES))  # fmt: skip
    return CHALLENGES[name]


def check_dose(name: str, dose: float, *, where: str) -> float:
    """The dose.

    Raises:
        UsageError: it is outside the table's limits, or no whole number where only those make sense.
    """
    challenge = CHALLENGES[name]
    low, high = challenge.limits
    if not low <= dose <= high or (challenge.whole and dose != round(dose)):
        unit = f" {challenge.unit}" if challenge.unit else ""
        what = "a whole number from " if challenge.whole else ""
        raise UsageError(f"a dose of {name} is out of range", where=where, got=dose_text(dose),
                         expected=f"{what}{dose_text(low)} to {dose_text(high)}{unit}")  # fmt: skip
    return dose


def _names(transforms: Sequence[str] | str | None) -> list[str]:
    texts = [transforms] if isinstance(transforms, str) else list(transforms or ())
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        check_transform(name, where="--transforms")
    return [name for name in CHALLENGES if name in names]


def _given_doses(doses: Doses | Sequence[str] | None) -> dict[str, tuple[float, ...]]:
    if not isinstance(doses, Mapping):
        texts = [doses] if isinstance(doses, str) else list(doses or ())
        pairs = [_dose_list(text) for text in texts]
        names = [name for name, _ in pairs]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"'{twice[0]}' stands twice", where="--doses", do="Give all doses of it in one list.")
        doses = dict(pairs)
    for name, values in doses.items():
        check_transform(name, where="--doses")
        for dose in values:
            check_dose(name, float(dose), where="--doses")
    return {name: tuple(map(float, values)) for name, values in doses.items()}


def _dose_list(text: str) -> tuple[str, list[float]]:
    name, equals, values = text.partition("=")
    try:
        found = [float(value) for value in values.split(",") if value.strip()]
    except ValueError:
        found = []
    if not equals or not found or not all(map(math.isfinite, found)):
        raise UsageError("no list of doses", where="--doses", expected="such as rotation_z=0,15,30", got=text[:80])
    return name.strip(), found
