"""One map over items: the same outcomes whoever does the work, and nobody's death costs more than one item."""

from __future__ import annotations

import sys
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from medseg.errors import GeometryError, LabelError, UsageError, WorkerError
from medseg.workflows import fleet_ray_address
from medseg.workflows.fleet import SERIAL, Fleet, ready
from medseg.workflows.fleet_outcomes import Outcome, results_of, summary_table
from medseg.workflows.fleet_ray_address import check_cluster
from tests.support import fleet_work as work

THREADS, PROCESSES = Fleet(2, kind="threads"), Fleet(2)
EVERYONE = pytest.mark.parametrize("fleet", [SERIAL, THREADS, PROCESSES], ids=["serial", "threads", "processes"])


@EVERYONE
def test_outcomes_come_in_the_order_of_the_items_and_failures_are_set_aside(fleet):
    told: list[tuple[int, int]] = []
    outcomes = fleet.map(ready(work.square), range(8), on_done=lambda _, done, total: told.append((done, total)))
    assert [outcome.item for outcome in outcomes] == list(range(8))
    assert [outcome.result for outcome in outcomes] == [0, 1, 4, None, 16, None, 36, 49]
    assert told == [(done, 8) for done in range(1, 9)]


@EVERYONE
def test_an_error_of_ours_keeps_its_kind_and_parts(fleet):
    (outcome,) = [o for o in fleet.map(ready(work.square), range(2, 6)) if o.item == work.POISON]
    assert type(outcome.error) is GeometryError and outcome.tries == 1
    assert str(outcome.error) == "case 3: another grid; expected 1 mm, got 2 mm. Resample it."
    assert outcome.error.expected == "1 mm"


@EVERYONE
def test_an_error_that_nobody_foresaw_tells_its_line_and_not_its_text(fleet):
    (outcome,) = [
        o for o in fleet.map(ready(work.square), range(2, 6), name=lambda k: f"study {k}") if o.item == work.BUG
    ]
    assert isinstance(outcome.error, WorkerError) and "patient" not in str(outcome.error)
    assert str(outcome.error).startswith("study 5: stopped unexpectedly; got ValueError in fleet_work.py, line ")


def test_a_worker_that_is_killed_loses_nothing_and_writes_nothing_twice(tmp_path):
    outcomes = PROCESSES.map(ready(work.Dying(tmp_path, {1: 1, 4: 1})), range(6))
    assert [outcome.result for outcome in outcomes] == [0, 1, 4, 9, 16, 25]
    assert [outcome.tries for outcome in outcomes] == [1, 2, 1, 1, 2, 1]
    assert sorted((tmp_path / "lines").read_text().split()) == list("012345")


def test_an_item_that_kills_every_worker_is_set_aside_and_the_rest_go_on(tmp_path):
    outcomes = PROCESSES.map(ready(work.Dying(tmp_path, {2: 5})), range(5))
    assert [outcome.result for outcome in outcomes] == [0, 1, None, 9, 16]
    error = outcomes[2].error
    assert isinstance(error, WorkerError) and outcomes[2].tries == 2
    assert "2: its worker died 2 times; got killed by SIGKILL" in str(error)


def test_without_retries_one_death_sets_aside(tmp_path):
    outcomes = Fleet(2, retries=0).map(ready(work.Dying(tmp_path, {1: 1})), range(3))
    assert [outcome.tries for outcome in outcomes] == [1, 1, 1] and outcomes[1].error is not None


def test_a_result_that_cannot_be_sent_is_set_aside():
    outcomes = PROCESSES.map(ready(work.not_to_be_sent), range(2))
    assert all(isinstance(outcome.error, WorkerError) for outcome in outcomes)


def test_each_worker_builds_once_and_its_libraries_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5}, raising=False)
    results = results_of(PROCESSES.map(work.Counting(tmp_path), range(6)))
    assert len(list(tmp_path.glob("built-*"))) == len({number for number, _ in results}) <= 2
    assert {threads for _, threads in results} == {"3"}


def test_never_more_items_are_under_way_than_workers():
    crowd = work.Crowd()
    assert results_of(THREADS.map(ready(crowd), range(20))) == list(range(20))
    assert crowd.most == 2


@EVERYONE
def test_what_the_operating_system_refused_is_tried_again(fleet, tmp_path):
    outcomes = fleet.map(partial(work.interrupted_once, tmp_path), range(3))
    assert [outcome.result for outcome in outcomes] == [0, 1, 2] and outcomes[1].tries == 2


@EVERYONE
def test_what_cannot_be_built_ends_the_work(fleet):
    with pytest.raises(GeometryError, match="run: no model"):
        fleet.map(work.broken, range(3))


def test_workers_that_die_before_they_begin_end_the_work():
    with pytest.raises(WorkerError, match=r"3 workers in turn died before they began; got exit code 3.*--jobs 1"):
        PROCESSES.map(work.stillborn, range(9))


def test_what_is_finished_is_not_done_again():
    done = {0: 100, 2: 102}
    outcomes = SERIAL.map(ready(work.square), range(3), finished=done.get)
    assert [(outcome.result, outcome.tries) for outcome in outcomes] == [(100, 0), (1, 1), (102, 0)]


@EVERYONE
def test_an_item_whose_results_are_refused_is_set_aside_and_the_rest_go_on(fleet):
    def refuse(number: int) -> None:
        if number == 1:
            raise LabelError("of another model", where="1")

    outcomes = fleet.map(ready(work.square), range(3), finished=refuse)
    assert [outcome.result for outcome in outcomes] == [0, None, 4]
    assert isinstance(outcomes[1].error, LabelError) and outcomes[1].tries == 0


@EVERYONE
def test_without_items_nothing_is_built(fleet):
    assert fleet.map(work.broken, []) == []


def test_ctrl_c_is_not_an_outcome():
    def stopped(_: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SERIAL.map(ready(stopped), range(3))


# --- all or an error


def failed(kind: Any, **parts: str) -> Outcome[int, int]:
    return Outcome(0, None, kind("wrong", **parts), 1)


def test_one_failure_is_raised_as_it_is_and_several_as_the_first_with_their_number():
    good = Outcome(1, 1, None, 1)
    one = failed(LabelError, where="case c1", got="7", do="Correct it.")
    with pytest.raises(LabelError) as only:
        results_of([good, one])
    assert only.value is one.error
    with pytest.raises(LabelError, match=r"case c1: wrong; got 7. Correct it. \(2 more of 4 have errors\)"):
        results_of([good, one, failed(GeometryError), failed(GeometryError)])


def test_the_summary_counts_all_and_names_those_set_aside():
    outcomes = [Outcome(k, k, None, 1, 2.0) for k in range(3)] + [Outcome(9, 9, None, 0)]
    console = Console(width=100, record=True, file=StringIO())
    console.print(summary_table([*outcomes, failed(LabelError, where="case c1")], title="Studies"))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    assert [row[:4] for row in rows if row and row[0] in ("done", "kept", "set aside", "total")] == [
        ["done", "3", "6.0", "2.0"], ["kept", "1", "", ""], ["set aside", "1", "", ""], ["total", "5", "6.0", ""]
    ]  # fmt: skip
    assert any(row[-1] == "case c1: wrong" for row in rows if row)


def test_an_error_of_many_brings_what_became_of_all():
    with pytest.raises(GeometryError) as caught:
        results_of(SERIAL.map(ready(work.square), range(4)))
    assert [outcome.error is None for outcome in caught.value.outcomes] == [True, True, True, False]


# --- wrong calls


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"jobs": 0}, "--jobs: no one to do the work"),
        ({"retries": -1}, "negative number of retries"),
        ({"insecure_cluster": True}, "without a cluster"),
        ({"insecure_cluster": True, "ray": "local"}, "without a cluster"),
    ],
)
def test_fleets_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        Fleet(**arguments)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"--ray: Ray is not installed. pip install 'medseg\[ray\]'"):
        Fleet(2, ray="local").map(ready(work.square), range(2))


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "token"}


@pytest.mark.parametrize("address", ["", "here", "10.0.0.5", "http://10.0.0.5:1", "10.0.0.5:6379; rm"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match=r"no address.*HOST:PORT"):
        check_cluster(address, insecure=False, environment=TOKEN)


def test_a_cluster_is_refused_where_no_token_is_set():
    with pytest.raises(UsageError, match=r"without token authentication.*--insecure-cluster"):
        check_cluster("10.0.0.5:6379", insecure=False, environment={})


@pytest.mark.parametrize(
    ("answer", "words"), [(None, "lets in whoever asks"), ("Connection refused", "does not answer")]
)
def test_a_cluster_is_refused_that_does_not_turn_away_strangers(monkeypatch, answer, words):
    monkeypatch.setattr(fleet_ray_address, "_asked_without_token", lambda *_: answer)
    with pytest.raises(UsageError, match=words):
        check_cluster("ray://10.0.0.5:10001", insecure=False, environment=TOKEN)


def test_the_stranger_who_asks_has_no_token(monkeypatch):
    seen: dict[str, Any] = {}

    def run(_command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        seen.update(env)
        return type("Done", (), {"returncode": 1, "stdout": "", "stderr": "InvalidAuthToken"})

    monkeypatch.setattr(fleet_ray_address.subprocess, "run", run)
    check_cluster("10.0.0.5:6379", insecure=False, environment=TOKEN | {"RAY_AUTH_TOKEN": "secret", "PATH": "p"})
    assert seen == {"PATH": "p", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def test_an_insecure_cluster_is_taken_on_request():
    check_cluster("10.0.0.5:6379", insecure=True, environment={})


def test_paths_in_errors_are_what_the_caller_names(tmp_path):
    folder = tmp_path / "Doe_Jane"
    (outcome,) = SERIAL.map(ready(Path.read_bytes), [folder / "scan.nii"], name=lambda path: path.name)
    assert str(outcome.error).startswith("scan.nii: stopped unexpectedly; got FileNotFoundError")
    assert "Doe" not in str(outcome.error) and outcome.tries == 2
