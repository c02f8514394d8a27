"""What a service tells systemd: one datagram each. Silent outside a unit.

Source: sd_notify(3), systemd.service(5).
"""

import os
import socket
import time
from contextlib import suppress
from typing import TextIO


def is_journal(stream: TextIO) -> bool:
    """Whether this is the journal's socket, which wants a priority before each line."""
    if not (journal := os.environ.get("JOURNAL_STREAM")):
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal == f"{status.st_dev}:{status.st_ino}"


class Notifier:
    """The socket that systemd gave to this process, if it did."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._said = ""
        for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = os.environ.get("WATCHDOG_USEC", "") if for_us else ""
        #: Seconds within which systemd wants to hear that all is well; None if it does not.
        self.watchdog = int(usec) / 1e6 if usec.isdecimal() and int(usec) else None

    def ready(self) -> None:
        """Everything was looked at once; also the end of a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Every stage gets on."""
        self._send("WATCHDOG=1")

    def more_time(self, seconds: float) -> None:
        """The start, or the end, is not done yet and gets on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._said:
            self._said = text
            self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = self._address
        name = f"\0{address[1:]}" if address.startswith("@") else address
        # systemd does not listen any more: no reason to end a service.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(message.encode(), name)
