"""How a workflow tells its caller what it does."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]  # a sentence worth reading
Progress = Callable[[str, int, int, str], None]  # what, done, total, note
