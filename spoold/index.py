"""Which deliveries and which waiting intents intake has seen: fast, and never the truth.

The truth is in the request files (`event_key`, `intent_key`) and in the reason files beside
archived repeats. An entry is written only after its request is durable, so an entry always has a
request; the other way round is checked for every file that a crash left in intake's hands. A lost,
damaged or half-built index is rebuilt from the files.
"""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress

from spoold import fs

#: Raised whenever the meaning of the tables changes; an index of another version is rebuilt.
_VERSION = 1

Entry = tuple[bytes, str]


class Index:
    """Digest → dispatch id, for events and for intents.

    Args:
        path: the database file; its folder must exist.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError:
            self.delete()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS events"
                "(digest BLOB PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID"
            )
            database.execute(
                "CREATE TABLE IF NOT EXISTS intents"
                "(digest BLOB PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def delete(self) -> None:
        """Remove the files of the database."""
        for suffix in ("", "-wal", "-shm"):
            fs.remove(self._path + suffix)

    @property
    def complete(self) -> bool:
        """Whether it was built to the end, by this version."""
        with closing(self._db.execute("PRAGMA user_version")) as cursor:
            return bool(cursor.fetchone()[0] == _VERSION)

    def event(self, digest: bytes) -> str | None:
        """The request that this delivery made or was folded into."""
        return self._one("SELECT id FROM events WHERE digest = ?", digest)

    def intent(self, digest: bytes) -> str | None:
        """The latest request with this intent, waiting or not."""
        return self._one("SELECT id FROM intents WHERE digest = ?", digest)

    def _one(self, query: str, digest: bytes) -> str | None:
        row = self._db.execute(query, (digest,)).fetchone()
        return None if row is None else str(row[0])

    def add(self, events: Iterable[Entry], intents: Iterable[Entry]) -> None:
        """Note what is durable by now; durable itself when this returns."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._insert(events, intents)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _insert(self, events: Iterable[Entry], intents: Iterable[Entry]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO events VALUES (?, ?)", events)
        self._db.executemany("INSERT OR REPLACE INTO intents VALUES (?, ?)", intents)

    def rebuild(self, events: Iterable[Entry], intents: Iterable[Entry]) -> int:
        """Start over from what the files say; returns the number of events."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM events")
        self._db.execute("DELETE FROM intents")
        self._insert(events, intents)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")
        self._db.execute("COMMIT")
        return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def peek(path: str, table: str, digest: bytes) -> str | None:
    """Look something up without touching the index; None also when there is none.

    Args:
        path: the database file.
        table: `events` or `intents`.
        digest: what to look up.
    """
    if not os.path.exists(path):
        return None
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        query = {"events": "SELECT id FROM events WHERE digest = ?"}.get(
            table, "SELECT id FROM intents WHERE digest = ?"
        )
        row = db.execute(query, (digest,)).fetchone()
        return None if row is None else str(row[0])
    return None
