"""An engine of our own that may be killed, stopped, frozen and started again."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

#: In a network of its own: an engine removes the bridge that another one has on this machine.
_APART = ("unshare", "--net", "bash", "-c", 'busybox ip link set lo up; exec "$@"', "bash")
_OPTIONS = ("--bridge=none", "--storage-driver=vfs", "--shutdown-timeout=3")


class Daemon:
    """A dockerd with everything it writes in one folder, whose name is short enough for sockets."""

    def __init__(self, *options: str) -> None:
        self._options = (*_OPTIONS, *options)
        self.folder = Path(tempfile.mkdtemp(prefix="dkd-", dir="/tmp"))
        self.path = self.folder / "docker.sock"
        self.host = f"unix://{self.path}"
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: socket.socket | None = None

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        with socket.socket(socket.AF_UNIX) as trial:
            if trial.connect_ex(str(self.path)):
                return False
        try:
            api = docker.APIClient(base_url=self.host, version="1.24", timeout=2)
            try:
                return bool(api.ping())
            finally:
                api.close()
        except (DockerException, RequestException):
            return False

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._launch(f"unix://{self.path}")
        self._until_up()

    def hold_socket(self) -> None:
        """Own its socket as systemd does, so that calls wait while the engine is away."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)

    def start_on_held_socket(self) -> None:
        """Start it as `docker.socket` would, without waiting."""
        assert self._listener
        self._launch("fd://", self._listener.fileno())

    def release_socket(self) -> None:
        """Leave the socket to the engine again; it has to be started anew."""
        if self._listener:
            self.stop()
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)

    def kill(self) -> None:
        """`kill -9`: its containers go on without it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end; it ends its containers."""
        self._end(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(number)

    def close(self) -> None:
        """End it and remove all that it has."""
        self.release_socket()
        self.kill()
        self.start()
        api = docker.APIClient(base_url=self.host, version="auto", timeout=30)
        for one in api.containers(all=True):
            api.remove_container(one["Id"], v=True, force=True)
        for one in api.networks():
            if one["Driver"] == "bridge":
                api.remove_network(one["Id"])
        api.close()
        self.stop()
        for mounted in _mounts_below(self.folder):
            subprocess.run(["umount", "-l", mounted], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self, host: str, inherited: int = -1) -> None:
        folder = self.folder
        (folder / "pid").unlink(missing_ok=True)
        _until_ended(folder / "exec/containerd/containerd.pid")
        words = [
            *_APART, "dockerd", "--host", host, "--data-root", f"{folder}/data",
            "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", *self._options,
        ]  # fmt: skip
        if inherited >= 0:
            pass_on = f'exec 3<&{inherited}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
            words = ["bash", "-c", pass_on, "bash", *words]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[inherited] if inherited >= 0 else [],
            )  # fmt: skip

    def _until_up(self) -> None:
        deadline = time.monotonic() + 60
        while not self.is_up:
            assert self._process
            log = (self.folder / "log").read_text()
            assert self._process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.1)

    def _end(self, number: int) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        self._process.wait(60)


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    found = [line.split()[1] for line in lines]
    return sorted((path for path in found if path.startswith(f"{folder}/")), reverse=True)


def _until_ended(pid_file: Path) -> None:
    """Wait for the process that a killed dockerd takes with it: the next would rely on it."""
    if not pid_file.exists():
        return
    process = Path("/proc", pid_file.read_text(encoding="ascii"))
    deadline = time.monotonic() + 5
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    # Where nobody collects orphans it stays as a zombie, which is as good as gone.
    pid_file.unlink()
