"""Which question decides: the primary one that was named beforehand, or without one the worst label."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.metrics import SYMMETRIC
from medseg.evaluation.multiplicity import benjamini_hochberg, holm
from medseg.evaluation.verdict import WORST_FIRST


@dataclass(frozen=True)
class Question:
    """One label and metric that is judged, as `LABEL:METRIC`."""

    label: str
    metric: str

    def __str__(self) -> str:
        return f"{self.label}:{self.metric}"


@dataclass(frozen=True)
class Answer:
    """What came of a question: its class, the lower end of D's interval (NaN without) and p of non-inferiority."""

    question: Question
    class_: str
    lower: float
    p: float = float("nan")


@dataclass(frozen=True)
class Decision:
    """The class of the model.

    Args:
        class_: of the deciding answer.
        decided_by: its question.
        reason: how it came to decide, in words.
        secondary: by question, p of the confirmatory secondary questions after Holm; empty without a primary.
        exploratory: by question, p of all others after Benjamini-Hochberg.
    """

    class_: str
    decided_by: Question
    reason: str
    secondary: Mapping[Question, float]
    exploratory: Mapping[Question, float]


def read_question(text: str, labels: Collection[str], kind: str = "primary") -> Question:
    """The question named by `LABEL:METRIC`; the label itself may hold a colon.

    Args:
        kind: `primary` or `secondary`, for the message.

    Raises:
        UsageError: not of that form, no such label, or a metric that has no difference D; the known ones are
            listed.

    >>> read_question("liver:dice", ["liver"])
    Question(label='liver', metric='dice')
    """
    label, colon, metric = text.rpartition(":")
    if not colon or label not in labels or metric not in SYMMETRIC:
        expected = f"LABEL:METRIC with one of {', '.join(labels)} and one of {', '.join(SYMMETRIC)}"
        raise UsageError(f"unknown {kind} question", where=f"--{kind}", expected=expected, got=repr(text))
    return Question(label, metric)


def decide(answers: Sequence[Answer], primary: Question | None, secondary: Collection[Question] = ()) -> Decision:
    """The primary answer decides; without a primary the worst label does, so that a model passes only if all pass.

    Args:
        answers: at least one; without a primary these are the answers that must all hold.
        secondary: questions that were named beforehand as confirmatory; all others are exploratory.

    Raises:
        UsageError: no answer, or none to the primary question.
    """
    if not answers:
        raise UsageError("nothing was judged", expected="at least one label with a metric")
    if primary is None:
        worst = min(answers, key=lambda answer: (WORST_FIRST.index(answer.class_), _low(answer)))
        reason = "the only question" if len(answers) == 1 else "no primary was named, so the worst label decides"
        return Decision(worst.class_, worst.question, reason, {}, {})
    found = {answer.question: answer for answer in answers}
    if primary not in found:
        raise UsageError("the primary question was not judged", expected=str(primary),
                         got=", ".join(map(str, found)))  # fmt: skip
    p = {question: answer.p for question, answer in found.items() if question != primary}
    return Decision(
        found[primary].class_,
        primary,
        "the primary question decides",
        holm({question: value for question, value in p.items() if question in secondary}),
        benjamini_hochberg({question: value for question, value in p.items() if question not in secondary}),
    )


def _low(answer: Answer) -> float:
    return np.inf if np.isnan(answer.lower) else answer.lower
