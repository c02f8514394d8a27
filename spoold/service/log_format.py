"""Log records → JSON lines for machines, or one short line for a person at a terminal."""

import json
import logging
import sys
import time
from functools import lru_cache
from typing import Any

import orjson
from pythonjsonlogger.core import BaseJsonFormatter

from spoold.linux.systemd import is_journal
from spoold.text import escaped, printable


def log_to_stderr(*, as_json: bool) -> None:
    """Set up logging of the whole process."""
    handler = logging.StreamHandler(sys.stderr)
    if as_json:
        handler.setFormatter(_Json("%(asctime)s", for_journal=is_journal(sys.stderr)))
    else:
        handler.setFormatter(_Line())
    root = logging.getLogger("spoold")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False
    # What no line shows need not be found out for each: who called, from which thread.
    logging._srcfile = None  # noqa: SLF001 - as logging's documentation says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def say(
    stage: str, level: int, message: str, bug: BaseException | None = None, **fields: object
) -> None:
    """One line for the journal from a command that is no stage, like those of the stages."""
    log_to_stderr(as_json=True)
    logging.getLogger(f"spoold.{stage}").log(level, "%s", message, exc_info=bug, extra=fields)


def _stage(record: logging.LogRecord) -> str:
    return record.name.rpartition(".")[2]


#: What syslog(3) calls them.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def _priority(level: int) -> int:
    return next((priority for from_, priority in _PRIORITIES if level >= from_), 7)


class _Json(BaseJsonFormatter):
    """`{"at": …, "level": …, "priority": 6, "stage": "intake", "message": …, "dispatch_id": …}`.

    Args:
        form: what the library wants to be told of a line; it is all made here.
        for_journal: whether each line begins with `<6>`, as sd-daemon(3) says.
    """

    def __init__(self, form: str, *, for_journal: bool) -> None:
        super().__init__(form)
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = super().format(record)
        return f"<{_priority(record.levelno)}>{line}" if self._for_journal else line

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """What every line has, and what the caller added: the library asks for more than that."""
        log_data["at"] = record.asctime
        log_data["level"] = record.levelname
        log_data["priority"] = _priority(record.levelno)
        log_data["stage"] = _stage(record)
        log_data["message"] = record.message
        log_data["dispatch_id"] = None
        log_data |= {k: v for k, v in vars(record).items() if k not in self.reserved_attrs}
        log_data |= message_dict

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
        return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


class _Line(logging.Formatter):
    """`13:05:01 intake  dispatch-…: message`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and what follows from an exception indented under it."""
        about = record.__dict__.get("dispatch_id") or record.__dict__.get("file")
        message = record.getMessage()
        subject = f"{about}: " if about and str(about) not in message else ""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {_stage(record):<8}{level}{subject}{message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return printable(line).replace("\n", "\n  ")
