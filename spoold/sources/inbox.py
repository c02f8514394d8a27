"""`[sources.<name>]` → an inbox: a format with its options and limits."""

from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from spoold import sources
from spoold.config.configuration import Configuration
from spoold.config.settings import SourceTable
from spoold.config.toml import complaints
from spoold.errors import BadInput
from spoold.identity import LONGEST_KEY
from spoold.record import JsonObject, Record
from spoold.sources.producers import Producers, producers_of


@dataclass(frozen=True, slots=True)
class Inbox:
    """A configured source: `inbox/<name>/`."""

    name: str
    table: SourceTable
    module: sources.Format
    options: BaseModel
    producers: Producers = field(default_factory=Producers)

    def read(
        self,
        document: JsonObject,
        file: str,
        received_at: str,
        dropped_by: JsonObject | None = None,
    ) -> Record:
        """What a parsed drop says.

        Args:
            document: its JSON.
            file: the name it was dropped under.
            received_at: when intake took it.
            dropped_by: who dropped it, as `record.dropped_by`; None where nobody did.

        Raises:
            BadInput: it lacks what the format needs.
        """
        found = self.module.read(document, sources.Origin(self.name, file, self.options))
        if found.id is not None and len(found.id) > LONGEST_KEY:
            what = f"Its id has {len(found.id)} characters, and an id has at most {LONGEST_KEY}."
            raise BadInput("bad-record", what)
        # It is nobody else's yet, and a copy would take longer than to read it.
        object.__setattr__(found, "received_at", received_at)
        object.__setattr__(found, "file", file)
        object.__setattr__(found, "dropped_by", dropped_by or {})
        return found


def configure(config: Configuration, problems: list[str]) -> dict[str, Inbox]:
    """All inboxes of a configuration. A line for every mistake is added to `problems`."""
    found: dict[str, Inbox] = {}
    for name, table in config.settings.sources.items():
        if table.format not in sources.FORMATS:
            known = ", ".join(sources.FORMATS)
            message = f"sources.{name}.format: no format {table.format!r}; there are: {known}"
            problems.append(str(config.document.error(message, "sources", name, "format")))
            continue
        module = sources.load(table.format)
        try:
            options = module.Options.model_validate(table.model_extra or {})
        except ValidationError as error:
            problems += complaints(error, config.document, "sources", name)
            continue
        producers = producers_of(config.settings, name)
        found[name] = Inbox(name, table, module, options, producers)
    return found
