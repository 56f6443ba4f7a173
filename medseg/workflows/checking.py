"""`medseg check`: what a data set holds, everything that is wrong with it, and how to mend each fault."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from medseg.errors import ConfigError, LabelError, OutputExistsError
from medseg.files import write_text
from medseg.io import manifest
from medseg.io.manifest import Dataset
from medseg.report.doctor import TRUTH, CaseRow, CheckReport, Problem
from medseg.report.doctor_page import GENERATOR, check_page
from medseg.report.doctor_tables import render
from medseg.workflows.checking_case import Examined, examine_headers, examine_voxels
from medseg.workflows.checking_rules import comparison_problems, listing_problems

__all__ = ["TRUTH", "CaseRow", "CheckReport", "Problem", "check", "render"]

T = TypeVar("T")
R = TypeVar("R")
MOST_JOBS = 8  # a worker holds one case: a CT of 512 x 512 x 500 and two label maps take about 1 GB
OnCase = Callable[[int, int], None]


def check(
    dataset: Dataset | str | Path,
    *,
    deep: bool = False,
    html: str | Path | None = None,
    images: bool = True,
    jobs: int | None = None,
    on_case: OnCase = lambda done, total: None,
) -> CheckReport:
    """Lists what a data set holds and all that is wrong with it, not only the first fault.

    Files are judged by their headers; only `deep` reads voxels, and finds what headers cannot tell: damaged files,
    unknown values, empty labels, values that are no HU. The report's `looked_at` says which it was.

    A fault in `dataset.yaml` itself is a problem like any other, but then nothing else can be looked at.

    Args:
        dataset: a data set, its `dataset.yaml` or the folder that holds one.
        deep: read every voxel of every image and reading.
        html: a page to write the report to; an older page of a check is replaced.
        images: show each case in three planes on the page, when voxels are read: then it contains patient images.
        jobs: cases looked at at once, each by one thread; by default as many as processors, at most 8.
        on_case: called with (done, total) after each case.

    Raises:
        FileReadError: there is no `dataset.yaml`.
        OutputExistsError: `html` is a file of another kind; nothing has been read then.
        WriteError: the page could not be written.
    """
    if html is not None:
        _check_page_path(Path(html))
    try:
        dataset = dataset if isinstance(dataset, Dataset) else manifest.read_dataset(dataset)
    except (ConfigError, LabelError) as error:
        report = CheckReport({}, (), (), (Problem("error", "", str(error), "Mend it and check again."),))
        return _written(report, (), html)
    examined = _examine(dataset, deep, deep and images and html is not None, jobs, on_case)
    problems = [
        *listing_problems(dataset),
        *(problem for found in examined for problem in found.problems),
        *comparison_problems(dataset, examined),
    ]
    rows = tuple(found.row for found in examined)
    labels = dict(dataset.labels.values)
    report = CheckReport(labels, dataset.raters, rows, tuple(problems), _looked_at(examined, deep))
    return _written(report, examined, html)


def _examine(dataset: Dataset, deep: bool, draw: bool, jobs: int | None, on_case: OnCase) -> list[Examined]:
    def examine(entry: manifest.CaseEntry) -> Examined:
        return examine_voxels(dataset, entry, draw=draw) if deep else examine_headers(dataset, entry)

    return _each(examine, dataset.cases, jobs or min(os.cpu_count() or 1, MOST_JOBS), on_case)


def _each(work: Callable[[T], R], items: Sequence[T], jobs: int, on_item: OnCase) -> list[R]:
    """The results in the order of the items, made by `jobs` threads; what one raises stops the others."""
    pool = ThreadPoolExecutor(jobs)
    try:
        futures: list[Future[R]] = [pool.submit(work, item) for item in items]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            on_item(done, len(futures))
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _looked_at(examined: Sequence[Examined], deep: bool) -> str:
    count = f"{len(examined)} case{'' if len(examined) == 1 else 's'}"
    if not deep:
        return f"headers of {count}; --deep also reads the voxels"
    unread = sum(found.row.hu_range is None for found in examined)
    return f"voxels of {count}" + (f", {unread} of them without a readable image" if unread else "")


def _check_page_path(path: Path) -> None:
    if path.is_dir() or (path.exists() and GENERATOR.encode() not in path.read_bytes()[:2000]):
        raise OutputExistsError("the page would replace something that is no page of a check", where=path.name,
                                do="Choose another name for --html.")  # fmt: skip


def _written(report: CheckReport, examined: Sequence[Examined], html: str | Path | None) -> CheckReport:
    if html is not None:
        write_text(html, check_page(report, {found.row.case: found.views for found in examined if found.views}))
    return report
