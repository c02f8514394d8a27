"""Log records → JSON lines for machines, or one short line for a person at a terminal."""

import json
import logging
import sys
import time
from typing import Any

import orjson
from pythonjsonlogger.core import BaseJsonFormatter

from spoold.capture import escaped, printable


def log_to_stderr(*, as_json: bool) -> None:
    """Set up logging of the whole process."""
    handler = logging.StreamHandler(sys.stderr)
    if as_json:
        fields = "%(asctime)s %(levelname)s %(name)s %(message)s"
        names = {"asctime": "at", "levelname": "level", "name": "stage"}
        handler.setFormatter(_Json(fields, rename_fields=names))
    else:
        handler.setFormatter(_Line())
    root = logging.getLogger("spoold")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False
    # What no line shows need not be found out for each: who called, from which thread.
    logging._srcfile = None  # noqa: SLF001 - as logging's documentation says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _stage(record: logging.LogRecord) -> str:
    return record.name.rpartition(".")[2]


class _Json(BaseJsonFormatter):
    """`{"at": …, "level": …, "stage": "intake", "message": …, "dispatch_id": …}`."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """The stage is the last part of the logger's name."""
        log_data["stage"] = log_data["stage"].rpartition(".")[2]
        return log_data

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """One line, whatever characters a stranger's file name has."""
        try:
            line = orjson.dumps(log_data, default=str).decode()
        except TypeError:
            line = json.dumps(log_data, default=str)
        return escaped(line)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """UTC, in the form that request files have."""
        del datefmt
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{at}.{int(record.msecs):03d}Z"


class _Line(logging.Formatter):
    """`13:05:01 intake  dispatch-…: message`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and what follows from an exception indented below it."""
        about = record.__dict__.get("dispatch_id") or record.__dict__.get("file")
        message = record.getMessage()
        subject = f"{about}: " if about and str(about) not in message else ""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {_stage(record):<8}{level}{subject}{message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return printable(line).replace("\n", "\n  ")
