"""What the fuzzers share: the example configuration with routes that take everything, and seeds."""

import copy
import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
#: Real records, and more of them where a checkout lies beside a collection.
SEEDS = (CHECKOUT / "tests/records", CHECKOUT.parent / "shared/samples")

#: Behind the example's own routes: the record as it is, and what authors typically write.
ROUTES = {
    "80-typical.toml": """
        name = "typical"
        source = "webhooks"
        match = '''
          record.facts.?action.orValue("") == "opened"
          || record.headers.exists(name, name.startsWith("x-") && record.headers[name] == "push")
          || record.body.?ref.orValue("").matches("^refs/(heads|tags)/[a-z0-9._/-]{1,40}$")'''
        executor = "platform"
        target_ref = '''=
          record.facts.?repo.orValue("") + "#" + string(record.facts.?number.orValue(0))'''
        intent_key = "record.type + record.facts.?ref.orValue('')"
        [params.body]
        labels = '''=
          record.facts.?labels.orValue([]).filter(x, x.matches("^[a-z]+-")).map(x, "l:" + x)'''
        title = "=record.facts.?title.orValue('').replace('\\\\n', ' ')"
        """,
    **{
        f"90-{source}.toml": f"""
            name = "all-{source}"
            source = "{source}"
            match = "true"
            executor = "platform"
            [params.body]
            all = "=record.body"
            facts = "=record.facts"
            """
        for source in ("decisions", "webhooks", "tasks")
    },
}

#: What a stranger puts where a name, a number or a list is expected.
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.0, -0.0, 1e300, 1e-300, 2**63 - 1, -(2**63), 2**53 + 1),
    *("", " ", "None", "null", "true", "0", "[]", "{}", "NaN", "-1", "1e5", "9" * 19, "9" * 40),
    *("\0", "go\0away", "\x1b[2J", "\x9b31m", "\u202egnp.exe", "\u2028", "\ufeff", "\uffff"),
    *("../../etc/passwd", "a/b", "..", "$(id)", "`id`", "%s%n", "{{7*7}}", "=1+1", "'; --", "-rf"),
    *(
        "x" * 2000,
        "é" * 500,
        "\U0001f600" * 200,
        "a" * 1023 + "b",
        "[" * 300,
        '"' * 300,
        "\\" * 300,
    ),
    *([], {}, [[]], [None], {"": None}, {"id": {"id": {"id": []}}}, [[[[[[[[[[[[0]]]]]]]]]]]]),
    *({"__proto__": {}, "constructor": 1}, ["ready"] * 300, [{"name": "x"}] * 200, [0] * 600),
    *({str(number): number for number in range(300)}, {"a": "b", "A": "b", " a ": "b"}),
)


def configure(folder: Path) -> Path:
    """The example configuration in `folder`, with more routes; returns its file."""
    shutil.copytree(CHECKOUT / "config", folder / "config")
    for name, text in ROUTES.items():
        (folder / "config/routes.d" / name).write_text(text, encoding="utf-8")
    return folder / "config/spoold.toml"


def seeds() -> Iterator[bytes]:
    """The content of every real record."""
    for folder in SEEDS:
        for path in sorted(folder.rglob("*.json")):
            yield path.read_bytes()


def typed(value: Any) -> Any:
    """The value with the type of every number, so that 1, 1.0 and true differ, and 0.0 and -0.0."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return type(value), math.copysign(1, value) if isinstance(value, float) else 0, value


def mutated(document: Any, chance: random.Random) -> Any:
    """A copy with something hostile in one or a few places, or with parts in the wrong place."""
    found = copy.deepcopy(document)
    for _ in range(chance.choice((1, 1, 2, 5))):
        holders = [(h, key) for h in _containers(found) for key in _keys(h)]
        if not holders:
            break
        holder, key = chance.choice(holders)
        other, there = chance.choice(holders)
        match chance.randrange(6):
            case 0 | 1 | 2:
                holder[key] = copy.deepcopy(chance.choice(HOSTILE))
            case 3:
                holder[key] = copy.deepcopy(other[there])
            case 4:
                del holder[key]
            case 5 if isinstance(holder, dict):
                holder[str(chance.choice((there, "None", "", "__proto__", "go\0away")))] = holder[
                    key
                ]
    return found


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


def _keys(holder: Any) -> Iterator[Any]:
    yield from holder if isinstance(holder, dict) else range(len(holder))


#: Members that make a document one that no reader may take, each in its own way.
_BAD = (
    *('"a":1,"a":2,', r'"a":1,"\u0061":2,', '"n":1e400,', '"n":18446744073709551615,', '"n":NaN,'),
    *(r'"s":"\ud800",', '"n":01,', ",", "[", "// x\n", "'a':1,"),
)


def written(document: Any, chance: random.Random) -> bytes:
    """The document in one of the spellings that JSON has, and sometimes in one that it has not."""
    text = json.dumps(
        document,
        ensure_ascii=chance.random() < 0.5,
        indent=chance.choice((None, None, 1)),
        separators=chance.choice((None, (",", ":"))),
    )
    if chance.random() < 0.1 and "{" in text:
        at = chance.choice([at for at, mark in enumerate(text) if mark == "{"]) + 1
        text = text[:at] + chance.choice(_BAD) + text[at:]
    return text.encode()
