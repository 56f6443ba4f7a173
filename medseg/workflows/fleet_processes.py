"""A crew of processes on this machine: one pipe each, so that a death is the matter of one worker and one item."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from medseg.errors import WorkerError
from medseg.workflows.fleet_gpus import share_gpus, visible_gpus
from medseg.workflows.fleet_worker import Build, Place, Reply, attempt, built, place_here

SPAWN = get_context("spawn")  # a fork of a process with threads may hang, and CUDA does not survive one
MOST_FAILED_STARTS = 3
LAST_WORDS_S = 5.0  # time that a worker gets to end by itself


class Processes:
    """Processes that are started when there is an item for them, and replaced when they die.

    Args:
        device: but for `cpu`, the processes are spread over the machine's GPUs.
    """

    def __init__(self, build: Build[Any, Any], size: int, device: str = "cpu") -> None:
        self.build, self.size, self.place = build, size, place_here(size)
        self.gpus = visible_gpus(device)
        self.sharing = share_gpus(size, len(self.gpus), device if self.gpus else "cpu").sharing or 1
        self.idle: list[Worker] = []
        self.busy: dict[Connection, tuple[Worker, int]] = {}
        self.failed_starts = 0

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for worker, _index in self.busy.values():
            worker.kill()
        for worker in self.idle:
            worker.pipe.close()  # it sees the end of its pipe and leaves
        for worker in self.idle:
            worker.end()

    def give(self, index: int, item: Any) -> None:
        worker = self.idle.pop() if self.idle else Worker(self.build, self.next_place())
        while not worker.send(item) and worker.began:  # it died while it had nothing to do: nothing is lost
            worker = Worker(self.build, self.next_place())
        self.busy[worker.pipe] = worker, index

    def next_place(self) -> Place:
        """The place of one more worker: with the GPU that the fewest of the others have."""
        if not self.gpus:
            return self.place
        taken = [worker.place.gpu for worker in (*self.idle, *(worker for worker, _ in self.busy.values()))]
        return replace(self.place, gpu=min(self.gpus, key=taken.count), sharing=self.sharing)

    def wait(self) -> Iterator[tuple[int, Reply]]:
        for pipe in wait(list(self.busy)):
            assert isinstance(pipe, Connection)
            worker, index = self.busy[pipe]
            reply = worker.receive()
            if reply is None:
                continue  # it has only begun
            del self.busy[pipe]
            self._count(worker, reply)
            yield index, reply

    def _count(self, worker: Worker, reply: Reply) -> None:
        if not reply.lost:
            self.idle.append(worker)
            self.failed_starts = 0
        elif not worker.began:
            self.failed_starts += 1
            if self.failed_starts >= MOST_FAILED_STARTS:
                raise WorkerError(f"{MOST_FAILED_STARTS} workers in turn died before they began", got=reply.lost,
                                  do="Try --jobs 1. A Python script needs its calls under `if __name__ == "
                                  "'__main__'`.")  # fmt: skip


class Worker:
    """One process and its pipe."""

    def __init__(self, build: Build[Any, Any], place: Place) -> None:
        self.place = place
        self.pipe, theirs = SPAWN.Pipe()
        self.process: SpawnProcess = SPAWN.Process(target=serve, args=(theirs, place), daemon=True)
        self.process.start()
        theirs.close()  # else its death would not be seen as the end of the pipe
        self.began = False
        self.send(build)

    def send(self, what: Any) -> bool:
        """Whether it was there to take it."""
        try:
            self.pipe.send(what)
        except OSError:
            return False
        return True

    def receive(self) -> Reply | None:
        """Its reply, None for the word that it has begun.

        Raises:
            MedsegError: `build` failed.
        """
        try:
            reply: Reply = self.pipe.recv()
        except (EOFError, OSError):
            return Reply(lost=self.end(), may_pass=True)
        if self.began:
            return reply
        if reply.error is not None:
            self.end()
            raise reply.error
        self.began = True
        return None

    def end(self) -> str:
        """Waits a little for the process to end, then kills it; returns how it ended."""
        self.pipe.close()
        self.process.join(LAST_WORDS_S)
        if self.process.exitcode is None:
            self.kill()
        code = self.process.exitcode or 0
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def serve(pipe: Connection, place: Place) -> None:
    """The life of a worker: builds, then does items until its pipe ends, as it does when the other side dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the first process ends the others
    try:
        place.enter()  # before `build` arrives, and with it the libraries whose threads are limited
        begun = attempt(_received, pipe, place)
        pipe.send(Reply(error=begun.error))
        while begun.error is None:
            reply = attempt(begun.result, pipe.recv())
            if (refused := attempt(pipe.send, reply).error) is not None:
                pipe.send(Reply(error=refused))  # a result that cannot be pickled
    except (EOFError, OSError):
        return


def _received(pipe: Connection, place: Place) -> Any:
    return built(pipe.recv(), place)
