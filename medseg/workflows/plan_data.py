"""Of which data set a plan or a store is: known again by its cases, of which the file gives no id away."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping

from medseg.errors import ConfigError, MedsegError
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, read_image_grid
from medseg.workflows.plan_file import PlanFile
from medseg.workflows.telling import Say

DIGITS = 4  # 65,536 codes: enough to tell data sets apart, too few to find an id by trying all


def case_codes(dataset: Dataset, entries: Iterable[CaseEntry]) -> dict[str, str]:
    """Case id to a code of its id, size and spacing, from headers alone; a case that cannot be read has none."""
    codes = {}
    for entry in entries:
        try:
            grid = read_image_grid(dataset, entry).canonical()
        except MedsegError:
            continue  # told by whoever reads the case; the others say enough
        facts = [entry.id, [int(n) for n in grid.shape], [round(float(mm), 3) for mm in grid.spacing_mm]]
        codes[entry.id] = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:DIGITS]
    return codes


def shared(known: Collection[str], here: Collection[str]) -> int:
    """How many codes are in both."""
    return len(set(known) & set(here))


def is_other(known: Collection[str], here: Collection[str]) -> bool:
    """Whether these are the codes of different data sets: they share less than half of the smaller one, so that cases
    may be added or left out.

    >>> is_other(["1a", "2b"], ["1a", "2b", "3c", "4d", "5e"]), is_other(["1a", "2b"], ["3c", "4d"])
    (False, True)
    """
    return 2 * shared(known, here) < min(len(set(known)), len(set(here)))


def check_plan(
    plan: PlanFile, labels: LabelSet, codes: Mapping[str, str], *, other_data: bool, flag: str, say: Say
) -> None:  # fmt: skip
    """Refuses a plan of another data set, unless that is what is wanted.

    Args:
        codes: of the training cases here.
        other_data: it is.
        flag: how to say so.

    Raises:
        ConfigError: other labels, or how many cases are the same.
    """
    wished = f"Run `medseg plan` on this data set, or give {flag} to take the plan over all the same."
    if plan.labels != dict(labels.values) and not other_data:
        raise ConfigError("a plan of another data set", where="plan", expected="labels " + ", ".join(labels.names),
                          got=", ".join(plan.labels), do=wished)  # fmt: skip
    if plan.data is None:
        if not other_data:
            say("An older version wrote the plan, which does not say of which data set it is: make sure that it is of "
                "this one.")  # fmt: skip
        return
    known = plan.data.split()
    if not is_other(known, codes.values()):
        return
    told = f"{shared(known, codes.values())} of its {len(known)} cases are among the {len(codes)} here"
    if not other_data:
        raise ConfigError("a plan of another data set", where="plan", got=told, do=wished)
    say(f"The plan is of another data set ({told}): grid and HU window are as that one asked for.")
