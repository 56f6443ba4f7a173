"""Loops in machine code, for what no library has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function in machine code, kept on disk where Python may write, free of the interpreter's lock while it runs.

    No fast-math: sums keep their order, so results are the same on every number of threads.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written to
        return cast(F, numba.njit(**options)(function))
