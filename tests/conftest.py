"""What all tests share: a lab of their own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from spoold.testing import Lab

# How long an example takes says how busy the machine is, so that is no reason to fail.
hypothesis_settings.register_profile(
    "spoold", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("spoold")

ROUTE = """
name = "{name}"
source = "{source}"
match = '''{match}'''
executor = "{executor}"
{more}
"""


def route(
    name: str = "any",
    source: str = "decisions",
    match: str = "true",
    executor: str = "rec",
    more: str = "",
) -> str:
    """The text of a route."""
    return ROUTE.format(name=name, source=source, match=match, executor=executor, more=more)


@pytest.fixture(scope="session")
def require() -> Callable[[bool, str], None]:
    """`require(found, what)`: skip where something is missing; with `CI=true` that is a failure."""

    def check(found: bool, what: str) -> None:  # noqa: FBT001 - reads as an assertion
        if not found:
            say = f"this machine has no {what}"
            if os.environ.get("CI") == "true":
                pytest.fail(say)
            pytest.skip(say)

    return check


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A spool with one route: every decision goes to the recorder, after a person's yes."""
    return Lab(tmp_path, routes={"10.toml": route()})


@pytest.fixture
def make_lab(tmp_path: Path) -> Callable[..., Lab]:
    """Makes a lab with the routes given."""

    def make(*routes: str, toml: str = Lab.SETTINGS) -> Lab:
        return Lab(tmp_path, toml, {f"{n:02}.toml": text for n, text in enumerate(routes, 10)})

    return make


@pytest.fixture(autouse=True)
def quiet_umask() -> Iterator[None]:
    """Files as a service makes them, whatever umask runs the tests."""
    import os

    before = os.umask(0o022)
    yield
    os.umask(before)


def queue(lab: Lab, record: object) -> Path:
    """Bring what a record asks for into its executor's queue."""
    lab.drop("decisions", "c.json", record)
    lab.drain()
    lab.approve()
    gate = lab.stages()[2]
    gate.lock.acquire()
    gate.step()
    gate.lock.release()
    return lab.only("queued")


#: An attempt of which nobody has seen the end.
BEGUN = {"number": 1, "started_at": "2026-01-01T00:00:00.000000+00:00", "ended_at": None,
         "outcome": None, "code": None, "summary": None, "evidence": None,
         "output": None, "details": None, "progress": None}  # fmt: skip


def running(lab: Lab, record: object, **changes: object) -> Path:
    """Put what a record asks for into running/ as an executor that died left it."""
    queued = queue(lab, record)
    made = orjson.loads(queued.read_bytes()) | changes
    target = lab.root / "running" / "rec" / queued.name
    queued.rename(target)
    target.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return target


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that other users can enter; pytest's own are closed again by every other run."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
