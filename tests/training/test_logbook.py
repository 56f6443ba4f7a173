"""The log: rows appended as they come, lost work dropped on resume."""

from __future__ import annotations

from pathlib import Path

from medseg.training.logbook import Logbook, read_log


def steps(path: Path) -> list[int]:
    return [row["step"] for row in read_log(path)]


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    log = Logbook(tmp_path / "log.jsonl")
    log.add(step=1, loss=0.5)
    log.add(step=2, loss=0.25)

    assert read_log(log.path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_rows_after_the_step_that_is_resumed_are_dropped(tmp_path: Path) -> None:
    log = Logbook(tmp_path / "log.jsonl")
    for step in (10, 20, 30):
        log.add(step=step)

    Logbook(log.path, resume_at=20).add(step=25)

    assert steps(log.path) == [10, 20, 25]


def test_a_new_run_starts_an_empty_log(tmp_path: Path) -> None:
    Logbook(tmp_path / "log.jsonl").add(step=5)

    assert steps(Logbook(tmp_path / "log.jsonl").path) == []


def test_a_line_cut_short_by_a_kill_is_left_out_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')

    assert steps(path) == [1]
    Logbook(path, resume_at=1).add(step=2)
    assert steps(path) == [1, 2]
