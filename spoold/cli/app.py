"""What every verb is given: the configuration, loaded when first asked for, and the output."""

import logging
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click
import orjson

from spoold.config import configuration as config
from spoold.config import find
from spoold.linux.systemd import is_journal
from spoold.spool.spool import Spool
from spoold.states import Role
from spoold.text import escaped

if TYPE_CHECKING:
    from spoold.routing import Routing


class App:
    """One run of the command line.

    Args:
        given: what `--config` says.
        as_json: whether to print JSON Lines.
    """

    def __init__(self, given: str | None = None, as_json: bool = False) -> None:  # noqa: FBT001, FBT002
        self._given = given
        self.as_json = as_json

    @cached_property
    def config(self) -> config.Configuration:
        """What does not depend on routes, so that these may be wrong; raises `ConfigError`."""
        return config.load(find.find(self._given), with_routes=False)

    @cached_property
    def routing(self) -> "Routing":
        """The configuration, compiled; raises `ConfigError`."""
        return self.load()

    def load(self) -> "Routing":
        """The same, as the files are now. Loaded late: `ls` needs no CEL."""
        from spoold import routing  # noqa: PLC0415

        return routing.load(config.load(find.find(self._given)))

    @cached_property
    def spool(self) -> Spool:
        """The spool, with the moves of a person."""
        settings = self.config.settings
        return Spool(str(self.config.root), Role.PERSON, settings.sources, settings.executors)

    def row(self, data: Mapping[str, Any], text: str, level: int = logging.INFO) -> None:
        """One result: `data` as a JSON line, or `text` for a person.

        Where a unit runs the command, it is a line of the journal; `level` is how much it matters.
        """
        if self.as_json:
            click.echo(escaped(orjson.dumps(data).decode()))
        elif self._for_journal:
            from spoold.service import log_format  # noqa: PLC0415 - what `ls` needs in a terminal is less

            verb = click.get_current_context().info_name or "cli"
            log_format.say(verb, level, text, found=data)
        else:
            click.echo(text)

    @cached_property
    def _for_journal(self) -> bool:
        return is_journal(sys.stderr) and is_journal(sys.stdout)

    @property
    def coloured(self) -> bool:
        """Whether stdout is a terminal that may be coloured (`NO_COLOR` is honoured)."""
        return sys.stdout.isatty() and "NO_COLOR" not in os.environ and not self.as_json

    def styled(self, text: str, **style: Any) -> str:
        """Text with colour where that is wanted."""
        return click.style(text, **style) if self.coloured else text


pass_app = click.pass_obj
