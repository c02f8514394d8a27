"""`spoold metrics`: numbers for Prometheus, once or as a service."""

import signal
import threading
import time

import click

from spoold.cli.app import App, pass_app
from spoold.linux.systemd import Notifier
from spoold.service import metrics as numbers
from spoold.service.log_format import log_to_stderr


@click.command
@click.option("--serve", is_flag=True, help="Go on, as [metrics] says: a text file, an address.")
@pass_app
def command(app: App, serve: bool) -> None:  # noqa: FBT001
    """Print what Prometheus wants to know, in its text format."""
    metrics = numbers.Metrics(app.config)
    if not serve:
        click.echo(metrics.text(), nl=False)
        return
    log_to_stderr(as_json=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    # Its default would end this, and systemd take that for the end of what was to be done.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    table, notifier = app.config.settings.metrics, Notifier()
    if table.listen:
        numbers.listen(metrics, table.listen)
    while True:
        begun = time.monotonic()
        metrics.write()
        notifier.ready()
        notifier.alive()
        notifier.status(f"written in {time.monotonic() - begun:.2f} s")
        if stop.wait(min(table.interval, (notifier.watchdog or table.interval * 2) / 2)):
            notifier.stopping()
            return
