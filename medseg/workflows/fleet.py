"""One map over studies, on one core or on many machines: a study that fails costs itself and no other.

```
Fleet(jobs=4).map(build, studies, on_done)      four processes of this machine
Fleet(jobs=4, kind="threads")                   four threads: no copies, no start, one interpreter lock
Fleet(jobs=4, ray="local")                      Ray started here, on loopback
Fleet(jobs=64, ray="10.0.0.5:6379")             a cluster that asks for a token
```

`build()` is called once in every worker and returns the function that does one item, so that whatever is expensive,
such as a model, is loaded once and kept:

```
@dataclass(frozen=True)
class Predict:                                  # pickled without the model: a path and some options
    run: Path
    out: Path

    def __call__(self) -> Callable[[str], Path]:            # in the worker
        predictor = Predictor.from_run(self.run)
        return lambda study: write_prediction(self.out, study, predictor(read_study(study)))
```

A function that needs nothing built is given as `ready(function)`. What crosses over to a worker (`build`, an item, a
result) is pickled there and back; an item is best an id or a path, and a result what is small: large things are
written by the worker, atomically (`medseg.files`), under the item's own name. Then a worker that dies in the middle
leaves nothing half done, an item tried again writes the same file, and a run that was cut off goes on with
`finished`, which says for an item what is already there.

The rules: as many items are under way as there are workers, never more. A worker that dies (killed, out of memory) is
replaced and its item is tried again at the end, alone, because memory is the usual reason; a second death sets the item
aside. So does every error that its function raises, but for those of the operating system, which may pass
and are tried again as well. The rest goes on, and the outcomes come back in the order of the items.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from medseg.errors import MedsegError, UsageError
from medseg.workflows.fleet_crew import Crew, Serial, Threads
from medseg.workflows.fleet_outcomes import GiveUp, Outcome, Progress, outcome_of
from medseg.workflows.fleet_worker import Build, Reply, attempt, count_cores
from medseg.workflows.telling import Say

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Fleet:
    """Who does the work.

    Args:
        jobs: workers, and so items at the same time; with one and without Ray it is done here, item by item. None: one,
            but with Ray as many as there are cores.
        ray: `local` starts Ray on this machine; any other text is the address of a cluster.
        kind: what workers on this machine are.
        retries: how often an item is tried again whose worker died.
        insecure_cluster: accept a cluster that does not ask for a token: whoever reaches it can run code on it.
        device: but for `cpu`, workers are spread over GPUs, see `fleet_gpus`.
    """

    jobs: int | None = 1
    ray: str | None = None
    kind: Literal["processes", "threads"] = "processes"
    retries: int = 1
    insecure_cluster: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise UsageError("no one to do the work", where="--jobs", expected="1 or more", got=str(self.jobs))
        if self.retries < 0:
            raise UsageError("a negative number of retries", where="retries", expected="0 or more",
                             got=str(self.retries))  # fmt: skip
        if self.insecure_cluster and self.ray in (None, "local"):
            raise UsageError("--insecure-cluster without a cluster", expected="--ray ADDRESS")

    def map(
        self,
        build: Build[Item, Result],
        items: Sequence[Item],
        *,
        on_done: Progress | None = None,
        finished: Callable[[Item], Result | None] | None = None,
        give_up: GiveUp | None = None,
        name: Callable[[Item], str] = str,
        say: Say = lambda text: None,
    ) -> list[Outcome[Item, Result]]:
        """What became of every item, in their order; empty without items, and then no worker starts.

        Args:
            build: called once in every worker; returns the function of one item.
            on_done: called here with each outcome as it comes, the number of those so far, and of all.
            finished: the result of an item that was done before, else None; asked here, before any work. An item over
                which it raises an error is set aside.
            give_up: asked of each outcome as it comes; with the error that it returns all items are set aside that
                have not begun, because they would fail for the same reason, such as a full disk.
            name: of an item in errors; for paths give one that keeps folders out.
            say: told how many workers there really are, where they are fewer than were asked for.

        Raises:
            MedsegError: what `build` raised.
            WorkerError: workers die before they begin.
            UsageError: Ray is not installed, or the cluster asks for no token.
        """
        work = _Work(items, self.retries, name, on_done, give_up)
        if finished is not None:
            for index, item in enumerate(items):
                reply = attempt(finished, item)
                if reply.error is not None or reply.result is not None:
                    work.settle(index, outcome_of(item, reply, name(item), 0))
        if work.open:
            with self._crew(build, work.open, say) as crew:
                work.run(crew)
        return work.outcomes

    @property
    def most(self) -> int:
        """The most workers; of a cluster that decides for itself, no number that a map could reach."""
        if self.jobs is not None:
            return self.jobs
        return 1 if self.ray is None else count_cores() if self.ray == "local" else sys.maxsize

    def _crew(self, build: Build[Any, Any], wanted: int, say: Say) -> Crew:
        size = min(self.most, wanted)
        if self.ray is not None:
            from medseg.workflows.fleet_ray import RayCrew

            return RayCrew(build, size, self.ray, insecure=self.insecure_cluster, all_cpus=self.jobs is None,
                           device=self.device, say=say)  # fmt: skip
        if size == 1:
            return Serial(build)
        if self.kind == "threads":
            return Threads(build, size)
        from medseg.workflows.fleet_processes import Processes

        return Processes(build, size, self.device)


SERIAL = Fleet()


def ready(work: Callable[[Item], Result]) -> Build[Item, Result]:
    """A `build` for a function that needs nothing built.

    >>> [outcome.result for outcome in Fleet().map(ready(abs), [-1, 2])]
    [1, 2]
    """
    return partial(_same, work)


def _same(work: Callable[[Item], Result]) -> Callable[[Item], Result]:
    return work


class _Work(Generic[Item, Result]):
    """The items of one map: those not begun, those to be tried again alone, and what became of the others."""

    def __init__(
        self, items: Sequence[Item], retries: int, name: Callable[[Item], str], on_done: Progress | None,
        give_up: GiveUp | None,
    ) -> None:  # fmt: skip
        self.items, self.retries, self.name, self.on_done, self.give_up = items, retries, name, on_done, give_up
        self.given_up: MedsegError | None = None
        self.found: dict[int, Outcome[Item, Result]] = {}
        self.tries = [0] * len(items)
        self.again: deque[int] = deque()

    @property
    def open(self) -> int:
        """How many items have no outcome yet."""
        return len(self.items) - len(self.found)

    @property
    def outcomes(self) -> list[Outcome[Item, Result]]:
        return [self.found[index] for index in range(len(self.items))]

    def run(self, crew: Crew) -> None:
        """Gives out the items, never more than the crew has workers, until each has its outcome."""
        waiting = iter([index for index in range(len(self.items)) if index not in self.found])
        busy: set[int] = set()
        while self.open:
            if self.given_up is not None and not busy:
                self._leave()
                return
            while len(busy) < crew.size and (index := self._next(waiting, busy)) is not None:
                busy.add(index)
                self.tries[index] += 1
                crew.give(index, self.items[index])
            for index, reply in crew.wait():
                busy.discard(index)
                self._take(index, reply)

    def _leave(self) -> None:
        """Sets aside all that have no outcome yet."""
        for index in range(len(self.items)):
            if index not in self.found:
                self.settle(index, Outcome(self.items[index], None, self.given_up, self.tries[index]))

    def _next(self, waiting: Iterator[int], busy: set[int]) -> int | None:
        if self.given_up is not None:
            return None
        if (fresh := next(waiting, None)) is not None:
            return fresh
        return self.again.popleft() if self.again and not busy else None

    def _take(self, index: int, reply: Reply) -> None:
        if reply.may_pass and self.tries[index] <= self.retries:
            self.again.append(index)
        else:
            item = self.items[index]
            outcome = outcome_of(item, reply, self.name(item), self.tries[index])
            self.settle(index, outcome)
            if self.give_up is not None and self.given_up is None:
                self.given_up = self.give_up(outcome)

    def settle(self, index: int, outcome: Outcome[Item, Result]) -> None:
        self.found[index] = outcome
        if self.on_done:
            self.on_done(outcome, len(self.found), len(self.items))
