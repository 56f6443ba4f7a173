"""One comparison of augmentations: what, how far apart, and how far is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        name: of the transform or the statistic.
        peer: whom we are compared with.
        ours, theirs: a number of each side, where one stands for it.
        difference: of both in `unit`; the largest of all voxels where voxels are compared.
        interval: of the difference, 95 %; None where nothing is drawn at random.
        tolerance: the largest difference that counts as equal; with an interval, the difference counts as equal when
            the interval holds 0 or lies within the tolerance.
    """

    name: str
    peer: str
    difference: float
    tolerance: float
    unit: str
    ours: float | None = None
    theirs: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def equal(self) -> bool:
        if self.interval is None:
            return abs(self.difference) <= self.tolerance
        low, high = self.interval
        return low <= 0 <= high or max(abs(low), abs(high)) <= self.tolerance

    def as_json(self) -> dict[str, Any]:
        facts = {"name": self.name, "peer": self.peer, "ours": self.ours, "theirs": self.theirs,
                 "difference": self.difference, "interval": self.interval, "tolerance": self.tolerance,
                 "unit": self.unit, "equal": self.equal}  # fmt: skip
        return {key: value for key, value in facts.items() if value is not None}

    def as_markdown(self) -> str:
        def shown(value: float | None) -> str:
            return "" if value is None else f"{value:.3g}"

        interval = "" if self.interval is None else f" ({shown(self.interval[0])} to {shown(self.interval[1])})"
        cells = (self.name, self.peer, shown(self.ours), shown(self.theirs), shown(self.difference) + interval,
                 shown(self.tolerance), self.unit, "equal" if self.equal else "DIFFERS")  # fmt: skip
        return f"| {' | '.join(cells)} |"


HEADER = (
    "| what | peer | ours | peer's | difference (95 %) | allowed | unit | verdict |\n|---|---|---|---|---|---|---|---|"
)
