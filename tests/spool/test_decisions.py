"""Which of the decisions about a request goes with a yes."""

import os

import orjson
import pytest

from spoold.spool.decisions import Said, decision_for, user_name
from spoold.spool.spool import Spool
from spoold.states import Role

ID, MOVED_AT = "dispatch-20260101T000000Z-any-00000000", 1_800_000_000.0
YES = {"dispatch_id": ID, "decision": "approve", "reason": "CHG-1"}


@pytest.mark.parametrize(
    ("decisions", "moved_at", "note"),
    [
        ([(YES, 0)], MOVED_AT, "CHG-1"),
        ([(YES, 0), (YES | {"reason": "CHG-2"}, 1)], MOVED_AT, "CHG-2"),
        ([(YES, -3600)], 0, "CHG-1"),
        ([("{", 0), (YES, 0)], MOVED_AT, "CHG-1"),
        ([([], 0), (YES, 0)], MOVED_AT, "CHG-1"),
        ([(YES, -3600)], MOVED_AT, None),
        ([(YES, 3600)], MOVED_AT, None),
        ([(YES | {"decision": "reject"}, 0)], MOVED_AT, None),
        ([(YES, 0), (YES | {"decision": "hold"}, 1)], MOVED_AT, None),
        ([(YES, 0), (YES | {"decision": "too-late"}, 1)], MOVED_AT, "CHG-1"),
        ([(YES | {"dispatch_id": "another"}, 0)], MOVED_AT, None),
        ([], MOVED_AT, None),
    ],
    ids=["one", "the last", "time of the move is lost", "after half a file", "after no object",
         "older", "newer", "a no", "taken back since", "taken back too late",
         "of another request", "none"],
)  # fmt: skip
def test_a_yes_has_the_decision_that_was_written_with_it(tmp_path, decisions, moved_at, note):
    """The last that approves this request and is of the time of the move; its owner said it."""
    spool = Spool(str(tmp_path), Role.GATE)
    (tmp_path / "approvals").mkdir()
    for number, (content, seconds) in enumerate(decisions, 1):
        file = tmp_path / "approvals" / f"{ID}.{number}.json"
        file.write_bytes(content.encode() if isinstance(content, str) else orjson.dumps(content))
        os.utime(file, (MOVED_AT + seconds,) * 2)
    said = Said(user_name(os.getuid()), note, None) if note else None
    assert decision_for(spool, ID, moved_at) == said
