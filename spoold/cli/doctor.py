"""`spoold doctor`: whether this machine has what the executors need."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict

import click

from spoold.cli.app import App, pass_app
from spoold.disk import reading
from spoold.disk.free_space import Floor
from spoold.errors import ExecutionError, NoRoom, SpooldError
from spoold.executors import Finding
from spoold.executors.instance import Instance
from spoold.host.filesystem import present
from spoold.stages.execute.attempt import secrets_of
from spoold.text import printable

#: A file from further in the future (seconds) says that the clock was set back.
_FUTURE = 60.0


class SomethingMissing(SpooldError):
    """The doctor has found something; the lines on stdout say what."""

    exit_code = os.EX_UNAVAILABLE


@click.command
@pass_app
def command(app: App) -> None:
    """Look for runtimes, the Docker engine, hooks, disk and clock; exit 69 if one is missing."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C: a probe is in a session of its own, and nothing else would end it.
        signal.signal(number, signal.default_int_handler)
    missing = 0
    for place, finding in _all(app):
        missing += not finding.ok
        text = f"[doctor] {_shown(app, finding)} {finding.what} ({place}): "
        text += printable(finding.detail)
        row = {"where": place, **asdict(finding)}
        app.row(row, " ".join(text.split()))
    if missing:
        raise SomethingMissing(f"{missing} of what spoold needs here is missing; see above")
    if not app.as_json:
        click.echo("[doctor] PASS all runtimes available")


def _shown(app: App, finding: Finding) -> str:
    if not finding.ok:
        return app.styled("MISSING", fg="red", bold=True)
    return app.styled("WARNING", fg="yellow") if finding.warning else "ok     "


def _all(app: App) -> Iterator[tuple[str, Finding]]:
    for instance in app.routing.executors.values():
        for finding in _of_kind(app, instance):
            yield f"executor {instance.name}", finding
    root = str(app.config.root)
    place = present(root)
    yield place, _disk(app, place)
    yield place, _clock(root if place == root else None)


def _of_kind(app: App, instance: Instance) -> Iterator[Finding]:
    """What the kind says of itself; one that cannot even look is missing something too."""
    try:
        for warning in instance.warnings(app.routing.params_of(instance.name)):
            yield Finding("settings", ok=True, warning=True, detail=warning)
        yield from instance.kind.doctor(instance.config, secrets_of(app.config))
    except ExecutionError as error:
        yield Finding(instance.kind_name, ok=False, detail=error.summary)
    except Exception as error:  # noqa: BLE001 - the others are still to be looked at
        yield Finding(instance.kind_name, ok=False, detail=f"{type(error).__name__}: {error}")


def _disk(app: App, root: str) -> Finding:
    try:
        Floor(root, app.config.settings.min_free).check()
    except NoRoom as error:
        return Finding("disk", ok=False, detail=str(error))
    found = os.statvfs(root)
    free = found.f_bavail * found.f_frsize / (1 << 30)
    return Finding("disk", ok=True, detail=f"{free:.1f} GiB free")


def _clock(root: str | None) -> Finding:
    """A clock that was set back lets retries wait and approvals live too long."""
    entries = reading.entries(root) if root else ()
    ahead = max((reading.status(e.path).st_mtime for e in entries), default=0) - time.time()
    if ahead > _FUTURE:
        what = f"the spool was changed {ahead:.0f} s in the future: the clock was set back"
        return Finding("clock", ok=False, detail=what)
    if _says_unsynchronised():
        what = "not synchronised with a time server; start systemd-timesyncd, chrony or ntpd"
        return Finding("clock", ok=False, detail=what)
    return Finding("clock", ok=True, detail=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def _says_unsynchronised() -> bool:
    """Whether systemd says that the clock is not synchronised; false without systemd."""
    program = shutil.which("timedatectl")
    if program is None or not os.path.isdir("/run/systemd/system"):
        return False
    argv = [program, "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == b"no"
