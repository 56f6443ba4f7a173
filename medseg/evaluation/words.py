"""Numbers in sentences: counts with their noun in the right number, shares in per cent."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "case"), counted(24, "patient"), counted(0, "reader")
    ('1 case', '24 patients', '0 readers')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def were(number: int) -> str:
    """The verb after a count.

    >>> were(1), were(2)
    ('was', 'were')
    """
    return "was" if number == 1 else "were"


def percent(share: float, digits: int = 0) -> str:
    """A share in per cent.

    >>> percent(0.142), percent(0.0123, 1)
    ('14 %', '1.2 %')
    """
    return f"{100 * share:.{digits}f} %"
