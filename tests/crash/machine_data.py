"""What comes into a spool and what is done to it there: the material of the machine's rules."""

import json
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import strategies as st

from tests.crash.machine_files import SOURCE

INBOX, QUARANTINE = f"inbox/{SOURCE}", f"quarantine/{SOURCE}"
#: Where the files lie that a stage has claimed.
CLAIMED = (f"archive/{SOURCE}/.taking", "checking", "checking/pre-approved", "running/rec",
         "running/other")  # fmt: skip
#: Where those are that a person can still say yes to.
OPEN = ("awaiting-approval", "approved", "held")
#: Where a request goes to come to the gate, or to be decided anew.
DOORS = ("approved", "pre-approved", "awaiting-approval")
#: Where the decided ones are.
DECIDED = ("rejected", "expired", "held",
           *(f"{folder}/{name}" for folder in ("held", "unknown", "done", "failed")
             for name in ("rec", "other")))  # fmt: skip
VERBS = ("approve", "reject", "hold", "release", "cancel", "retry", "resolve")
#: Seconds by which a clock can jump.
JUMPS = (-7200, -30, 1, 11, 30, 3600, 9000)

#: Chooses one of a number of things that is not known yet.
ANY = st.integers(0, 9999)
#: The number of the change before which a process dies; every step has the small ones.
AT = st.integers(1, 12) | st.integers(1, 60)
#: The number of the call before which a person acts; looks count too.
AMID = st.integers(1, 40) | st.integers(1, 160)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
SAY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
).filter(lambda say: say != "no")

#: Names that no producer should give.
ODD = ("-x.json", "a\nb.json", "x" * 240 + ".json", "\udcff.json", "x.reason.json", "x",
       ".hidden.json", "token-1.json")  # fmt: skip


def record(token: str, key: str, route: str, about: str, say: Any) -> bytes:
    """A good drop."""
    fields = {"nonce": token, "decision_id": key, "decision_type": route, "about": about,
              "say": say}  # fmt: skip
    return json.dumps(fields).encode()


#: A reason's code → a drop that gets it.
BAD: dict[str, Callable[[str], bytes]] = {
    "not-json": lambda t: f'{{"nonce": "{t}", oops}}'.encode(),
    "truncated": lambda t: f'{{"nonce": "{t}", "decision_type": '.encode(),
    "empty": lambda _: b"",
    "not-utf8": lambda t: f'{{"nonce": "{t}\xff"}}'.encode("latin-1"),
    "not-an-object": lambda t: f'["{t}"]'.encode(),
    "duplicate-key": lambda t: f'{{"nonce": "{t}", "nonce": "{t}"}}'.encode(),
    "nul-character": lambda t: f'{{"nonce": "{t}", "decision_type": "a\\u0000"}}'.encode(),
    "number-out-of-range": lambda t: f'{{"nonce": "{t}", "n": {2**70}}}'.encode(),
    "too-deep": lambda t: f'{{"nonce": "{t}", "n": {"[" * 99}{"]" * 99}}}'.encode(),
    "no-route": lambda t: record(t, t, "nobody", "a", 1),
    "bad-record": lambda t: f'{{"nonce": "{t}"}}'.encode(),
    "params-refused": lambda t: record(t, t, "plain", "a", "no"),
    "route-error": lambda t: f'{{"nonce": "{t}", "decision_type": "plain"}}'.encode(),
}

#: What a person writes into a request, spelled as spoold would have spelled it.
_FORGED: dict[str, Any] = {
    "params": {"say": "something else"},
    "executor": "other",
    "route": "auto",
    "requires_approval": False,
    "status": "queued",
    "attempts": [],
    "approvals": [],
    "result": None,
    "supersedes": ["dispatch-20200101T000000Z-plain-00000000"],
}


def _forge(data: bytes, key: str) -> bytes:
    try:
        fields = orjson.loads(data) | {key: _FORGED[key]}
    except (ValueError, TypeError):
        return data
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


#: Ways in which a person changes a request's text.
EDITS: dict[str, Callable[[bytes], bytes]] = {
    "append": lambda data: data + b"\n",
    "cut": lambda data: data[: len(data) * 2 // 3],
    "empty": lambda _: b"",
    **{key: lambda data, key=key: _forge(data, key) for key in _FORGED},
}
