"""Whether a Ray cluster may be used: only one that turns away whoever has no token.

Ray's token is a secret that all machines of a cluster share (`ray get-auth-token --generate`, then RAY_AUTH_MODE=token
on every machine before `ray start`); whoever reaches a cluster without one can run any code on it.
See https://docs.ray.io/en/latest/ray-security/token-auth.html. The variables are Ray's own, it takes no others.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

from medseg.errors import UsageError

PLAIN = re.compile(r"[\w.\-\[\]:]+:\d{1,5}")
CLIENT = "ray://"
TURNED_AWAY = ("InvalidAuthToken", "Unauthenticated", "AuthenticationError")
PROBE_S = 60.0
CONNECT = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
DO = "Start it with RAY_AUTH_MODE=token and set the same here with its token (RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token)"


def check_cluster(address: str, *, insecure: bool, environment: Mapping[str, str] = os.environ) -> None:
    """Refuses a cluster that is no address, asks for no token, or whose token is not here.

    The cluster is asked once without a token, in a process of its own, because Ray keeps to its first answer.

    Args:
        insecure: use it all the same.

    Raises:
        UsageError: see above, or it cannot be reached.
    """
    if PLAIN.fullmatch(address.removeprefix(CLIENT)) is None:
        raise UsageError("no address of a cluster", where="--ray", expected="local, HOST:PORT or ray://HOST:PORT",
                         got=repr(address))  # fmt: skip
    if insecure:
        return
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        raise UsageError("a cluster without token authentication", where="--ray", expected="RAY_AUTH_MODE=token",
                         do=f"{DO}, or pass --insecure-cluster.")  # fmt: skip
    answer = _asked_without_token(address, environment)
    if answer is None:
        raise UsageError("the cluster lets in whoever asks", where="--ray", expected="token authentication",
                         do=f"{DO}, or pass --insecure-cluster.")  # fmt: skip
    if not any(word in answer for word in TURNED_AWAY):
        raise UsageError("the cluster does not answer", where="--ray", do="Check the address and Ray's version.")


def _asked_without_token(address: str, environment: Mapping[str, str]) -> str | None:
    """What the cluster says to one who has no token; None when it lets them in."""
    bare = {key: value for key, value in environment.items() if not key.startswith("RAY_AUTH_")}
    bare |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    health = ["-m", "ray.scripts.scripts", "health-check", "--address", address]
    question = ["-c", CONNECT, address] if address.startswith(CLIENT) else health
    try:
        done = subprocess.run([sys.executable, *question], env=bare, capture_output=True, text=True, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        return ""
    return None if done.returncode == 0 else done.stdout + done.stderr
