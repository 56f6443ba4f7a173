"""A crew of Ray actors: on this machine over loopback, or on a cluster that asks for a token."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

from medseg.errors import UsageError, WorkerError
from medseg.workflows.fleet_gpus import share_gpus
from medseg.workflows.fleet_ray_address import check_cluster
from medseg.workflows.fleet_worker import Build, Place, Reply, attempt, built, place_here
from medseg.workflows.telling import Say

LOCAL = "local"
LOOPBACK = "127.0.0.1"
STORE_BYTES = 80 * 2**20  # about the least that Ray takes; results are small and travel beside it
MOST_FAILED_STARTS = 3
PATIENCE_S = 60.0  # without any news, after which it is said how many workers there are
TELEMETRY = {"RAY_USAGE_STATS_ENABLED": "0"}
ALONE = {  # of Ray on this machine; before Ray is imported, which reads them once
    "RAY_AUTH_MODE": "token",
    # Ray takes 127.0.0.1 for the machine's outer address, but not where it thinks that there can be no cluster
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # workers see the GPUs that this process sees
    "RAY_worker_niceness": "0",  # of 15 by default, with which workers starve beside any other work
}
TOKEN = secrets.token_hex(32)  # one for the process: Ray keeps the first that it reads


class RayCrew:
    """Actors that keep what `build` made; one that dies is replaced.

    Items go to actors that have begun: where the cluster has room for some of them only, these do all the work.

    Args:
        size: the most actors.
        all_cpus: no more of them than the cluster has CPUs.
        device: `auto` and `cuda` ask for a share of a GPU where the cluster has some; `cuda` insists on it.
        say: told how many actors really work, where they are fewer.
    """

    def __init__(
        self, build: Build[Any, Any], size: int, address: str, *, insecure: bool = False, all_cpus: bool = False,
        device: str = "cpu", say: Say = lambda text: None,
    ) -> None:  # fmt: skip
        self.build, self.size, self.address, self.insecure = build, size, address, insecure
        self.all_cpus, self.device, self.say = all_cpus, device, say
        self.waiting: deque[tuple[int, Any]] = deque()  # items that no actor has yet
        self.starting: dict[Any, Any] = {}  # what is awaited: the actor
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, int]] = {}  # what is awaited: the actor and its item
        self.begun, self.most, self.failed_starts, self.told = 0, 0, 0, False
        self.stack = ExitStack()

    def __enter__(self) -> RayCrew:
        with ExitStack() as opening:  # closed at once where the start fails
            if self.address == LOCAL:
                self.ray = _start_here(self.size, opening)
            else:
                self.ray = _connect(self.address, self.insecure, opening)
            there = self.ray.cluster_resources()
            if self.all_cpus:
                self.size = max(1, min(self.size, int(there.get("CPU", 1))))
            gpus = share_gpus(self.size, int(there.get("GPU", 0)), self.device)
            self.options = {"num_cpus": 1, "max_restarts": 0} | ({"num_gpus": gpus.share} if gpus.sharing else {})
            here = place_here(self.size) if self.address == LOCAL else Place(os.getcwd(), 1)
            self.place = replace(here, sharing=max(1, gpus.sharing))
            self.stack = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for actor in [*self.idle, *self.starting.values(), *(actor for actor, _ in self.busy.values())]:
            self.ray.kill(actor)
        self.stack.close()
        if self.told and 0 < self.most < self.size:
            self.say(f"{self.most} of {self.size} Ray workers did all the work.")

    def give(self, index: int, item: Any) -> None:
        self.waiting.append((index, item))
        self._hand_out()

    def _hand_out(self) -> None:
        """Gives items to actors that have none, and starts actors for the others."""
        while self.waiting and self.idle:
            actor = self.idle.pop()
            index, item = self.waiting.popleft()
            self.busy[actor.work.remote(item)] = actor, index
        while len(self.starting) < len(self.waiting) and len(self.starting) + len(self.busy) < self.size:
            actor = self.ray.remote(**self.options)(Actor).remote(self.place)
            self.starting[actor.open.remote(version("medseg"), self.build)] = actor

    def wait(self) -> Iterator[tuple[int, Reply]]:
        while True:
            done = self.ray.wait([*self.busy, *self.starting], num_returns=1, timeout=PATIENCE_S)[0]
            if not done:
                self._tell_once()
                continue
            (awaited,) = done
            if awaited in self.starting:
                self._welcome(awaited)
                continue
            actor, index = self.busy.pop(awaited)
            try:
                reply: Reply = self.ray.get(awaited)
                self.idle.append(actor)
                self.failed_starts = 0
            except self.ray.exceptions.RayError as error:
                reply = Reply(lost=type(error).__name__, may_pass=True)
                self.begun -= 1
            self._hand_out()
            yield index, reply
            return

    def _welcome(self, awaited: Any) -> None:
        """Takes an actor that has begun, or counts it where it has died before."""
        actor = self.starting.pop(awaited)
        try:
            reply: Reply = self.ray.get(awaited)
        except self.ray.exceptions.RayError:
            self.failed_starts += 1
            if self.failed_starts >= MOST_FAILED_STARTS:
                raise WorkerError(f"{MOST_FAILED_STARTS} Ray workers in turn died before they began",
                                  do="Is medseg installed on the cluster's machines?") from None  # fmt: skip
        else:
            if reply.error is not None:
                self.ray.kill(actor)
                raise reply.error
            self.idle.append(actor)
            self.begun += 1
            self.most = max(self.most, self.begun)
        self._hand_out()

    def _tell_once(self) -> None:
        """Says that actors are waited for, when nothing has happened for a while."""
        if self.starting and not self.told:
            self.told = True
            self.say(f"{self.begun} of {self.size} Ray workers have begun; the others wait until the cluster has "
                     "room for them.")  # fmt: skip


class Actor:
    """What lives on the other side."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def open(self, wanted: str, build: Build[Any, Any]) -> Reply:
        """Says whether it has begun."""
        return attempt(self._open, wanted, build)

    def _open(self, wanted: str, build: Build[Any, Any]) -> None:
        if version("medseg") != wanted:
            raise WorkerError("another version of medseg on a machine of the cluster", expected=wanted,
                              got=version("medseg"))  # fmt: skip
        if not os.path.isdir(self.place.folder):
            raise WorkerError("the working folder is not there on a machine of the cluster",
                              do="Its machines need the same shared folders.")  # fmt: skip
        self.place.enter()
        self.call = built(build, self.place)

    def work(self, item: Any) -> Reply:
        return attempt(self.call, item)


def _start_here(workers: int, opening: ExitStack) -> Any:
    """Ray on this machine alone, its files in a folder that goes with it.

    Its token is told to nobody, so that other users of the machine cannot reach the workers.

    Raises:
        UsageError: Ray is not installed, was imported before, runs already, or listens to other machines all the same.
    """
    opening.enter_context(_environment(TELEMETRY | ALONE | {"RAY_AUTH_TOKEN": TOKEN}))
    ray = _silent(_imported_alone())
    folder = tempfile.mkdtemp(prefix="medseg-ray-")
    opening.callback(shutil.rmtree, folder, ignore_errors=True)
    opening.callback(ray.shutdown)
    ray.init(
        address=LOCAL,
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address=LOOPBACK,
        _temp_dir=folder,
    )
    if not ray.get_runtime_context().gcs_address.startswith(f"{LOOPBACK}:"):
        raise UsageError(
            "Ray listens to other machines", where="--ray", do="Use --jobs alone with this version of Ray."
        )
    return ray


def _connect(address: str, insecure: bool, opening: ExitStack) -> Any:
    """A cluster that runs already.

    Raises:
        UsageError: Ray is not installed; the cluster asks for no token, or cannot be reached.
    """
    opening.enter_context(_environment(TELEMETRY))
    ray = _silent(_imported())
    check_cluster(address, insecure=insecure)
    opening.callback(ray.shutdown)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError("the cluster does not answer", where="--ray", got=type(error).__name__,
                         do="Check the address, the token and Ray's version.") from error  # fmt: skip
    return ray


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError("Ray is not installed", where="--ray", do="pip install 'medseg[ray]'.") from error
    return ray


@cache
def _imported_alone() -> Any:
    """Ray, loaded under the variables that keep it to this machine: it reads them once, when it is loaded."""
    if sys.modules.get("ray") is not None:
        raise UsageError("Ray was imported before and would listen to other machines", where="--ray",
                         do="Leave out `import ray`: it is imported here, set to this machine alone.")  # fmt: skip
    return _imported()


def _silent(ray: Any) -> Any:
    """Ray, when it does not run yet; `log_to_driver` leaves it one voice, which writes of dead workers to stdout."""
    if ray.is_initialized():
        raise UsageError("Ray runs already in this process", where="--ray", do="Call ray.shutdown() first.")
    vars(sys.modules["ray._private.worker"])["_worker_logs_enabled"] = False  # the fleet itself tells of them
    return ray


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Variables for what is started in the block, as they were afterwards."""
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
