"""What is asked of a prediction besides its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.errors import UsageError
from medseg.imaging.prediction import MAPS


@dataclass(frozen=True)
class Asked:
    """Nothing of it costs anything unless it is asked for.

    Args:
        probabilities: of all classes, (X, Y, Z, C).
        maps: of `entropy` and `disagreement`.
        uncertainty: sums of the probabilities, and what each member would label where there are several; both also come
            with what needs them anyway.

    Raises:
        UsageError: no such map.
    """

    probabilities: bool = False
    maps: Sequence[str] = ()
    uncertainty: bool = False

    def __post_init__(self) -> None:
        for name in self.maps:
            if name not in MAPS:
                raise UsageError("no such map", where="--maps", expected=" or ".join(MAPS), got=name)

    @property
    def sums(self) -> bool:
        """Whether the probabilities are summed."""
        return self.probabilities or self.uncertainty or bool(self.maps)

    @property
    def members(self) -> bool:
        """Whether members are heard one by one, where there are several."""
        return self.uncertainty or "disagreement" in self.maps

    def check_members(self, count: int) -> None:
        """Refuses to ask for the disagreement of less than two.

        Raises:
            UsageError: see above.
        """
        if "disagreement" in self.maps and count < 2:
            raise UsageError("one network alone cannot disagree", where="--maps", got="disagreement",
                             expected="several folds or runs, or a run that knows its raters, without --as-rater",
                             do="Add a run (--with), or ask for the entropy.")  # fmt: skip
