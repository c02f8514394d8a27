"""A plan → files in the archive and in `routes.d/`, all or none; and back again."""

import hashlib
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from spoold import routing
from spoold.cli.app import App
from spoold.cli.importing.plan import Plan
from spoold.cli.stages import stopped_intake
from spoold.config import configuration as config
from spoold.disk import fs
from spoold.errors import BadInput, ConfigError, NotPossible, UsageError
from spoold.linux.users import as_owner_of
from spoold.record import JsonObject
from spoold.request import now, timestamp
from spoold.routing import Routing
from spoold.sources.fields import slug
from spoold.spool import imports
from spoold.spool.index import Index, remove
from spoold.spool.spool import Place, Spool
from spoold.stages.intake import index_path
from spoold.stages.intake.reindex import reindex

_DRAFT = ".import."


def carry_out(app: App, plan: Plan, *, dry_run: bool) -> None:
    """Write what a plan says, or show it.

    Raises:
        ConfigError: the configuration lacks something, or the routes do not fit it.
        NotPossible: a secret would be written where it does not belong.
        TryLater: intake runs.
    """
    plan.must_tell_no_secret()
    _must_be_configured(app, plan)
    folder = app.config.document.file.parent / "routes.d"
    routes = {folder / name: text.encode() for name, text in plan.routes.items()}
    for path in [path for path, data in routes.items() if _is_another(path, data)]:
        app.row({"kept": str(path)}, f"kept     {path}: it is there, and not as import writes it")
        del routes[path]
    compiled = _compiled(app, plan, routes)
    for document, name in plan.samples:
        _try_out(plan, compiled, document, name)
    digests = {str(path.resolve()): _digest(data) for path, data in routes.items()}
    header = {"system": plan.system, "source": plan.source, "from": plan.origin, "routes": digests}
    for about, text in plan.notes:
        app.row({about: text}, f"{about:8} {text}")
    name, data = imports.written(header, plan.lines)
    receipt = app.config.root / "archive" / plan.source / name
    files = {receipt: data, **routes}
    new = {path: data for path, data in files.items() if not path.exists()}
    if not dry_run:
        with stopped_intake(app) as spool:
            _put(spool, new, receipt)
    for path, data in files.items():
        if path not in new:
            app.row({"there": str(path)}, f"there    {path}: already there")
        elif dry_run:
            text = data.decode()
            app.row({"would_write": str(path), "content": text}, f"would write {path}:\n{text}")
        else:
            app.row({"wrote": str(path)}, f"wrote    {path}")
    text = f"known    {len(plan.lines)} are dealt with, and make no request here"
    app.row({"known": len(plan.lines)}, text)


def undo(app: App, file: str, *, dry_run: bool) -> None:
    """Take back what an import wrote, unless it was changed since.

    Raises:
        UsageError: the file is none of this spool's imports.
        NotPossible: a route was changed; nothing was taken back.
        TryLater: intake runs.
    """
    receipt = Path(os.path.realpath(file))
    home = receipt.parent
    if home.parent != app.config.root / "archive" or receipt not in home.glob("imported.*.jsonl"):
        raise UsageError(f"{file} is no archive/SOURCE/imported.*.jsonl of {app.config.root}")
    others = {
        path
        for other in home.parent.glob("*/imported.*.jsonl")
        if other != receipt
        for path in next(imports.read(str(other)))["routes"]
    }
    routes = next(imports.read(str(receipt)))["routes"]
    # The receipt is intake's: it names no file of root's but a route.
    ours = (app.config.document.file.parent / "routes.d").resolve()
    here = [path for path in map(Path, routes) if str(path) not in others and path.parent == ours]
    here = [path for path in here if path.exists()]
    if changed := [str(path) for path in here if _digest(path.read_bytes()) != routes[str(path)]]:
        what = f"changed since the import: {', '.join(changed)}. Nothing was taken back"
        raise NotPossible(f"{what}; move what you want to keep to another name first")
    for path in sorted(others & routes.keys()):
        app.row({"kept": path}, f"kept     {path}: it belongs to another import too")
    if not dry_run:
        with stopped_intake(app) as spool:
            _remove(here)
            with _hands(spool, home):
                remove(index_path(spool.root))
                _remove([receipt])
            _rebuild(spool)
    does = "would_remove" if dry_run else "removed"
    for gone in (*here, receipt):
        app.row({does: str(gone)}, f"{does.replace('_', ' '):8} {gone}")


def _must_be_configured(app: App, plan: Plan) -> None:
    settings, file = app.config.settings, app.config.document.file
    source = settings.sources.get(plan.source)
    if source and source.format != plan.format:
        what = f"sources.{plan.source} is of format {source.format}; --source must be a"
        raise ConfigError(f"{what} {plan.format}", file=file)
    missing = [] if source else [plan.tables["source"]]
    if plan.executor not in settings.executors:
        missing.append(plan.tables["executor"])
    if missing:
        raise ConfigError("\n".join(["add this, then import again:", *missing]), file=file)


def _compiled(app: App, plan: Plan, routes: dict[Path, bytes]) -> Routing:
    try:
        compiled = routing.load(config.load(app.config.document.file, drafts=routes))
    except ConfigError as error:
        raise ConfigError(f"{error}\nNothing was written. {plan.advice}") from None
    options = getattr(compiled.inboxes[plan.source].options, "plane", None)
    if any(slug(getattr(options, key)) != prefix for key, prefix in plan.prefixes.items()):
        what = "the labels' prefixes are others. Put this in, then import again:\n"
        raise ConfigError(what + plan.tables["prefixes"], file=app.config.document.file)
    return compiled


def _try_out(plan: Plan, compiled: Routing, document: JsonObject, name: str) -> None:
    """Tell if an old route would not get what it got, or its executor does not take it."""
    try:
        record = compiled.inboxes[plan.source].read(document, "import.json", timestamp(now()))
        scope = compiled.scope(record)
        found = compiled.match(record, scope)
    except BadInput as problem:
        plan.warn(f"nothing would come to route {name}: {problem.what}")
        return
    if found.table.name != name:
        first = found.file.document.file
        plan.warn(f"route {name} gets nothing that {first} takes before it")
        return
    try:
        found.render(record, scope)
    except BadInput as problem:
        what = f"route {name}: {problem.what}\nNothing was written. {plan.advice}"
        raise ConfigError(what, file=found.file.document.file) from None


def _put(spool: Spool, files: dict[Path, bytes], receipt: Path) -> None:
    """Write drafts of all, then give them their names: first what was dealt with, then routes."""
    for folder in {path.parent for path in files}:
        with _hands(spool, folder):
            fs.make_folder(str(folder), 0o755)
            for left in folder.glob(f"{_DRAFT}*"):  # by a run that was killed
                fs.remove(str(left))
    drafts = {path: str(path.with_name(_DRAFT + path.name)) for path in files}
    try:
        for path, draft in drafts.items():
            with _hands(spool, path.parent):
                fs.create(draft, files[path], 0o644)
        with _hands(spool, receipt.parent):
            remove(index_path(spool.root))
        for path, draft in drafts.items():
            with _hands(spool, path.parent):
                fs.rename_new(draft, str(path))
                fs.sync_folder(str(path.parent))
    finally:
        for path, draft in drafts.items():
            with _hands(spool, path.parent):
                fs.remove(draft)
    _rebuild(spool)


def _hands(spool: Spool, folder: Path) -> AbstractContextManager[None]:
    """Whose hands work in a folder: those of intake in archive/, one's own beside the routes."""
    archive = spool.path(Place("archive"))
    return as_owner_of(archive) if folder.is_relative_to(archive) else nullcontext()


def _remove(paths: list[Path]) -> None:
    for path in paths:
        fs.remove(str(path))
        fs.sync_folder(str(path.parent))


def _rebuild(spool: Spool) -> None:
    with as_owner_of(spool.path(Place("archive"))):
        index = Index(index_path(spool.root))
        reindex(spool, index)
        index.close()


def _is_another(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() != data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
