"""Sites whose processes run inside another program, and what is configured there."""

from collections.abc import Sequence
from pathlib import Path

from tests.e2e.conftest import COMMAND, Site, argv, command, hook, route


class Wrapped(Site):
    """A site whose processes are started by another program, the words `before`."""

    before: Sequence[str] = ()

    def words(self, *arguments):
        """A command line for this site."""
        return [*self.before, *super().words(*arguments)]

    def ends(self, *arguments):
        """How a verb that may fail ended."""
        return self.spoold(*arguments, ok=False)


def true(site, *lines):
    """A configuration with one executor that runs `true`."""
    program = Path("/bin/true")
    return site.configure(command(program), route("runner", *lines, params=argv(program)))


def both(site, receiver, program):
    """A configuration with a hook and a command; decisions of type `call` go to the hook."""
    first = route().replace('"true"', "'record.body.decision_type == \"call\"'")
    routes = [
        first.replace('"cutover"', '"call"'),
        route("runner", params=argv(program, "=record.id")),
    ]
    return site.configure(hook(receiver.url) + COMMAND.format(program=program, more=""), *routes)


def settled(site):
    """How many requests have come to an end that a machine can reach."""
    return len(site.files("done", "unknown"))


def contents(site):
    """Every file of the spool, with its bytes."""
    return {path: data for path, data in site.tree().items() if not path.startswith(".seal")}
