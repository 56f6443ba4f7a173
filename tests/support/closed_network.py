"""A Python process that may reach nobody but itself: what it tries all the same is refused and written down.

An audit hook sees every connection and look-up that Python code makes, whichever library makes it, and cannot be taken
out again; forks inherit it. What compiled code connects by itself, such as Ray's, it does not see.
"""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Any

EVENTS = ("connect", "bind", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr")


def close(log: Path) -> None:
    """Closes the network for this process; each attempt adds a line to `log`."""
    events = {f"socket.{name}" for name in EVENTS}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in events and not stays_here(event, arguments):
            with open(log, "a", encoding="utf-8") as stream:
                stream.write(f"{event} {arguments[-1] if event.endswith('to') else arguments[:2]}\n")
            raise PermissionError("the network is closed")

    sys.addaudithook(watch)


def stays_here(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a call reaches no further than this machine.

    >>> stays_here("socket.getaddrinfo", ("127.0.0.1", 80)), stays_here("socket.gethostbyname", ("example.org",))
    (True, False)
    """
    looks_up = event.rpartition(".")[2].startswith("get")
    address = arguments[0] if looks_up else arguments[1]
    if not looks_up and (address is None or isinstance(address, str | bytes)):
        return True  # a socket that is connected already, or one of this machine's file system
    host = address if looks_up else address[0]
    try:
        return host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
