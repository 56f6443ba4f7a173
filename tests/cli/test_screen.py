"""What a command shows: bars on a terminal, lines without one, and silence where nobody reads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from medseg.cli.screen import PlainLines, progress_bars


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_lines_come_at_the_beginning_once_a_minute_and_at_the_end(capsys):
    now = iter(range(0, 1000, 10))  # every step takes ten seconds
    lines = PlainLines(seconds=60, clock=lambda: next(now))

    for step in range(1, 21):
        lines.progress("Training", step, 20, "")

    assert [line.split(",")[0] for line in told(capsys)] == [f"Training {n}/20" for n in (1, 7, 13, 19, 20)]


def test_the_time_left_is_that_of_the_steps_before(capsys):
    now = iter([0, 60])
    lines = PlainLines(seconds=60, clock=lambda: next(now))

    lines.progress("Training", 101, 1000, "loss 1")  # a run that goes on begins at its own step
    lines.progress("Training", 111, 1000, "loss 0.5")

    assert told(capsys) == ["Training 101/1000, loss 1", "Training 111/1000, left 1:28:54, loss 0.5"]  # 889 x 6 s


def test_what_begins_again_is_timed_anew(capsys):
    now = iter([0, 1, 500, 560])
    lines = PlainLines(seconds=60, clock=lambda: next(now))

    for done in (1, 9, 1, 5):
        lines.progress("Validating", done, 9, "")

    assert told(capsys)[-1] == "Validating 5/9, left 0:01:00"


@pytest.mark.parametrize("lines, expected", [(True, ["Reading 1/2", "Reading 2/2"]), (False, [])])
def test_without_a_terminal_lines_come_on_request(capsys, lines, expected):
    with progress_bars(lines=lines) as progress:
        progress("Reading", 1, 2, "")
        progress("Reading", 2, 2, "")

    assert told(capsys) == expected


SPEAKER = """
from medseg.cli.screen import progress_bars, say
with progress_bars(lines=True) as progress:
    for step in range(2000):
        progress("Training", 2000, 2000, "x" * 100)
        say("y" * 100)
open("{file}", "w").write("reached the end")
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_who_goes_away_ends_no_command(tmp_path, stream):
    file = tmp_path / "end"
    code = SPEAKER.format(file=file.as_posix())
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    process = subprocess.Popen([sys.executable, "-c", code], **{stream: subprocess.PIPE, other: subprocess.DEVNULL})

    pipe = getattr(process, stream)
    pipe.readline()
    pipe.close()

    assert process.wait(timeout=300) == 0
    assert file.read_text() == "reached the end"
