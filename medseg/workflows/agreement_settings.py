"""What a comparison is asked: from the options, and where those are silent from a registered plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medseg.errors import UsageError
from medseg.evaluation.agreement import Json, Protocol
from medseg.evaluation.label_blocks import cross_fitted
from medseg.evaluation.presence import GUARD_MARGIN
from medseg.evaluation.primary import Question, read_question
from medseg.evaluation.scoring import Tolerance
from medseg.evaluation.surface import DEFAULT_TOLERANCE_MM
from medseg.workflows.agreement_options import AgreementOptions, Margin, check_metric
from medseg.workflows.agreement_scoring import Scored, models_of
from medseg.workflows.evaluation import check_tolerance
from medseg.workflows.readings import Readings
from medseg.workflows.registration import STATED, Registration, Verified, read_registration, used_plan, verify

DEFAULT_METRIC = "dice"


@dataclass(frozen=True)
class Settings:
    """The judged metric, the questions that decide, margins and tolerances.

    Args:
        metric: the judged one.
        primary, secondary: questions as `LABEL:METRIC`.
        margin: for every label, or by label and by question.
        tolerance_mm: of NSD.
        guard_margin: how much worse the miss and false-positive rates may be.
        registration: the plan that was registered, or None.
    """

    metric: str
    primary: str | None
    secondary: tuple[str, ...]
    margin: Margin
    tolerance_mm: float | Mapping[str, float] | Literal["readers"]
    guard_margin: float = GUARD_MARGIN
    registration: Registration | None = None

    @property
    def scored_mm(self) -> Tolerance:
        """NSD's tolerance while cases are scored; tolerances from the readers are known only afterwards."""
        return DEFAULT_TOLERANCE_MM if isinstance(self.tolerance_mm, str) else self.tolerance_mm

    def protocol(self, asked: AgreementOptions, labels: Sequence[str], source: Readings) -> Protocol:
        """What is decided before looking, for the labels that were met.

        Raises:
            UsageError: a question or a margin for a label or metric that is not there, or a question without margin.
        """
        questions = tuple(read_question(text, labels, "secondary") for text in self.secondary)
        margins, apart = _margins(self.margin, labels, questions)
        return Protocol(
            self.metric,
            margins,
            self.scored_mm,
            self.guard_margin,
            draws=asked.draws,
            seed=asked.seed,
            primary=read_question(self.primary, labels) if self.primary else None,
            anonymous=source.anonymous,
            secondary={question: _margin_of(question, self.metric, margins, apart) for question in questions},
            empty_policy=asked.empty_policy,
        )

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

    def verify(self, protocol: Protocol, labels: Sequence[str], source: Readings) -> Verified:
        """Whether the margins may be called pre-specified."""
        if self.registration is None or not protocol.margins:
            return Verified(STATED)
        models = tuple(f"{model}/" for model in models_of(source))
        files = [path for name, path in source.files.items() if name.startswith(models)] if models else []
        used = used_plan(protocol, labels, readers_tolerance=isinstance(self.tolerance_mm, str))
        return verify(self.registration, used, predictions=files)


def settle(asked: AgreementOptions) -> Settings:
    """The options, completed by the registered plan and the defaults.

    Raises:
        UsageError: a metric beside another primary question, secondary questions without a primary one, or a
            tolerance that is no number of mm.
        FileReadError, ConfigError: no registration, or a changed one.
    """
    registration = read_registration(asked.plan) if asked.plan is not None else None
    plan = registration.plan if registration else None
    primary = asked.primary or (plan.primary if plan and asked.metric is None else None)
    named = primary.rpartition(":")[2] if primary else None
    if asked.metric and named and asked.metric != named:
        raise UsageError("two judged metrics", where="--primary", expected=f"LABEL:{asked.metric}, or no --metric",
                         got=primary or "")  # fmt: skip
    check_metric(named)
    secondary = tuple(asked.secondary) or (plan.secondary if plan and not asked.primary else ())
    if secondary and primary is None:
        raise UsageError("secondary questions without a primary one", where="--secondary", expected="--primary as well",
                         got=", ".join(secondary))  # fmt: skip
    tolerance_mm = asked.tolerance_mm
    if tolerance_mm is None:
        tolerance_mm = plan.tolerance_mm if plan else DEFAULT_TOLERANCE_MM
    for value in [] if isinstance(tolerance_mm, str) else _values(tolerance_mm):
        check_tolerance(value)
    return Settings(
        named or asked.metric or (plan.metric if plan else DEFAULT_METRIC),
        primary,
        secondary,
        asked.margin if asked.margin is not None or plan is None else plan.margin,
        tolerance_mm,
        plan.guard_margin if plan else GUARD_MARGIN,
        registration,
    )


def _values(tolerance_mm: float | Mapping[str, float]) -> list[float]:
    return list(tolerance_mm.values()) if isinstance(tolerance_mm, Mapping) else [tolerance_mm]


def _margins(
    margin: Margin, labels: Sequence[str], questions: Sequence[Question]
) -> tuple[dict[str, float], dict[str, float]]:
    """Margins by label, and those of single questions."""
    if margin is None:
        return {}, {}
    if not isinstance(margin, Mapping):
        return dict.fromkeys(labels, float(margin)), {}
    named = [str(question) for question in questions]
    if unknown := [key for key in margin if key not in labels and key not in named]:
        raise UsageError("a margin for an unknown label", where="--margin",
                         expected="one of " + ", ".join([*labels, *named]), got=", ".join(unknown))  # fmt: skip
    by_label = {key: float(value) for key, value in margin.items() if key in labels}
    return by_label, {key: float(value) for key, value in margin.items() if key not in labels}


def _margin_of(question: Question, metric: str, margins: Mapping[str, float], apart: Mapping[str, float]) -> float:
    """The margin of a secondary question: its own, or in the judged metric that of its label."""
    found = apart.get(str(question), margins.get(question.label) if question.metric == metric else None)
    if found is None:
        raise UsageError(f"no margin for the secondary question {question}", where="--margin",
                         expected=f"{question}=MARGIN in the unit of {question.metric}")  # fmt: skip
    return found
