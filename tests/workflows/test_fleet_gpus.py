"""Who gets which GPU, and a cluster with less room than was asked for; with fakes of CUDA and of Ray."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from medseg.errors import UsageError
from medseg.workflows import fleet_processes, fleet_ray
from medseg.workflows.fleet import Fleet, ready
from medseg.workflows.fleet_gpus import Sharing, part_of_gpu, share_gpus, visible_gpus
from medseg.workflows.fleet_outcomes import results_of
from medseg.workflows.fleet_processes import Processes
from medseg.workflows.fleet_worker import Place, attempt, sharing_here
from tests.support import fleet_work as work

GIB = 2**30


def fake_cuda(count: int, free: int = 0, total: int = 0) -> Any:
    return SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: count, is_available=lambda: count > 0,
                                                mem_get_info=lambda: (free, total)))  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "device", "expected"),
    [({}, "auto", ["0", "1"]), ({"CUDA_VISIBLE_DEVICES": "5,GPU-ab"}, "cuda", ["5", "GPU-ab"]), ({}, "cpu", [])],
)
def test_gpus_have_the_names_by_which_this_process_sees_them(environment, device, expected):
    assert visible_gpus(device, fake_cuda(2), environment) == expected


def test_a_worker_gets_its_part_of_the_memory_and_no_more_than_is_free():
    assert part_of_gpu(4, fake_cuda(1, free=15 * GIB, total=16 * GIB)) == int(0.9 * 4 * GIB)
    assert part_of_gpu(4, fake_cuda(1, free=2 * GIB, total=16 * GIB)) == int(0.9 * 2 * GIB)
    assert part_of_gpu(1, fake_cuda(1, free=2 * GIB, total=16 * GIB)) is None  # alone it takes what is free by itself


def test_parts_of_a_gpu_never_add_up_to_more_than_one():
    assert all(share_gpus(n, 1, "auto").share * n <= 1 for n in range(1, 50))
    assert share_gpus(3, 2, "auto") == Sharing(2, 0.5)


def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(UsageError, match="the workers have no GPU"):
        share_gpus(2, 0, "cuda")


def test_processes_are_spread_over_the_gpus_and_a_dead_one_leaves_its_gpu_to_the_next(monkeypatch):
    monkeypatch.setattr(fleet_processes, "visible_gpus", lambda device: ["0", "1"])
    monkeypatch.setattr(fleet_processes, "Worker", lambda build, place: SimpleNamespace(
        place=place, pipe=object(), began=True, send=lambda item: True))  # fmt: skip
    crew = Processes(ready(abs), 4, "auto")
    for index in range(4):
        crew.give(index, index)

    workers = [worker for worker, _ in crew.busy.values()]
    assert [worker.place.gpu for worker in workers] == ["0", "1", "0", "1"]
    assert {worker.place.sharing for worker in workers} == {2}
    del crew.busy[workers[2].pipe]
    assert crew.next_place().gpu == "0"


def test_a_worker_sees_its_own_gpu_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
                 "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):  # fmt: skip
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("medseg.workflows.fleet_worker.here", [])
    monkeypatch.chdir(tmp_path)

    Place(str(tmp_path), 1, gpu="1", sharing=3).enter()

    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert sharing_here() == 3


class FakeRay:
    """A cluster whose actors begin only while it has room; what is awaited is done when it is waited for."""

    exceptions = SimpleNamespace(RayError=ConnectionError)

    def __init__(self, cpus: int, gpus: int = 0) -> None:
        self.cpus, self.gpus = cpus, gpus
        self.asked: list[dict[str, Any]] = []
        self.calls: dict[int, Any] = {}

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cpus)} | ({"GPU": float(self.gpus)} if self.gpus else {})

    def remote(self, **options: Any) -> Any:
        self.asked.append(options)
        number = len(self.asked)
        open_ = SimpleNamespace(remote=lambda version, build: self.call(number, "open", build))
        run = SimpleNamespace(remote=lambda item: self.call(number, "work", item))
        actor = SimpleNamespace(open=open_, work=run)
        return lambda kind: SimpleNamespace(remote=lambda place: Hashed(actor))

    def call(self, actor: int, what: str, argument: Any) -> int:
        self.calls[len(self.calls)] = actor, what, argument
        return len(self.calls) - 1

    def wait(self, awaited: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        here = [each for each in sorted(awaited) if self.calls[each][0] <= self.cpus]
        return here[:1], []

    def get(self, awaited: int) -> Any:
        _, what, argument = self.calls[awaited]
        return attempt(work.square, argument) if what == "work" else attempt(lambda: None)

    def kill(self, actor: Any) -> None:
        pass


class Hashed:
    def __init__(self, actor: Any) -> None:
        self.open, self.work = actor.open, actor.work


def on(ray: FakeRay, monkeypatch: pytest.MonkeyPatch, **fleet: Any) -> tuple[list[Any], list[str]]:
    """Squares of ten numbers but those that fail, and what was said."""
    said: list[str] = []
    monkeypatch.setattr(fleet_ray, "_connect", lambda *_: ray)
    items = [0, 1, 2, 4, 6, 7, 8]
    found = results_of(Fleet(ray="10.0.0.5:6379", **fleet).map(ready(work.square), items, say=said.append))
    assert found == [item * item for item in items]
    return found, said


def test_a_cluster_with_one_free_cpu_does_the_work_of_three(monkeypatch):
    ray = FakeRay(cpus=1)

    on(ray, monkeypatch, jobs=3)

    assert {actor for actor, what, _ in ray.calls.values() if what == "work"} == {1}


def test_that_workers_wait_for_room_is_said(monkeypatch):
    ray = FakeRay(cpus=0)
    wait = ray.wait

    def late(*arguments: Any, **options: Any) -> Any:
        found = wait(*arguments, **options)
        ray.cpus = 1
        return found

    ray.wait = late  # type: ignore[method-assign]
    _, said = on(ray, monkeypatch, jobs=3)

    assert said[0].startswith("0 of 3 Ray workers have begun; the others wait")
    assert said[1:] == ["1 of 3 Ray workers did all the work."]


def test_without_a_number_there_are_as_many_workers_as_cpus(monkeypatch):
    ray = FakeRay(cpus=4)

    on(ray, monkeypatch, jobs=None)

    assert len(ray.asked) == 4


def test_workers_ask_for_a_part_of_a_gpu_where_the_cluster_has_some(monkeypatch):
    with_gpus, without, on_cpu = FakeRay(4, gpus=2), FakeRay(4), FakeRay(4, gpus=2)
    on(with_gpus, monkeypatch, jobs=4, device="auto")
    on(without, monkeypatch, jobs=4, device="auto")
    on(on_cpu, monkeypatch, jobs=4, device="cpu")

    assert [options.get("num_gpus") for options in with_gpus.asked] == [0.5] * 4
    assert not any("num_gpus" in options for options in (*without.asked, *on_cpu.asked))
    with pytest.raises(UsageError, match="no GPU"):
        on(FakeRay(4), monkeypatch, jobs=4, device="cuda")
