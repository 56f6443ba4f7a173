"""`medseg preprocess`: a data set brought to a plan's grid once, so that training only reads patches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from medseg.config import write_config
from medseg.data.folds import check_test_set
from medseg.data.store import StoredCase, store_case, with_facts
from medseg.data.store_disk import (
    CASE_FILE,
    Layout,
    StoredFacts,
    fits_in_memory,
    is_intact,
    read_facts,
    read_stored,
    write_stored,
)
from medseg.errors import FileReadError, InputError, MedsegError, UsageError
from medseg.files import LEFTOVER, MARKER, remove_leftovers, write_text
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, read_case
from medseg.io.readers import find_reader
from medseg.preprocessing.plan import Moments, Plan, StageName
from medseg.workflows.fleet import Fleet
from medseg.workflows.fleet_outcomes import Outcome
from medseg.workflows.plan_data import case_codes, check_plan, is_other, shared
from medseg.workflows.plan_file import PlanFile, PlannedStage, read_plan
from medseg.workflows.readings import open_dataset
from medseg.workflows.run_lock import locked_folder
from medseg.workflows.telling import Progress, Say

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

    def labelled_hu(self, case_id: str) -> Moments | None:
        """Of a case's labelled voxels within the window; None in a store of an older version."""
        facts = read_facts(self.folder / CASES / case_id)
        return None if facts is None else facts.labelled_hu

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
    codes: Mapping[str, str] = field(default_factory=dict)

    def __call__(self) -> Callable[[str], str]:
        return self.one

    def one(self, case_id: str) -> str:
        """Writes the case and returns its id."""
        source = self.source(case_id)  # first: files that change while they are read make the case one to do again
        case = read_case(self.dataset, self.entries[case_id])
        stored = with_facts(store_case(case, self.plan, "random"), case, self.plan)
        write_stored(self.folder / CASES / case_id, stored, self.layout, source, self.codes.get(case_id))
        return case_id

    def finished(self, case_id: str) -> str | None:
        """The id of a case that was stored from these very files by this very plan, and is intact."""
        folder = self.folder / CASES / case_id
        facts = read_facts(folder)
        if facts is None or facts.raters != readers_of(self.entries[case_id]):
            return None
        try:
            source = self.source(case_id)
        except MedsegError:  # told where the case is read, and there it costs itself alone
            return None
        return case_id if facts.source == source and is_intact(folder, facts) else None

    def source(self, case_id: str) -> str:
        """Checksum of the plan, of size and time of the case's files, and of how image and readings are read.

        Of a DICOM series every file counts.
        """
        entry = self.entries[case_id]
        where, options = f"case {case_id}", entry.image_options.reading
        chosen = {"series": options["series"]} if "series" in options else {}
        images = find_reader(entry.image, where=where).files(entry.image, where=where, **chosen)
        labels = [path for reading in entry.raters.values() for path in reading.paths]
        stamps = [image.stamp() for image in images]
        stamps += [f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in labels if path.exists()]
        partly = [
            f"{name} {reading.labelled} {reading.slices_read}"
            for name, reading in entry.raters.items()
            if reading.labelled is not None or reading.slices_read is not None
        ]
        partly += [f"{name} masks {list(each.masks)}" for name, each in entry.raters.items() if each.masks]
        partly += [f"image {options}"] if options else []
        return hashlib.sha256("\n".join([self.digest, *stamps, *partly]).encode()).hexdigest()


def readers_of(entry: CaseEntry) -> tuple[str, ...]:
    """Who read a case, in the data set's order."""
    return tuple(name for name, file in entry.raters.items() if file.labelled != ())


def preprocess(
    dataset: str | Path,
    plan: str | Path | PlanFile,
    *,
    out: str | Path,
    stage: StageName = "full",
    layout: Literal["auto", "blosc2", "memmap"] = "auto",
    jobs: int | None = 1,
    ray: str | None = None,
    insecure_cluster: bool = False,
    overwrite: bool = False,
    other_data: bool = False,
    say: Say = lambda text: None,
    progress: Progress = lambda what, done, total, note: None,
) -> Store:
    """Standardises every case of a data set and writes the store `out`; what is finished and intact is kept.

    Args:
        dataset: a `dataset.yaml` or its folder; every rater's labels are stored.
        plan: what `medseg plan` wrote.
        stage: whose grid: `full`, or `low` for the coarser stage of the plan.
        layout: `memmap` (uncompressed), `blosc2` (about a third), or `auto`: that of the cases that are there, else
            memmap where the store would take at most half of the free memory.
        jobs, ray, insecure_cluster: who does the work, see `fleet`.
        overwrite: do all cases again, also for another plan or data set.
        other_data: the plan may be of another data set.
        say: called with sentences worth reading.

    Raises:
        ConfigError: the plan is of another data set and `other_data` is not given, or it has no low stage.
        UsageError: `out` holds a store of another plan or data set and `overwrite` is not given, or another
            preprocessing writes there.
        InputError: a patient is in the test set and outside of it, or cases failed; all others are stored.
    """
    if layout not in ("auto", *get_args(Layout)):
        raise UsageError("unknown layout", where="--layout", expected="blosc2, memmap or auto", got=layout)
    if stage not in get_args(StageName):
        raise UsageError("unknown stage", where="--stage", expected="full or low", got=stage)
    data, found = open_dataset(dataset), plan if isinstance(plan, PlanFile) else read_plan(plan)
    entries = {entry.id: entry for entry in data.cases if entry.raters}
    learned = {case_id for case_id, entry in entries.items() if entry.split != "test"} or set(entries)
    check_test_set(data.cases, (case_id for case_id in learned if entries[case_id].split != "test"))
    codes = case_codes(data, entries.values())
    check_plan(found, data.labels, {case_id: code for case_id, code in codes.items() if case_id in learned},
               other_data=other_data, flag="--other-data", say=say)  # fmt: skip
    found.planned(stage)
    folder = Path(out)
    _check_folder(folder)
    fleet = Fleet(jobs=jobs, ray=ray, insecure_cluster=insecure_cluster)
    with locked_folder(folder, say=say, work="preprocessing"):
        remove_leftovers(folder)
        _check_store(folder, found.plan(stage), codes, overwrite, say)
        store = _store(folder, data, entries, found, stage, None if layout == "auto" else layout)
        work = Standardise(data, folder, store.plan, store.layout, _digest(store), entries, codes)
        outcomes = fleet.map(
            work, list(entries), finished=None if overwrite else work.finished,
            on_done=lambda outcome, done, total: progress("Preprocessing", done, total, outcome.item),
        )  # fmt: skip
        _refuse_failed(outcomes)
        write_config(folder / PLAN_FILE, found)
        write_text(folder / STORE_FILE, json.dumps(_plain(store), indent=1) + "\n")
    return store


def _store(
    folder: Path, data: Dataset, entries: Mapping[str, CaseEntry], plan: PlanFile, stage: StageName,
    layout: Layout | None,
) -> Store:  # fmt: skip
    """What is to be written. Without a layout, that of the cases there is kept: free memory varies."""
    if layout is None:
        needed = _bytes(plan.planned(stage), len(entries), len(data.raters))
        layout = _layout_there(folder) or fits_in_memory(needed, psutil.virtual_memory().available)
    listed = tuple(StoreEntry(e.id, e.patient, e.group, e.split) for e in entries.values())
    return Store(folder, plan.plan(stage), data.labels, data.raters, listed, layout, data.anonymous, stage)


def _refuse_failed(outcomes: Sequence[Outcome[str, str]]) -> None:
    """Raises what went wrong, if anything did."""
    if failed := [outcome for outcome in outcomes if outcome.error]:
        first = failed[0].error
        assert first is not None
        if len(failed) == len(outcomes):
            first.outcomes = outcomes
            raise first
        error = InputError(
            f"{len(failed)} of {len(outcomes)} cases could not be preprocessed; the others are stored",
            where=", ".join(outcome.item for outcome in failed[:5]),
            got=str(first),
        )
        error.outcomes = outcomes
        raise error from first


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


def _check_folder(folder: Path) -> None:
    """Refuses a folder that is neither new, nor a store, nor one that was begun."""
    if folder.is_file() or (folder.is_dir() and not (is_store(folder) or _is_begun(folder))):
        raise UsageError("the output folder holds something else", where=folder.name, do="Choose another --out.")


def _check_store(folder: Path, plan: Plan, codes: Mapping[str, str], overwrite: bool, say: Say) -> None:
    """Refuses a store of another plan or data set, unless it is to be replaced."""
    if overwrite:
        return
    if is_store(folder) and open_store(folder).plan != plan:
        raise UsageError("this is a store of another plan", where=folder.name,
                         do="Choose another --out, or pass --overwrite.")  # fmt: skip
    there = list(_finished(folder))
    known = [facts.code for facts in there if facts.code]
    if len(known) < len(there):
        say("An older version wrote the store, which does not say of which data set it is: make sure that it is of "
            "this one; --overwrite brings it up to date.")  # fmt: skip
    if is_other(known, codes.values()):
        same = shared(known, codes.values())
        raise UsageError("this is a store of another data set", where=folder.name,
                         got=f"{same} of its {len(known)} cases are among the {len(codes)} here",
                         do="Choose another --out, or pass --overwrite.")  # fmt: skip


def _finished(folder: Path) -> Iterator[StoredFacts]:
    """What is known of each finished case."""
    for file in sorted(folder.glob(f"{CASES}/*/{CASE_FILE}")):
        if (facts := read_facts(file.parent)) is not None:
            yield facts


def _layout_there(folder: Path) -> Layout | None:
    """The layout of the cases there; None where none is finished."""
    return next((facts.layout for facts in _finished(folder)), None)


def _is_begun(folder: Path) -> bool:
    """Whether the folder is empty, or holds nothing but what a run leaves that was cut off."""
    names = {path.name for path in folder.iterdir()}
    return {name for name in names if not LEFTOVER.fullmatch(name)} <= {CASES, PLAN_FILE, MARKER}


def _bytes(stage: PlannedStage, cases: int, raters: int) -> int:
    x, y, z = stage.median_shape
    return cases * x * y * z * (2 + raters)


def _digest(store: Store) -> str:
    facts: dict[str, Any] = {
        "plan": store.plan.model_dump(), "labels": dict(store.labels.values), "layout": store.layout
    }  # fmt: skip
    if store.labels.ignore is not None:
        facts["ignore"] = store.labels.ignore
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
