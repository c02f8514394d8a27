"""Which deliveries and which waiting intents intake has seen: fast, and never the truth.

The truth is in the request files (`event_key`, `intent_key`), in the reason files beside archived
repeats, and in the files of imports. An entry is written only after its request is durable, so an
entry always has a request; the other way round is checked for every file that a crash left in
intake's hands. A lost, damaged or half-built index is rebuilt from the files.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import NamedTuple
from urllib.parse import quote

from spoold.disk import fs
from spoold.errors import NoRoom, StorageError

#: Raised whenever the meaning of the tables changes; an index of another version is rebuilt.
_VERSION = 4

#: Digests in one query.
_AT_ONCE = 64
_QUERIES = {
    "events": "SELECT id, sha256, dropper FROM events WHERE digest = ?",
    "intents": "SELECT id FROM intents WHERE digest = ?",
    "imported": "SELECT id FROM imported WHERE digest = ? AND until >= ?",
}
#: How much of an id says in which second it was made: `dispatch-<YYYYMMDDTHHMMSSZ>-`.
_SECOND = 26
_NEWEST = "SELECT coalesce(max(id), '') FROM events"
_OF_SECOND = f"SELECT id FROM events WHERE substr(id, 1, {_SECOND}) = ?"  # noqa: S608
_COLUMNS = {
    "events": ", sha256 TEXT NOT NULL, dropper INTEGER",
    "intents": "",
    "imported": ", until REAL NOT NULL",
}


class Known(NamedTuple):
    """What is known of an event.

    Attributes:
        id: the request that it made or was folded into.
        sha256: of the bytes that were delivered, in hex; empty if that is not known.
        dropper: the user id of who dropped them; None if that is not known.
    """

    id: str
    sha256: str = ""
    dropper: int | None = None


Event = tuple[bytes, Known]
Intent = tuple[bytes, str]


class IndexDamaged(StorageError):
    """The database is not one, or not whole; it can be rebuilt from the files."""


class Index:
    """Digest → what is known of an event; digest → dispatch id of an intent.

    Args:
        path: the database file; its folder must exist.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._db = self._connect()
        except IndexDamaged:
            remove(path)
            self._db = self._connect()
        self._second, self._newest, self._ids = "", "", set[str]()
        self._has_imports: bool | None = None

    def _connect(self) -> sqlite3.Connection:
        with ExitStack() as failed, _errors(self._path):
            fs.make_empty(self._path, 0o644)
            database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            failed.callback(database.close)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            for table in _QUERIES:
                database.execute(
                    f"CREATE TABLE IF NOT EXISTS {table}"
                    f"(digest BLOB PRIMARY KEY, id TEXT NOT NULL{_COLUMNS[table]}) WITHOUT ROWID"
                )
            failed.pop_all()
        return database

    def delete(self) -> None:
        """Close it, and remove the files of the database."""
        self._db.close()
        remove(self._path)

    @property
    def complete(self) -> bool:
        """Whether it was built to the end, by this version."""
        with _errors(self._path):
            return bool(self._db.execute("PRAGMA user_version").fetchone()[0] == _VERSION)

    def event(self, digest: bytes) -> Known | None:
        """What is known of a delivery."""
        return self.events([digest]).get(digest)

    def events(self, digests: Sequence[bytes]) -> dict[bytes, Known]:
        """The same for many deliveries; those that are new are left out."""
        found: dict[bytes, Known] = {}
        with self._reading():
            for start in range(0, len(digests), _AT_ONCE):
                some = digests[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(f"SELECT * FROM events WHERE digest IN ({marks})", some)  # noqa: S608
                found.update((digest, Known(*known)) for digest, *known in rows)
        return found

    def has_request(self, dispatch_id: str) -> bool:
        """Whether a delivery made, or was folded into, the request of that id."""
        # Who asks does so for many of one second, and nearly always for the latest.
        if (second := dispatch_id[:_SECOND]) != self._second:
            with self._reading():
                self._newest = self._newest or str(self._db.execute(_NEWEST).fetchone()[0])
                found = self._db.execute(_OF_SECOND, (second,)) if second <= self._newest else ()
                self._second, self._ids = second, {str(row[0]) for row in found}
                self._newest = max(self._newest, second)
        return dispatch_id in self._ids

    def requests(self) -> set[str]:
        """The ids of all requests that it knows."""
        with self._reading():
            return {str(row[0]) for row in self._db.execute("SELECT id FROM events")}

    def intent(self, digest: bytes) -> str | None:
        """The latest request with this intent, waiting or not."""
        return self._look("intents", digest)

    @property
    def has_imports(self) -> bool:
        """Whether there is anything that `imported` could find; asked only once."""
        if self._has_imports is None:
            with self._reading():
                found = self._db.execute("SELECT EXISTS (SELECT 1 FROM imported)").fetchone()
            self._has_imports = bool(found[0])
        return self._has_imports

    def imported(self, digest: bytes, moment: float) -> str | None:
        """The import's file that says that this was dealt with up to that moment or later."""
        return self._look("imported", digest, moment)

    def _look(self, table: str, *what: bytes | float) -> str | None:
        with self._reading():
            row = self._db.execute(_QUERIES[table], what).fetchone()
        return None if row is None else str(row[0])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One transaction for all looks until the next `add`: taking one costs more than a look."""
        with _errors(self._path):
            if not self._db.in_transaction:
                self._db.execute("BEGIN")
            yield

    def add(self, events: Iterable[Event], intents: Iterable[Intent]) -> None:
        """Note what is durable by now; durable itself when this returns."""
        events = list(events)
        self._ids.update(known.id for _, known in events)
        with _errors(self._path), self._transaction():
            self._insert(events, intents)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _insert(self, events: Iterable[Event], intents: Iterable[Intent]) -> None:
        rows = ((digest, *known) for digest, known in events)
        self._db.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?)", rows)
        self._db.executemany("INSERT OR REPLACE INTO intents VALUES (?, ?)", intents)

    def rebuild(
        self,
        events: Iterable[Event],
        intents: Iterable[Intent],
        imported: Iterable[tuple[bytes, str, float]] = (),
    ) -> int:
        """Start over from what the files say; returns the number of events."""
        self.delete()
        self._db = self._connect()
        self._has_imports, self._second, self._newest = None, "", ""
        with _errors(self._path), self._transaction():
            self._insert(events, intents)
            # Of two imports that know the same, the later word counts.
            self._db.executemany(
                "INSERT INTO imported VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
                "SET id = excluded.id, until = excluded.until WHERE excluded.until > until",
                imported,
            )
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def remove(path: str) -> None:
    """Remove the files of the database, whatever they are."""
    for suffix in ("", "-wal", "-shm"):
        fs.remove(path + suffix)


def peek(path: str, table: str, digest: bytes, *moment: float) -> Known | None:
    """Look something up in a table and leave no trace; None also when there is no index.

    `moment` is for `imported`: seconds since the epoch, of when it is.
    """
    if not os.path.exists(path):
        return None
    # Without a journal beside it no process has it open; only then may it count as unchanging.
    mode = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    uri = f"file:{quote(path)}?{mode}"
    with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as database:
        row = database.execute(_QUERIES[table], (digest, *moment)).fetchone()
        return None if row is None else Known(*row)
    return None


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """Tell damage, which a rebuild mends, from trouble such as a full disk, which it does not."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise NoRoom(f"no room for the index {path}") from error
        raise StorageError(f"cannot use the index {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise IndexDamaged(f"the index {path} is damaged: {error}") from error
