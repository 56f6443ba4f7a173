"""`medseg preprocess`: a data set brought to a plan's grid once, so that training only reads patches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from medseg.config import write_config
from medseg.data.store import StoredCase, store_case
from medseg.data.store_disk import Layout, fits_in_memory, is_intact, read_facts, read_stored, write_stored
from medseg.errors import ConfigError, FileReadError, InputError, UsageError
from medseg.files import remove_leftovers, write_text
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, read_case
from medseg.preprocessing.plan import Plan, StageName
from medseg.workflows.fleet import Fleet
from medseg.workflows.plan_file import PlanFile, PlannedStage, read_plan
from medseg.workflows.readings import open_dataset
from medseg.workflows.telling import Progress

SCHEMA, STORE_FILE, PLAN_FILE, CASES = "medseg.store/1", "store.json", "plan.yaml", "cases"


@dataclass(frozen=True)
class StoreEntry:
    """One case of a store."""

    id: str
    patient: str
    group: str | None
    split: str | None


@dataclass(frozen=True)
class Store:
    """A preprocessed data set.

    Args:
        folder: of the store.
        plan: the grid and normalisation of all cases.
        labels: of the data set.
        raters: of the data set.
        cases: in the data set's order.
        anonymous: whether a rater's name is another person in every case.
        stage: of the plan file.
    """

    folder: Path
    plan: Plan
    labels: LabelSet
    raters: tuple[str, ...]
    cases: tuple[StoreEntry, ...]
    layout: Layout
    anonymous: bool = False
    stage: StageName = "full"

    def readers(self, case_id: str) -> tuple[str, ...]:
        """Who read a case; nobody where it is not finished."""
        facts = read_facts(self.folder / CASES / case_id)
        return () if facts is None else facts.raters

    def read(self, case_id: str) -> StoredCase:
        """A case whose voxels are read when they are asked for.

        Raises:
            FileReadError: it is not finished, or files are missing.
        """
        return read_stored(self.folder / CASES / case_id)


@dataclass(frozen=True)
class Standardise:
    """What a worker does with one case: read, standardise, write."""

    dataset: Dataset
    folder: Path
    plan: Plan
    layout: Layout
    digest: str
    entries: Mapping[str, CaseEntry] = field(default_factory=dict)

    def __call__(self) -> Callable[[str], str]:
        return self.one

    def one(self, case_id: str) -> str:
        """Writes the case and returns its id."""
        case = read_case(self.dataset, self.entries[case_id])
        stored = store_case(case, self.plan, "random")
        write_stored(self.folder / CASES / case_id, stored, self.layout, self.source(case_id))
        return case_id

    def finished(self, case_id: str) -> str | None:
        """The id of a case that was stored from these very files by this very plan, and is intact."""
        folder = self.folder / CASES / case_id
        facts = read_facts(folder)
        done = facts is not None and facts.source == self.source(case_id) and is_intact(folder, facts)
        return case_id if done else None

    def source(self, case_id: str) -> str:
        """Checksum of the plan, of size and time of the case's files, and of what its raters read."""
        entry = self.entries[case_id]
        files = [entry.image, *(path for reading in entry.raters.values() for path in reading.paths)]
        stamps = [f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in files if path.exists()]
        partly = [
            f"{name} {reading.labelled} {reading.slices_read}"
            for name, reading in entry.raters.items()
            if reading.labelled is not None or reading.slices_read is not None
        ]
        return hashlib.sha256("\n".join([self.digest, *stamps, *partly]).encode()).hexdigest()


def preprocess(
    dataset: str | Path,
    plan: str | Path | PlanFile,
    *,
    out: str | Path,
    stage: StageName = "full",
    layout: Literal["auto", "blosc2", "memmap"] = "auto",
    jobs: int = 1,
    ray: str | None = None,
    insecure_cluster: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
) -> Store:
    """Standardises every case of a data set and writes the store `out`; what is finished and intact is kept.

    Args:
        dataset: a `dataset.yaml` or its folder; every rater's labels are stored.
        plan: what `medseg plan` wrote.
        stage: whose grid: `full`, or `low` for the coarser stage of the plan.
        layout: `memmap` (uncompressed), `blosc2` (about a third), or `auto`: memmap where the store would take at most
            half of the free memory.
        jobs, ray, insecure_cluster: who does the work, see `fleet`.
        overwrite: do all cases again, also for another plan.

    Raises:
        ConfigError: the plan is of a data set with other labels, or has no low stage.
        UsageError: `out` holds a store of another plan and `overwrite` is not given.
        InputError: cases failed; all others are stored.
    """
    if layout not in ("auto", *get_args(Layout)):
        raise UsageError("unknown layout", where="--layout", expected="blosc2, memmap or auto", got=layout)
    if stage not in get_args(StageName):
        raise UsageError("unknown stage", where="--stage", expected="full or low", got=stage)
    data, found = open_dataset(dataset), plan if isinstance(plan, PlanFile) else read_plan(plan)
    check_labels(found, data.labels)
    wanted = found.plan(stage)
    folder = Path(out)
    _check_store(folder, wanted, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    entries = {entry.id: entry for entry in data.cases if entry.raters}
    chosen = fits_in_memory(
        _bytes(found.planned(stage), len(entries), len(data.raters)), psutil.virtual_memory().available
    )
    store = Store(folder, wanted, data.labels, data.raters, tuple(
        StoreEntry(e.id, e.patient, e.group, e.split) for e in entries.values()
    ), chosen if layout == "auto" else layout, data.anonymous, stage)  # fmt: skip
    work = Standardise(data, folder, wanted, store.layout, _digest(wanted, store), entries)
    fleet = Fleet(jobs=jobs, ray=ray, insecure_cluster=insecure_cluster)
    outcomes = fleet.map(
        work, list(entries), finished=None if overwrite else work.finished,
        on_done=lambda outcome, done, total: progress("Preprocessing", done, total, outcome.item),
    )  # fmt: skip
    if failed := [outcome for outcome in outcomes if outcome.error]:
        first = failed[0].error
        assert first is not None
        if len(failed) == len(outcomes):
            raise first
        raise InputError(
            f"{len(failed)} of {len(outcomes)} cases could not be preprocessed; the others are stored",
            where=", ".join(outcome.item for outcome in failed[:5]),
            got=str(first),
        ) from first
    write_config(folder / PLAN_FILE, found)
    write_text(folder / STORE_FILE, json.dumps(_plain(store), indent=1) + "\n")
    return store


def is_store(path: str | Path) -> bool:
    """Whether a folder holds a finished store."""
    return (Path(path) / STORE_FILE).is_file()


def open_store(folder: str | Path) -> Store:
    """The store in a folder; no voxel is read.

    Raises:
        FileReadError: there is none, or `store.json` is damaged.
    """
    folder = Path(folder)
    try:
        found = json.loads((folder / STORE_FILE).read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise ValueError("another schema")
        pairs = tuple((str(a), str(b)) for a, b in found["mirror_pairs"])
        labels = LabelSet({str(name): int(value) for name, value in found["labels"].items()}, pairs, found["ignore"])
        cases = tuple(StoreEntry(**case) for case in found["cases"])
        return Store(folder, Plan.model_validate(found["plan"]), labels, tuple(found["raters"]), cases, found["layout"],
                     bool(found.get("anonymous", False)), found.get("stage", "full"))  # fmt: skip
    except FileNotFoundError:
        raise FileReadError("no store here", where=folder.name, expected=STORE_FILE,
                            do="Run `medseg preprocess`, or again if it was cut off.") from None  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileReadError(f"damaged ({type(error).__name__})", where=STORE_FILE,
                            do="Run `medseg preprocess` again.") from None  # fmt: skip


def check_labels(plan: PlanFile, labels: LabelSet) -> None:
    """Refuses a plan that was made for other labels.

    Raises:
        ConfigError: names both label sets.
    """
    if plan.labels != dict(labels.values):
        raise ConfigError("a plan of another data set", where="plan", expected="labels " + ", ".join(labels.names),
                          got=", ".join(plan.labels), do="Run `medseg plan` on this data set.")  # fmt: skip


def _check_store(folder: Path, plan: Plan, overwrite: bool) -> None:
    if folder.is_file() or (folder.is_dir() and not (is_store(folder) or _is_begun(folder))):
        raise UsageError("the output folder holds something else", where=folder.name, do="Choose another --out.")
    if is_store(folder) and not overwrite and open_store(folder).plan != plan:
        raise UsageError("this is a store of another plan", where=folder.name,
                         do="Choose another --out, or pass --overwrite.")  # fmt: skip


def _is_begun(folder: Path) -> bool:
    """Whether the folder is empty, or a run that was cut off left finished cases and nothing else."""
    return {path.name for path in folder.iterdir()} <= {CASES, PLAN_FILE}


def _bytes(stage: PlannedStage, cases: int, raters: int) -> int:
    x, y, z = stage.median_shape
    return cases * x * y * z * (2 + raters)


def _digest(plan: Plan, store: Store) -> str:
    facts = {"plan": plan.model_dump(), "labels": dict(store.labels.values), "layout": store.layout}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _plain(store: Store) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "layout": store.layout,
        "plan": store.plan.model_dump(),
        "labels": dict(store.labels.values),
        "mirror_pairs": [list(pair) for pair in store.labels.mirror_pairs],
        "ignore": store.labels.ignore,
        "raters": list(store.raters),
        "anonymous": store.anonymous,
        "stage": store.stage,
        "cases": [entry.__dict__ for entry in store.cases],
    }
