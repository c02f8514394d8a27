"""Ways to break a law on purpose, in a process that has spoold loaded; each harness must notice.

Each replaces something by what works as well, as long as nothing goes wrong.
"""

# ruff: noqa: TID251 - here the rules are broken on purpose

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spoold.disk import fs
from spoold.errors import Transient
from spoold.executors import command, hook
from spoold.spool.index import Index
from spoold.spool.spool import Spool
from spoold.stages.intake import Intake
from spoold.states import Role

Sync = Callable[[int], None]


def nothing() -> None:
    """Break no law."""


# Law 1: one request, one file, one folder


def unlink_and_rename() -> None:
    """Replaced content is gone for a moment."""

    def replace(source: str, target: str) -> None:
        fs.remove(target)
        os.rename(source, target)

    _patch(fs, "replace", replace)


def link_and_unlink() -> None:
    """A file is in two folders for a moment."""

    def rename_new(source: str, target: str) -> None:
        os.link(source, target)
        os.unlink(source)

    _patch(fs, "rename_new", rename_new)


def copy_and_unlink() -> None:
    """What is half-written has its final name for a moment."""

    def rename_new(source: str, target: str) -> None:
        with open(source, "rb") as old, open(target, "xb") as new:
            new.write(old.read())
        os.unlink(source)

    _patch(fs, "rename_new", rename_new)


# Law 4: nothing dropped is ever destroyed


def the_original_goes_first() -> None:
    """The original is archived before the request that was made of it has its name."""
    waiting: list[tuple[str, str]] = []
    real = fs.rename_new

    def late(source: str, target: str) -> None:
        if _publishes(source, target):
            waiting.append((source, target))
            return
        real(source, target)
        if "/.taking/" in source:
            while waiting:
                real(*waiting.pop())

    _patch(fs, "rename_new", late)


def the_original_is_removed_first() -> None:
    """The original is thrown away as soon as it has been read, as most queues do."""
    real = fs.rename_new

    def rename(source: str, target: str) -> None:
        if _publishes(source, target):
            taking = os.path.join(target.partition("/awaiting-approval/")[0],
                                  "archive/decisions/.taking")  # fmt: skip
            for entry in list(os.scandir(taking)):
                os.unlink(entry.path)
        real(source, target)

    _patch(fs, "rename_new", rename)


def the_index_is_first() -> None:
    """The index knows of a request that is not there yet."""
    add, step = Index.add, Intake.step

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


# Law 6: intent before effect


def what_is_in_doubt_is_repeated() -> None:
    """What may have had its effect is simply done again."""

    def probe(*given: Any) -> Any:
        raise Transient("again", "Try again.", retry_after=0)

    for kind in (command, hook):
        _patch(kind, "probe", probe)


def the_attempt_is_not_recorded() -> None:
    """The action begins before the disk knows of it."""
    real = fs.replace

    def replace(source: str, target: str) -> None:
        if "/running/" in target and b'"status": "running"' in Path(source).read_bytes():
            fs.remove(source)
            return
        real(source, target)

    _patch(fs, "replace", replace)


# Law 7: durable means durable


def folders_are_not_synced() -> None:
    """Names are durable by luck only."""
    _change_syncs(lambda real: lambda file: None if _is_folder(file) else real(file))


def data_is_not_synced() -> None:
    """A file may get its name before its content is durable."""
    _change_syncs(lambda real: lambda file: real(file) if _is_folder(file) else None)
    _patch(fs, "_libc", _Libc(fs._libc, syncfs=lambda _: 0))


def a_failed_sync_is_tried_again() -> None:
    """The second time the kernel says that all is well."""

    def change(real: Sync) -> Sync:
        def sync(descriptor: int) -> None:
            try:
                real(descriptor)
            except OSError:
                real(descriptor)

        return sync

    _change_syncs(change)


def a_failed_sync_is_ignored() -> None:
    """What a sync returns is ignored."""

    def change(real: Sync) -> Sync:
        def sync(descriptor: int) -> None:
            with suppress(OSError):
                real(descriptor)

        return sync

    _change_syncs(change)


class _Libc:
    """libc, with one function replaced."""

    def __init__(self, real: Any, **replaced: Any) -> None:
        self._real = real
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _publishes(source: str, target: str) -> bool:
    return "/tmp/" in source and "/awaiting-approval/" in target


def _change_syncs(change: Callable[[Sync], Sync]) -> None:
    for name in ("fsync", "fdatasync"):
        _patch(os, name, change(getattr(os, name)))


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _patch(owner: Any, name: str, new: object) -> None:
    """Replace what is there; what is not there any more is an error."""
    getattr(owner, name)
    setattr(owner, name, new)


BREAKS: Mapping[str, Callable[[], None]] = {
    law.__name__: law
    for law in (
        nothing, unlink_and_rename, link_and_unlink, copy_and_unlink, the_original_goes_first,
        the_original_is_removed_first, the_index_is_first, what_is_in_doubt_is_repeated,
        the_attempt_is_not_recorded, folders_are_not_synced, data_is_not_synced,
        a_failed_sync_is_tried_again, a_failed_sync_is_ignored,
    )
}  # fmt: skip
