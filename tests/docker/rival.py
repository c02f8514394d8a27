"""A process of its own that creates containers: `rival.py`, with what to do as JSON on stdin.

It says `ready`, waits for a line, creates all customers at once, and prints how each ended.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.docker.yard import Yard


def main() -> None:
    """Do it."""
    given = json.loads(sys.stdin.readline())
    yard = Yard(Path(given["folder"]), given["table"]["engine"], "", 0, 0)
    config = yard.config(**given["table"])
    print("ready", flush=True)
    sys.stdin.readline()

    def create(customer: str) -> dict[str, object]:
        dispatch = f"{given['dispatch']}-{customer}"
        ended = yard.go("create", customer, dispatch=dispatch, config=config, **given["params"])
        port = ended.details.get("port")
        said = {"customer": customer, "code": ended.code, "port": port}
        return {**said, "summary": ended.summary}

    with ThreadPoolExecutor(8) as pool:
        print(json.dumps(list(pool.map(create, given["customers"]))))
    yard.api.close()


if __name__ == "__main__":
    main()
