"""What a comparison is asked: from the arguments, and where those are silent from a registered plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medseg.errors import UsageError
from medseg.evaluation.agreement import Json, Protocol
from medseg.evaluation.label_blocks import cross_fitted
from medseg.evaluation.presence import GUARD_MARGIN
from medseg.evaluation.scoring import Tolerance
from medseg.evaluation.surface import DEFAULT_TOLERANCE_MM
from medseg.workflows.agreement_scoring import Scored, models_of
from medseg.workflows.evaluation import check_tolerance
from medseg.workflows.readings import Readings
from medseg.workflows.registration import STATED, Registration, Verified, used_plan, verify

DEFAULT_METRIC = "dice"
READERS: Literal["readers"] = "readers"
Asked = float | Mapping[str, float] | Literal["readers"] | None


@dataclass(frozen=True)
class Settings:
    """The judged metric, the question that decides, margins and tolerances."""

    metric: str
    primary: str | None
    margin: float | Mapping[str, float] | None
    tolerance_mm: float | Mapping[str, float] | Literal["readers"]
    guard_margin: float = GUARD_MARGIN

    @property
    def scored_mm(self) -> Tolerance:
        """NSD's tolerance while cases are scored; tolerances from the readers are known only afterwards."""
        return DEFAULT_TOLERANCE_MM if isinstance(self.tolerance_mm, str) else self.tolerance_mm

    def with_tolerances(
        self, scored: Scored, protocol: Protocol, raters: Sequence[str]
    ) -> tuple[Scored, Protocol, dict[str, Json]]:
        """Cases and protocol at the readers' own tolerances, and by label how these came; unchanged without."""
        if not isinstance(self.tolerance_mm, str):
            return scored, protocol, {}
        cases, middle, entries = list(scored.cases), {}, {}
        for label in scored.labels:
            cases, middle[label], entries[label] = cross_fitted(cases, label, raters)
        return replace(scored, judged=tuple(cases)), replace(protocol, tolerance_mm=middle), entries

    def verify(
        self, registration: Registration | None, protocol: Protocol, labels: Sequence[str], source: Readings
    ) -> Verified:
        """Whether the margins may be called pre-specified."""
        if registration is None or not protocol.margins:
            return Verified(STATED)
        models = tuple(f"{model}/" for model in models_of(source))
        files = [path for name, path in source.files.items() if name.startswith(models)] if models else []
        used = used_plan(protocol, labels, readers_tolerance=isinstance(self.tolerance_mm, str))
        return verify(registration, used, predictions=files)


def settle(
    registration: Registration | None,
    *,
    metric: str | None,
    primary: str | None,
    margin: float | Mapping[str, float] | None,
    tolerance_mm: Asked,
) -> Settings:
    """The arguments, completed by the registered plan and the defaults.

    Raises:
        UsageError: a metric beside another primary question, or a tolerance that is no number of mm.
    """
    plan = registration.plan if registration else None
    primary = primary or (plan.primary if plan and metric is None else None)
    named = primary.rpartition(":")[2] if primary else None
    if metric and named and metric != named:
        raise UsageError("two judged metrics", where="--primary", expected=f"LABEL:{metric}, or no --metric",
                         got=primary or "")  # fmt: skip
    if tolerance_mm is None:
        tolerance_mm = plan.tolerance_mm if plan else DEFAULT_TOLERANCE_MM
    for value in [] if isinstance(tolerance_mm, str) else _values(tolerance_mm):
        check_tolerance(value)
    return Settings(
        named or metric or (plan.metric if plan else DEFAULT_METRIC),
        primary,
        margin if margin is not None or plan is None else plan.margin,
        tolerance_mm,
        plan.guard_margin if plan else GUARD_MARGIN,
    )


def _values(tolerance_mm: float | Mapping[str, float]) -> list[float]:
    return list(tolerance_mm.values()) if isinstance(tolerance_mm, Mapping) else [tolerance_mm]
