"""The training log: one JSON object a line, appended while it runs, cut back on resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medseg.files import write_text
from medseg.training.events import StepEvent, ValidationEvent


class Logbook:
    """A watcher that keeps rows with a `step`. Rows later than the step that a run resumes from belong to lost work and
    are dropped."""

    def __init__(self, path: Path, *, resume_at: int = 0) -> None:
        self.path = path
        kept = [row for row in read_log(path) if row["step"] <= resume_at] if path.exists() else []
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))

    def step(self, event: StepEvent) -> None:
        self.add(
            step=event.step,
            loss=round(event.loss, 5),
            seconds=round(event.seconds, 2),
            learning_rate=event.learning_rate,
            wait_share=round(event.wait_share, 3),
            patches_per_second=round(event.patches_per_second, 2),
            gradient_norm=round(event.gradient_norm, 4),
        )

    def validation(self, event: ValidationEvent) -> None:
        cases = {case: dict(scores) for case, scores in event.cases.items()}
        self.add(step=event.step, validation_dice=dict(event.dice), mean_dice=event.mean, cases=cases)

    def close(self) -> None:
        """Nothing is held open."""

    def add(self, **row: Any) -> None:
        """Appends a row, which must have a `step`."""
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """All rows; a last line cut short by a kill is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
