"""A real engine: `make test-docker`. Without one these are skipped, but never in CI."""

import gc
import itertools
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from tests.docker.images import build
from tests.docker.yard import Yard

_numbers = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    """The docker library leaves a socket to the garbage collector that could not be connected."""
    config.addinivalue_line(
        "filterwarnings", "ignore:unclosed <socket.socket.*family=1,:ResourceWarning"
    )


def pytest_sessionfinish() -> None:
    """Let it collect the last of them while nobody listens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def host(require: Callable[[object, str], None]) -> str:
    """The address of an engine: that of the docker command."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        docker.APIClient(base_url=address, version="auto", timeout=5).close()
        answers = True
    except DockerException:
        answers = False
    require(answers, f"Docker Engine at {address}")
    require(shutil.which("busybox"), "busybox")
    return address


@pytest.fixture(scope="session")
def worker(worker_id: str) -> int:
    """The number of this process of tests."""
    return int(worker_id.removeprefix("gw") or 0) if worker_id != "master" else 0


@pytest.fixture(scope="session")
def image(host: str, worker: int) -> Iterator[str]:
    """An image for customers' containers."""
    api = docker.APIClient(base_url=host, version="auto")
    name = build(api, f"spoold-test-{worker}")
    yield name
    api.remove_image(name, force=True)
    api.close()


@pytest.fixture
def make_yard(tmp_path: Path, host: str, image: str, worker: int) -> Iterator[Callable[[], Yard]]:
    """Makes corners of the engine; all that is in them goes when the test ends."""
    made: list[Yard] = []

    def make() -> Yard:
        made.append(Yard(tmp_path, host, image, worker, next(_numbers)))
        return made[-1]

    yield make
    for yard in made:
        yard.clear()


@pytest.fixture
def yard(make_yard: Callable[[], Yard]) -> Yard:
    """A corner of the engine for this test."""
    return make_yard()
