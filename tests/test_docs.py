"""The examples of the documentation run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_examples_of_the_method_run() -> None:
    done = doctest.testfile(str(DOCS / "agreement.md"), module_relative=False)

    assert done.attempted > 10
    assert done.failed == 0
