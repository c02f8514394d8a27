"""Whether a process that a test knows of has ended."""

import os
import time
from pathlib import Path


def gone(pid: int, seconds: float = 30.0) -> bool:
    """Whether a process has ended, or does within that time; kills it if not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    os.kill(pid, 9)
    return False
