"""What a stage says: lines of JSON for machines, short ones for people."""

import io
import json
import logging

import pytest

from spoold.service import log_format


@pytest.fixture
def logging_to(monkeypatch):
    """Makes the process log to a stream, as JSON or for a person."""
    log = logging.getLogger("spoold")
    before = (log.handlers[:], log.level, log.propagate)

    def start(out, *, as_json):
        monkeypatch.setattr(log_format.sys, "stderr", out)
        log_format.log_to_stderr(as_json=as_json)
        return log

    yield start
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture
def logged(logging_to):
    """The log lines of this test, as data."""
    raw = io.BytesIO()
    logging_to(io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", write_through=True),
               as_json=True)  # fmt: skip
    return lambda: [json.loads(line) for line in raw.getvalue().splitlines()]


def test_every_line_is_json_and_tells_of_which_request(lab, logged):
    """Each line of a run has time, level, stage and message, and the request's id."""
    lab.drop("decisions", "c.json", {"decision_id": "c-1", "decision_type": "cutover"})
    lab.drain()
    made = lab.only("awaiting-approval").stem
    lab.approve()
    lab.drain()
    lines = logged()
    assert len(lines) >= 4
    for line in lines:
        assert {"at", "level", "stage", "message"} <= line.keys()
        assert line["stage"] in ("intake", "gate", "execute", "sweep", "service")
    about = {line["stage"] for line in lines if line.get("dispatch_id") == made}
    assert about >= {"intake", "gate", "execute"}


def test_a_log_line_is_one_line_whatever_is_logged(lab, logged):
    """Line breaks, other scripts, broken names and traces are inside one line of JSON."""
    handler = logging.getLogger("spoold").handlers[0]
    error = ValueError("x\ny")
    for more in (
        {"msg": "a\nb %s", "args": ("é\u2028",), "file": "\x1b[31m"},
        {"msg": "odd %s", "args": ("\udcff",)},
        {"msg": "it failed", "exc_info": (ValueError, error, None)},
    ):
        # Past the loggers: a test's own report could not hold the second one.
        handler.emit(
            logging.makeLogRecord({"name": "spoold.x", "levelname": "INFO", "levelno": 20, **more})
        )
    lines = logged()
    assert len(lines) == 3
    assert lines[0]["message"] == "a\nb é\u2028"
    assert "ValueError" in lines[2]["exc_info"]


def test_a_quarantined_drop_is_logged_with_its_code(lab, logged):
    """What went wrong can be found by its code, source and file."""
    lab.drop("decisions", "bad.json", b'{"a": NaN}')
    lab.drain()
    (line,) = [line for line in logged() if line["level"] == "WARNING"]
    assert (line["code"], line["source"], line["file"]) == ("not-a-number", "decisions", "bad.json")


def test_lines_for_a_person_are_short_and_indented(logging_to):
    """At a terminal: time, stage, level if it matters, request, message; the rest indented."""
    out = io.StringIO()
    log = logging_to(out, as_json=False)
    log.getChild("gate").info("passed", extra={"dispatch_id": "dispatch-1"})
    log.getChild("gate").warning("one\ntwo")
    first, second, third = out.getvalue().splitlines()
    assert (first[8:], second[8:], third) == (
        " gate    dispatch-1: passed", " gate    WARNING one", "  two",
    )  # fmt: skip
