"""Any bytes → a record and an action, or `BadInput`; guided by coverage.

`python -m tests.crash.fuzz_normalise CONFIG [OPTION…] CORPUS` runs until libFuzzer's options say
that it is enough. The first byte of an input chooses the source, the rest is the file.
"""

import contextlib
import json
import random
import sys
import time
from pathlib import Path

import atheris
import orjson

with atheris.instrument_imports(include=["spoold.strict_json", "spoold.sources", "spoold.routing"]):
    from spoold import routing, strict_json
    from spoold.cel.expression import Scope
    from spoold.config import configuration
    from spoold.errors import BadInput

    ROUTING = routing.load(configuration.load(Path(sys.argv.pop(1))))

from tests.crash.fuzz import mutated, typed, written

INBOXES = [ROUTING.inboxes[name] for name in sorted(ROUTING.inboxes)]
_SECONDS = 1.0


def normalise(data: bytes) -> None:
    """What intake does with a file, without the files."""
    inbox = INBOXES[data[0] % len(INBOXES)]
    document = strict_json.parse(data[1:], max_depth=inbox.table.max_depth)
    if typed(document) != typed(json.loads(data[1:])):
        raise AssertionError("another reader would understand it differently")
    found = inbox.read(document, "x.json", "")
    scope = Scope(found.as_dict())
    action = ROUTING.match(found, scope).render(found, scope)
    written = orjson.dumps(action.params)
    if typed(orjson.loads(written)) != typed(action.params):
        raise AssertionError("the action is not the same when it is read back")
    if action.route.startswith("all-") and typed(action.params["body"]["all"]) != typed(found.body):
        raise AssertionError("an expression sees something else")


def test_one_input(data: bytes) -> None:
    """Nothing but `BadInput` may come out, and soon."""
    if not data:
        return
    start = time.process_time()
    try:
        normalise(data)
    except BadInput as problem:
        if not problem.what.isprintable():
            raise AssertionError("the message could steer a terminal") from problem
    if time.process_time() - start > _SECONDS:
        raise AssertionError("it took too long")


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Another input: half of them still JSON, so that they get behind the parser."""
    chance = random.Random(seed)
    with contextlib.suppress(ValueError, RecursionError):
        if chance.random() < 0.5:
            made = data[:1] + written(mutated(json.loads(data[1:]), chance), chance)
            if len(made) <= max_size:
                return made
    return bytes(atheris.Mutate(data, max_size))


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input, custom_mutator=mutate)
    atheris.Fuzz()
