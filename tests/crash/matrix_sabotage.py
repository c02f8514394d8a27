"""Ways to break a law in a process that has spoold loaded, for seeing that the matrix notices.

Each replaces something public by something that works as well, as long as nothing goes wrong.
"""

# ruff: noqa: TID251 - here the rules are broken on purpose

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from spoold.disk import fs
from spoold.errors import Transient
from spoold.executors import command, hook
from spoold.spool.index import Index
from spoold.spool.spool import Spool
from spoold.stages.intake import Intake
from spoold.states import Role


def _nothing() -> None:
    """Break no law."""


def _unlink_and_rename() -> None:
    """Law 1: replaced content is gone for a moment."""

    def replace(source: str, target: str) -> None:
        fs.remove(target)
        os.rename(source, target)

    _patch(fs, "replace", replace)


def _link_and_unlink() -> None:
    """Law 1: a file is in two folders for a moment."""

    def rename_new(source: str, target: str) -> None:
        os.link(source, target)
        os.unlink(source)

    _patch(fs, "rename_new", rename_new)


def _copy_and_unlink() -> None:
    """Law 1: what is half-written has its final name for a moment."""

    def rename_new(source: str, target: str) -> None:
        with open(source, "rb") as old, open(target, "xb") as new:
            new.write(old.read())
        os.unlink(source)

    _patch(fs, "rename_new", rename_new)


def _archive_first() -> None:
    """Law 4: the original is answered for before its request is there."""
    step = Intake.step

    def late(intake: Intake) -> Any:
        with _publishing_later() as publish:
            done = step(intake)
            publish()
        return done

    _patch(Intake, "step", late)


def _index_first() -> None:
    """An index that knows of a request that is not there."""
    add = Index.add
    step = Intake.step

    def late(intake: Intake) -> Any:
        with _publishing_later() as publish:

            def add_first(index: Index, *entries: Any) -> None:
                add(index, *entries)
                publish()

            _patch(Index, "add", add_first)
            return step(intake)

    _patch(Intake, "step", late)


@contextmanager
def _publishing_later() -> Iterator[Callable[[], None]]:
    """Keep intake's requests back until what is yielded is called."""
    publish = Spool.publish
    kept: list[tuple[Any, ...]] = []

    def keep(spool: Spool, *what: Any) -> None:
        if spool.role is Role.INTAKE:
            kept.append((spool, *what))
        else:
            publish(spool, *what)

    def publish_all() -> None:
        while kept:
            publish(*kept.pop(0))

    _patch(Spool, "publish", keep)
    yield publish_all
    Spool.publish = publish  # type: ignore[method-assign]


def _repeat_blindly() -> None:
    """Law 6: what may have had its effect is simply done again."""

    def probe(params: Any, context: Any) -> Any:
        raise Transient("again", "Try again.", retry_after=0)

    _patch(command, "probe", probe)
    _patch(hook, "probe", probe)


def _effect_first() -> None:
    """Law 6: the attempt is not on disk when the effect begins."""
    overwrite = Spool.overwrite

    def forget(spool: Spool, draft: str, place: Any, name: str) -> None:
        with open(draft, "rb") as file:
            begins = b'"status": "running"' in file.read()
        if begins:
            spool.discard(draft)
        else:
            overwrite(spool, draft, place, name)

    _patch(Spool, "overwrite", forget)


def _sync_again() -> None:
    """Law 7: a sync that failed is tried once more, and believed."""
    sync = os.fsync

    def again(descriptor: int) -> None:
        try:
            sync(descriptor)
        except OSError:
            sync(descriptor)

    _patch(os, "fsync", again)


def _never_sync() -> None:
    """Law 7: what has a name may not be there after a power cut."""
    _patch(os, "fsync", lambda descriptor: None)


_ALL = {
    "nothing": _nothing,
    "unlink-and-rename": _unlink_and_rename,
    "link-and-unlink": _link_and_unlink,
    "copy-and-unlink": _copy_and_unlink,
    "archive-first": _archive_first,
    "index-first": _index_first,
    "repeat-blindly": _repeat_blindly,
    "effect-first": _effect_first,
    "sync-again": _sync_again,
    "never-sync": _never_sync,
}


def apply(name: str) -> None:
    """Break what `name` says."""
    _ALL[name]()


def _patch(owner: Any, name: str, new: object) -> None:
    """Replace what is there; what is not there any more is an error."""
    getattr(owner, name)
    setattr(owner, name, new)
