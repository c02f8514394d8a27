"""spoold, killed with SIGKILL at one of its calls to the engine: `killed.py MOMENT NUMBER ARG…`.

MOMENT is `before` any call, or `during` one that changes something: sent, and not yet answered.
"""

import http.client
import os
import signal
import sys
from typing import Any

import requests

from spoold.cli import main


def _arm(moment: str, number: int) -> None:
    seen = 0
    send, getresponse = requests.Session.send, http.client.HTTPConnection.getresponse

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(session: requests.Session, request: Any, **options: Any) -> requests.Response:
        nonlocal seen
        if moment == "before" or request.method != "GET":
            seen += 1
        if moment == "before" and seen == number:
            die()
        return send(session, request, **options)

    def answered(connection: http.client.HTTPConnection, *given: Any, **options: Any) -> Any:
        if moment == "during" and seen == number:
            die()
        return getresponse(connection, *given, **options)

    requests.Session.send = counted  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = answered  # type: ignore[method-assign]


if __name__ == "__main__":
    _arm(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    main()
