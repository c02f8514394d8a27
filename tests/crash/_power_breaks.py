"""Ways to break a law on purpose, in the process that plays a scene; the harness must see each."""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from spoold.disk import fs


class _Libc:
    """libc, with one function replaced."""

    def __init__(self, real, **replaced):
        self._real = real
        self.__dict__.update(replaced)

    def __getattr__(self, name):
        return getattr(self._real, name)


Sync = Callable[[int], None]


def _change_syncs(change: Callable[[Sync], Sync]) -> None:
    for name in ("fsync", "fdatasync"):
        setattr(os, name, change(getattr(os, name)))


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def folders_are_not_synced() -> None:
    """Names are durable by luck only."""
    _change_syncs(lambda real: lambda file: None if _is_folder(file) else real(file))


def data_is_not_synced() -> None:
    """A file may get its name before its content is durable."""
    _change_syncs(lambda real: lambda file: real(file) if _is_folder(file) else None)
    fs._libc = _Libc(fs._libc, syncfs=lambda _: 0)


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
    """Nobody looks at what a sync returns."""

    def change(real: Sync) -> Sync:
        def sync(descriptor: int) -> None:
            with suppress(OSError):
                real(descriptor)

        return sync

    _change_syncs(change)


def the_original_goes_first() -> None:
    """The original is archived before the request that was made of it has its name."""
    waiting: list[tuple[str, str]] = []
    real = fs.rename_new

    def late(source: str, target: str) -> None:
        if "/tmp/" in source and "/awaiting-approval/" in target:
            waiting.append((source, target))
            return
        real(source, target)
        if "/.taking/" in source:
            while waiting:
                real(*waiting.pop())

    fs.rename_new = late


def the_original_is_removed_first() -> None:
    """The original is thrown away as soon as it has been read, as most queues do."""
    real = fs.rename_new

    def rename(source: str, target: str) -> None:
        if "/tmp/" in source and "/awaiting-approval/" in target:
            taking = os.path.join(target.partition("/awaiting-approval/")[0],
                                  "archive/decisions/.taking")  # fmt: skip
            for entry in list(os.scandir(taking)):
                os.unlink(entry.path)  # noqa: TID251 - this is what is broken
        real(source, target)

    fs.rename_new = rename


def the_attempt_is_not_recorded() -> None:
    """The action begins before the disk knows of it."""
    real = fs.replace

    def replace(source: str, target: str) -> None:
        if "/running/" in target and b'"status": "running"' in Path(source).read_bytes():
            fs.remove(source)
            return
        real(source, target)

    fs.replace = replace


BREAKS: Mapping[str, Callable[[], None]] = {
    law.__name__: law
    for law in (
        folders_are_not_synced, data_is_not_synced, a_failed_sync_is_tried_again,
        a_failed_sync_is_ignored, the_original_goes_first, the_original_is_removed_first,
        the_attempt_is_not_recorded,
    )
}  # fmt: skip
