"""Those who do the work: what a crew must offer, and the two that stay in this process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any, Protocol, Self

from medseg.workflows.fleet_worker import Build, Reply, attempt


class Crew(Protocol):
    """Workers that are given items and report back; leaving the context ends them, whatever they are doing."""

    @property
    def size(self) -> int:
        """The number of workers."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def give(self, index: int, item: Any) -> None:
        """Gives an item to a worker that has none; asked for only while one is free."""
        ...

    def wait(self) -> Iterator[tuple[int, Reply]]:
        """Waits until at least one item is done; then all that are."""
        ...


class Serial:
    """Here, one item after the other."""

    size = 1

    def __init__(self, build: Build[Any, Any]) -> None:
        self.build, self.waiting = build, (0, None)

    def __enter__(self) -> Serial:
        self.work = self.build()
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def give(self, index: int, item: Any) -> None:
        self.waiting = (index, item)

    def wait(self) -> Iterator[tuple[int, Reply]]:
        index, item = self.waiting
        yield index, attempt(self.work, item)


class Threads:
    """Threads that share what `build` made."""

    def __init__(self, build: Build[Any, Any], size: int) -> None:
        self.build, self.size = build, size
        self.busy: dict[Future[Reply], int] = {}

    def __enter__(self) -> Threads:
        self.work = self.build()
        self.pool = ThreadPoolExecutor(self.size)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def give(self, index: int, item: Any) -> None:
        self.busy[self.pool.submit(attempt, self.work, item)] = index

    def wait(self) -> Iterator[tuple[int, Reply]]:
        for future in wait_for(self.busy, return_when=FIRST_COMPLETED).done:
            yield self.busy.pop(future), future.result()
