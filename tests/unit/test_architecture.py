"""How the package is put together: who imports whom, who touches files, what each module says."""

import ast
import re
import statistics
from pathlib import Path

import pytest

import spoold
from spoold.errors import ADVICE

PACKAGE = Path(spoold.__file__).parent

#: From bottom to top: a module imports only from its own layer's elders.
LAYERS = [
    {"states", "errors", "values", "families", "processes", "notify", "below"},
    {"fs", "locks", "names", "room", "access", "locate", "cgroups"},
    {"identity", "request", "record", "counts"},
    {"unsynced", "sealkey", "jsonfile", "layout"},
    {"permissions"},
    {"accounts", "guarded"},
    {"spool", "index", "imported"},
    {"ages", "health_history"},
    {"toml"},
    {"rules", "explain", "config"},
    {"credentials"},
    {"sources", "executors", "capture", "supervisor"},
    {"routing"},
    {"stages"},
    {"watcher", "loglines"},
    {"heartbeat"},
    {"reload"},
    {"service", "health", "units", "metrics"},
    {"drain"},
    {"cli", "testing"},
    {"__main__"},
]

#: Inside a layer, where one needs the other.
WITHIN = {("explain", "rules"), ("executors", "capture"), ("supervisor", "capture")}


def modules():
    """Every module's name inside the package, with its file."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), file


MODULES = dict(modules())
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in MODULES.items()}
NAMES = [name for name in MODULES if name]


def top(name):
    """The part of the package that a module belongs to; CEL's helpers belong to the rules."""
    first = name.partition(".")[0]
    return "rules" if first.startswith("_cel") else first


def imports(name):
    """The modules of the package that a module imports, also inside functions."""
    found = set()
    for node in ast.walk(TREES[name]):
        wanted = []
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports hide where they lead"
            base = node.module or ""
            wanted = [f"{base}.{alias.name}" for alias in node.names]
        for target in wanted:
            if target == "spoold" or target.startswith("spoold."):
                inner = target.removeprefix("spoold").removeprefix(".")
                while inner not in MODULES:
                    inner = inner.rpartition(".")[0]
                if inner:
                    found.add(inner)
    return found


def layer_of(name):
    """The height of a module's part."""
    (height,) = [n for n, layer in enumerate(LAYERS) if top(name) in layer]
    return height


def test_every_part_of_the_package_has_its_layer():
    """A new module is given its place, here and in the architecture's table, before it is used."""
    parts = {top(name) for name in NAMES}
    assert parts == set().union(*LAYERS)


@pytest.mark.parametrize("name", NAMES)
def test_imports_run_one_way(name):
    """A module imports only what lies below it, or lies in its own part."""
    for target in imports(name):
        if top(target) == top(name) or (top(name), top(target)) in WITHIN:
            continue
        assert layer_of(target) < layer_of(name), f"{name} imports {target}"


def test_no_import_runs_in_a_circle():
    """From no module can one come back to it by imports, inside a part either."""
    graph = {name: imports(name) - {name} for name in NAMES}
    done: set[str] = set()

    def walk(name, way):
        assert name not in way, " → ".join([*way, name])
        if name not in done:
            for target in graph[name]:
                # A package names what it offers; what is in it may look at that.
                if not target.startswith(f"{name}.") and not name.startswith(f"{target}."):
                    walk(target, [*way, name])
            done.add(name)

    for name in graph:
        walk(name, [])


def test_the_table_of_the_architecture_has_every_part():
    """The map in docs/architecture.md names each part of the package, and no other."""
    text = (PACKAGE.parent / "docs/architecture.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    named = re.findall(r"`([a-z_]+)(?:\.py|/)`", " ".join(cells))
    assert set(named) >= {top(name) for name in NAMES} - {"__main__"}
    assert all(name in {top(module) for module in NAMES} for name in named)


# Who touches files

MOVING = {"rename", "renames", "replace", "link", "symlink", "unlink", "remove", "rmdir",
          "removedirs", "fsync", "fdatasync", "sync", "truncate"}  # fmt: skip
PATH_MOVING = {"rename", "unlink", "rmdir", "symlink_to", "hardlink_to", "link_to"}


def calls(tree):
    """The calls in a module, as `x.y` where that can be told, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield (owner.id if isinstance(owner, ast.Name) else "?"), node.func.attr, node.lineno


#: Besides fs.py: what tests of other people use, a file that lies outside the spool, and folders
#: that are no files at all.
MAY_MOVE = ("fs", "testing", "executors._container_compose", "cgroups")


@pytest.mark.parametrize("name", [n for n in NAMES if n not in MAY_MOVE])
def test_only_one_module_moves_removes_and_syncs(name):
    """Outside fs.py nothing renames, links, unlinks or syncs, by whatever library."""
    for owner, method, line in calls(TREES[name]):
        where = f"{name}:{line}: {owner}.{method}"
        assert not (owner == "os" and method in MOVING), where
        assert owner != "shutil" or method == "which", where
        assert owner == "fs" or method not in PATH_MOVING, where


def test_nothing_is_imported_from_os_by_name():
    """`from os import rename` would go round the rule above, and so would another libc."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "os", name
            if isinstance(node, ast.Import):
                calls_libc = name in ("fs", "processes")
                assert calls_libc or all(alias.name != "ctypes" for alias in node.names), name


@pytest.mark.parametrize("name", NAMES)
def test_there_is_no_shell_and_no_evaluation(name):
    """No module runs a shell, evaluates text as Python, or unpickles."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.keyword) and node.arg == "shell":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "compile", "__import__"}
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & {"pickle", "marshal", "shelve"}
    assert ("os", "system") not in {(owner, method) for owner, method, _ in calls(TREES[name])}


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("executors.")])
def test_an_executor_never_touches_the_spool(name):
    """A kind gets what it may use; it knows neither the spool nor the stages."""
    assert {top(target) for target in imports(name)} <= {
        "executors", "config", "errors", "capture", "toml", "rules", "families", "processes",
        "record", "below", "cgroups",
    }  # fmt: skip


# What each module says


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    """The first line of every module is one sentence that fits on a line."""
    text = ast.get_docstring(TREES[name])
    assert text
    first = text.splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 110


STAGES = [name for name in NAMES if name.startswith("stages.") and not name.startswith("stages._")]


def test_the_stages_are_the_flow():
    """`ls spoold/stages` shows one module a service."""
    assert STAGES == ["stages.execute", "stages.gate", "stages.intake", "stages.report",
                      "stages.sweep"]  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_says_what_it_moves_and_whom_it_trusts(name):
    """The first line of a stage is its arrow, and a paragraph says whom it trusts."""
    text = ast.get_docstring(TREES[name])
    assert "→" in text.splitlines()[0]
    (security,) = re.findall(r"^Security: .*(?:\n.+)*", text, re.MULTILINE)
    assert "trust" in security


def strings(name):
    """All text constants of a module."""
    return {
        node.value
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("code", ADVICE)
def test_every_advice_is_given_somewhere(code):
    """No advice is kept for a code that nothing says any more."""
    assert any(code in strings(name) for name in NAMES if name != "errors")


@pytest.mark.parametrize("code", ADVICE)
def test_every_advice_is_a_sentence_for_a_person(code):
    """An advice says what to do, in plain words, with the verbs that there are."""
    advice = ADVICE[code]
    assert advice.endswith(".")
    for verb in re.findall(r"`spoold (\w+)", advice):
        assert f"cli.{verb}" in NAMES


def test_every_code_that_is_raised_has_its_advice():
    """A `BadInput` with a literal code can be raised: its code is in the table."""
    seen = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", getattr(node.func, "attr", "")) == "BadInput"
                and isinstance(node.args[0], ast.Constant)
            ):
                seen.add(node.args[0].value)
                assert node.args[0].value in ADVICE, f"{name}:{node.lineno}"
    assert len(seen) > 10


def test_modules_stay_small():
    """No module has more than 350 lines, and half of them have fewer than 150."""
    lines = {n: len(f.read_text(encoding="utf-8").splitlines()) for n, f in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 350} == {}
    assert statistics.median(lines.values()) < 150


def test_no_module_is_named_for_nothing():
    """A module is named for what it is about."""
    words = {word for name in NAMES for word in re.split(r"[._]", name)}
    assert words.isdisjoint({"utils", "util", "helpers", "helper", "manager", "base", "common",
                             "misc"})  # fmt: skip
