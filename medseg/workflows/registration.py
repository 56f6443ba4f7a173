"""`medseg register plan.yaml`: what will be judged and by which margin, written down before predictions exist.

```yaml
margin: {liver: 0.02, tumour: 0.05}     # or one number for every label
primary: liver:dice                     # optional: LABEL:METRIC that decides
secondary: [tumour:dice]                # optional: confirmatory as well, adjusted by Holm
metric: dice
tolerance_mm: 2.0                       # or by label, or `readers`: from the readers' own distances
labels: [liver, tumour]                 # optional: exactly these are judged
guard_margin: 0.1                       # optional: how much worse the miss and false-positive rates may be
```

The registration is a JSON file beside the plan with the plan in full, the date (UTC) and the SHA-256 of both. Who
wants more than his own word sends that hash to somebody else on the day. A run that used exactly the registered plan,
on predictions that are not older than it, may call its margins pre-specified; every other run says that they were
stated by the user.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, field_validator

from medseg.config import Config, nearest, read_config
from medseg.errors import ConfigError, FileReadError, OutputExistsError, UsageError
from medseg.evaluation.entries import Protocol
from medseg.evaluation.metrics import SYMMETRIC
from medseg.evaluation.presence import GUARD_MARGIN
from medseg.evaluation.primary import Question
from medseg.files import write_text

SCHEMA = "medseg.registration/1"
SUFFIX = ".registered.json"
PRE_SPECIFIED, STATED = "pre-specified", "stated by the user"
Positive = Annotated[FiniteFloat, Field(gt=0)]
NotNegative = Annotated[FiniteFloat, Field(ge=0)]


class AgreementPlan(Config):
    """What is decided before looking.

    Args:
        margin: positive, in the metric's unit, for every label or by label.
        primary: `LABEL:METRIC` that decides, or None: the worst label does.
        secondary: confirmatory questions `LABEL:METRIC` beside it; one in another metric has a margin of its own.
        metric: the judged metric.
        tolerance_mm: of NSD, for every label, by label, or `readers`.
        labels: the labels that are judged, or None for all.
        guard_margin: how much worse the miss and the false-positive rate may be.
    """

    margin: Positive | dict[str, Positive]
    primary: str | None = None
    secondary: tuple[str, ...] = ()
    metric: str = "dice"
    tolerance_mm: NotNegative | dict[str, NotNegative] | Literal["readers"] = 2.0
    labels: tuple[str, ...] | None = None
    guard_margin: Positive = GUARD_MARGIN

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        if metric not in SYMMETRIC:
            raise ValueError(f"unknown metric '{metric}'{nearest(metric, SYMMETRIC)}; known are {', '.join(SYMMETRIC)}")
        return metric

    @field_validator("primary")
    @classmethod
    def _known_primary(cls, primary: str | None) -> str | None:
        if primary is not None:
            _check_question(primary)
        return primary

    @field_validator("secondary")
    @classmethod
    def _known_secondary(cls, secondary: tuple[str, ...]) -> tuple[str, ...]:
        for question in secondary:
            _check_question(question)
        return secondary

    @property
    def plain(self) -> dict[str, Any]:
        """As it is hashed: numbers are floats, keys are sorted, the order of labels does not matter."""
        data = self.model_dump(mode="json")
        data["labels"] = None if self.labels is None else sorted(self.labels)
        data["secondary"] = sorted(self.secondary)
        if not self.secondary:
            del data["secondary"]  # registrations that were written before there were such questions keep their hash
        return data


def _check_question(text: str) -> None:
    label, colon, metric = text.rpartition(":")
    if not colon or not label or metric not in SYMMETRIC:
        raise ValueError(f"not LABEL:METRIC with one of {', '.join(SYMMETRIC)}")


@dataclass(frozen=True)
class Registration:
    """A plan, when it was registered (UTC), and the SHA-256 of both."""

    plan: AgreementPlan
    registered: datetime
    sha256: str


@dataclass(frozen=True)
class Verified:
    """Whether the margins may be called pre-specified.

    Args:
        status: `pre-specified` or `stated by the user`.
        reasons: why not; empty when they may.
        registered, sha256: of the registration, as text.
    """

    status: Literal["pre-specified", "stated by the user"]
    reasons: tuple[str, ...] = ()
    registered: str = ""
    sha256: str = ""


def read_plan(path: str | Path) -> AgreementPlan:
    """The plan in a YAML file.

    Raises:
        FileReadError: no such file.
        ConfigError: a fault in it, with file, line and key.
    """
    return read_config(path, AgreementPlan)


def register(
    plan: str | Path, *, predictions: Sequence[str | Path] = (), now: datetime | None = None
) -> tuple[Path, Registration]:
    """Registers a plan beside it, as `<plan>.registered.json`; gives the file's path and what stands in it.

    A plan that is registered already, unchanged, keeps its date.

    Args:
        predictions: folders that must not hold a file yet.
        now: the date; the clock's by default.

    Raises:
        FileReadError, ConfigError: see `read_plan`.
        UsageError: predictions exist.
        OutputExistsError: another plan is registered under this name.
        WriteError: the disk refused.
    """
    path = Path(plan)
    found = read_plan(path)
    for folder in map(Path, predictions):
        if folder.is_file() or (folder.is_dir() and any(one.is_file() for one in folder.rglob("*"))):
            raise UsageError("predictions exist already", where="register", got=f"files in {folder.name}",
                             do="Register the plan before the model predicts; later it is only stated.")  # fmt: skip
    out = path.with_name(path.stem + SUFFIX)
    if out.exists():
        known = read_registration(out)
        if known.plan.plain == found.plain:
            return out, known
        raise OutputExistsError("another plan is registered under this name", where=out.name,
                                got=f"one of {known.registered:%Y-%m-%d}",
                                do="Give the new plan a name of its own.")  # fmt: skip
    when = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    registration = Registration(found, when, _sha256(found, when))
    facts = {"schema": SCHEMA, "registered": when.isoformat(), "sha256": registration.sha256, "plan": found.plain}
    write_text(out, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return out, registration


def read_registration(path: str | Path) -> Registration:
    """A registration, whose hash must be that of its content.

    Args:
        path: the registration, or the plan beside which it lies.

    Raises:
        FileReadError: no such file, or no registration.
        ConfigError: it was changed after it was written.
    """
    path = Path(path)
    path = path if path.name.endswith(SUFFIX) else path.with_name(path.stem + SUFFIX)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["schema"] != SCHEMA:
            raise ValueError("another schema")
        plan = AgreementPlan.model_validate(facts["plan"])
        when = datetime.fromisoformat(facts["registered"])
        told = str(facts["sha256"])
        if when.tzinfo is None:
            raise ValueError("no time zone")
    except FileNotFoundError:
        raise FileReadError("no registration", where=path.name, do="Write it with `medseg register`.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileReadError(f"not a registration ({type(error).__name__})", where=path.name, expected=SCHEMA) from None
    if told != _sha256(plan, when):
        raise ConfigError("the registration was changed after it was written", where=path.name,
                          expected=f"SHA-256 {told[:12]}...", got=f"{_sha256(plan, when)[:12]}...",
                          do="Use the file as it was written; a changed plan is only stated.")  # fmt: skip
    return Registration(plan, when, told)


def used_plan(protocol: Protocol, labels: Sequence[str], *, readers_tolerance: bool = False) -> AgreementPlan:
    """What a run used, as a plan to compare with the registered one.

    Args:
        labels: those that were judged.
        readers_tolerance: the tolerances were taken from the readers' own distances.
    """
    tolerance = protocol.tolerance_mm
    return AgreementPlan(
        margin=dict(protocol.margins)
        | {str(q): value for q, value in protocol.secondary.items() if _is_apart(q, value, protocol)},
        primary=None if protocol.primary is None else str(protocol.primary),
        secondary=tuple(map(str, protocol.secondary)),
        metric=protocol.metric,
        tolerance_mm="readers"
        if readers_tolerance
        else dict(tolerance)
        if isinstance(tolerance, Mapping)
        else tolerance,
        labels=tuple(labels),
        guard_margin=protocol.guard_margin,
    )


def _is_apart(question: Question, margin: float, protocol: Protocol) -> bool:
    """Whether a question's margin is not that of its label."""
    return question.metric != protocol.metric or margin != protocol.margins.get(question.label)


def verify(registration: Registration, used: AgreementPlan, *, predictions: Iterable[Path] = ()) -> Verified:
    """Whether a run used exactly the registered plan, on predictions that are not older than it.

    Args:
        used: what the run used. A margin or tolerance that is the same for every label equals one by label.
        predictions: files of the models; the time of their last change counts.
    """
    reasons = list(_differences(registration.plan, used))
    older = 0
    for path in predictions:
        try:
            older += path.stat().st_mtime < registration.registered.timestamp()
        except OSError:
            raise FileReadError("cannot be read", where=path.name, do="Check the path.") from None
    if older:
        files = "file is" if older == 1 else "files are"
        reasons.append(f"{older} prediction {files} older than the registration")
    return Verified(STATED if reasons else PRE_SPECIFIED, tuple(reasons),
                    registration.registered.isoformat(), registration.sha256)  # fmt: skip


def _differences(registered: AgreementPlan, used: AgreementPlan) -> Iterable[str]:
    labels = registered.labels or used.labels or ()
    for name in ("margin", "tolerance_mm"):
        ours, theirs = (_by_label(getattr(plan, name), labels) for plan in (registered, used))
        if ours != theirs:
            yield f"{name} {_told(theirs)}, registered {_told(ours)}"
    for name in ("primary", "metric", "guard_margin"):
        ours, theirs = getattr(registered, name), getattr(used, name)
        if ours != theirs:
            yield f"{name} {theirs or 'none'}, registered {ours or 'none'}"
    if sorted(registered.secondary) != sorted(used.secondary):
        yield f"secondary {_told(sorted(used.secondary))}, registered {_told(sorted(registered.secondary))}"
    if registered.labels is not None and set(registered.labels) != set(used.labels or ()):
        yield f"labels {_told(sorted(used.labels or ()))}, registered {_told(sorted(registered.labels))}"


def _by_label(value: Any, labels: Sequence[str]) -> Any:
    """A value for each label; as it is where no labels are known."""
    if isinstance(value, Mapping) or value == "readers" or not labels:
        return dict(value) if isinstance(value, Mapping) else value
    return dict.fromkeys(labels, float(value))


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number:g}" for key, number in value.items()) or "none"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


def _sha256(plan: AgreementPlan, when: datetime) -> str:
    text = json.dumps({"schema": SCHEMA, "registered": when.isoformat(), "plan": plan.plain}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
