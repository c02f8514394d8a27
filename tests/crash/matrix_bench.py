"""A site on which a stage is killed, restarted and judged, as often as there are calls to hit."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.matrix_trace import TRACED, Call, parse

CHECKOUT = Path(__file__).resolve().parents[2]
#: No run takes this long (seconds); one that does hangs.
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended.

    Attributes:
        code: its exit code; negative for a signal.
        said: what it wrote to stdout and stderr.
        calls: what strace saw.
    """

    code: int
    said: str
    calls: list[Call]


class Zygote:
    """The process that forks the runs; see `matrix_zygote.py`.

    Args:
        folder: for its files.
        env: its environment, and so that of the runs.
        law: the law that is broken in it.
    """

    def __init__(self, folder: Path, strace: str, law: str = "nothing") -> None:
        self._said, self._log = folder / "said.txt", folder / "strace.txt"
        self._strace = strace
        env = {
            **{k: v for k, v in os.environ.items() if k not in ("SPOOLD_CONFIG", "NO_COLOR")},
            "HOME": str(folder),
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONUTF8": "1",
            # Loading a system's certificates takes longer than all the calls that are made.
            "SSL_CERT_FILE": os.devnull,
            "SSL_CERT_DIR": os.devnull,
            "http_proxy": "http://127.0.0.1:9",
            "ALL_PROXY": "http://127.0.0.1:9",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.matrix_zygote", law],
            env=env, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            umask=0o022,
        )  # fmt: skip
        assert self._line().startswith("ready")

    def run(self, argv: Sequence[str], tracer: Sequence[str] | None = None) -> Run:
        """Run the command line; with options of strace, under strace."""
        self._write(json.dumps({"argv": list(argv), "out": str(self._said)}))
        pid = int(self._line())
        tracing = None if tracer is None else self._attach(pid, tracer)
        self._write("go")
        try:
            code = int(self._line())
        except TimeoutError:
            os.kill(pid, 9)
            self._line()
            raise
        finally:
            if tracing:
                tracing.communicate(timeout=_PATIENCE)
        said = self._said.read_text(encoding="utf-8", errors="replace")
        log = self._log.read_text(errors="surrogateescape") if tracing else ""
        return Run(code, said, parse(log))

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(_PATIENCE)
        assert self._process.stdout
        self._process.stdout.close()

    def _attach(self, pid: int, options: Sequence[str]) -> subprocess.Popen[str]:
        tracing = subprocess.Popen(
            [self._strace, "-f", "-y", "-s", "0", "-o", str(self._log),
             *(options or ["-e", TRACED]), "-p", str(pid)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert tracing.stderr
        while "attached" not in (line := tracing.stderr.readline()):
            assert line, f"strace ended with {tracing.wait()}"
        return tracing

    def _write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())

    def _line(self) -> str:
        """The next line that it says.

        Raises:
            TimeoutError: it says nothing.
        """
        pipe, line = self._process.stdout, b""
        assert pipe
        deadline = time.monotonic() + _PATIENCE
        while not line.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"nothing came within {_PATIENCE:g} s")
            more = pipe.read(1)
            assert more, "the zygote has died"
            line += more
        return line.decode()


class Store:
    """A folder that can be put back as it was.

    Args:
        folder: what is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = folder.with_name(f"{folder.name}.kept")

    def save(self) -> None:
        """Remember how it is."""
        shutil.rmtree(self._kept, ignore_errors=True)
        subprocess.run(["cp", "-a", self._folder, self._kept], check=True)

    def restore(self) -> None:
        """Make it as it was when it was saved."""
        shutil.rmtree(self._folder)
        subprocess.run(["cp", "-a", self._kept, self._folder], check=True)
