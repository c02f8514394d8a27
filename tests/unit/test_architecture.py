"""How the house is kept: who touches files, what each room and module says, how large they are.

Who may import whom is import-linter's business: `make lint`, and the contracts in pyproject.toml.
"""

import ast
import re
import statistics
from pathlib import Path

import spoold
from spoold.cli import VERBS
from spoold.errors import ADVICE
from spoold.executors import KINDS
from spoold.sources import FORMATS

PACKAGE = Path(spoold.__file__).parent
FILES = {str(file.relative_to(PACKAGE)): file for file in sorted(PACKAGE.rglob("*.py"))}
TEXTS = {name: file.read_text(encoding="utf-8") for name, file in FILES.items()}
TREES = {name: ast.parse(text) for name, text in TEXTS.items()}
ROOMS = sorted({str(Path(name).parent) for name in FILES})

MOVING = {"rename", "renames", "replace", "link", "symlink", "unlink", "remove", "rmdir",
          "removedirs", "fsync", "fdatasync", "sync", "truncate"}  # fmt: skip
PATH_MOVING = {"rename", "unlink", "rmdir", "symlink_to", "hardlink_to", "link_to"}
#: Besides fs.py: what tests of other people use, a file that lies outside the spool, and folders
#: that are no files at all.
MAY_MOVE = {"disk/fs.py", "testing.py", "executors/container/compose_file.py", "linux/cgroups.py"}


def nodes(kind):
    """Each node of a kind, with the module and the line where it stands."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield name, node


def calls():
    """Each call as `owner.method`, as far as that can be told, with where it stands."""
    for name, node in nodes(ast.Call):
        if isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield name, node, (owner.id if isinstance(owner, ast.Name) else "?"), node.func.attr


def test_only_one_module_moves_removes_and_syncs():
    """Outside disk/fs.py nothing renames, links, unlinks or syncs, by whatever library."""
    found = [
        f"{name}:{node.lineno}: {owner}.{method}"
        for name, node, owner, method in calls()
        if name not in MAY_MOVE
        and (
            (owner == "os" and method in MOVING)
            or (owner == "shutil" and method != "which")
            or (owner != "fs" and method in PATH_MOVING)
        )
    ]
    assert found == []


def test_nothing_goes_round_that_rule():
    """`from os import rename` would, and so would another door to libc."""
    assert not [name for name, node in nodes(ast.ImportFrom) if node.module == "os" or node.level]
    libc = {name for name, node in nodes(ast.Import) if "ctypes" in {a.name for a in node.names}}
    assert libc <= {"disk/fs.py", "linux/processes.py"}


def test_there_is_no_shell_and_no_evaluation():
    """No module runs a shell, evaluates text as Python, or unpickles."""
    shells = [n for n, k in nodes(ast.keyword) if k.arg == "shell" and k.value.value is not False]
    evaluating, pickling = {"eval", "exec", "compile", "__import__"}, {"pickle", "marshal"}
    evaluated = [n for n, call in nodes(ast.Call) if getattr(call.func, "id", "") in evaluating]
    pickled = [n for n, node in nodes(ast.Import) if {a.name for a in node.names} & pickling]
    system = [name for name, _, owner, method in calls() if (owner, method) == ("os", "system")]
    assert shells + evaluated + pickled + system == []


def test_every_module_says_what_it_is():
    """The first line of every module is one sentence that fits on a line."""
    for name, tree in TREES.items():
        first = (ast.get_docstring(tree) or "").partition("\n")[0]
        assert first.endswith("."), name
        assert len(first) <= 100, name


def test_a_stage_says_what_it_moves_and_whom_it_trusts():
    """The first line of a stage is its arrow, and a paragraph says whom it trusts."""
    stages = {f"stages/{name}" for name in ("intake/__init__.py", "gate.py", "sweep.py",
                                            "execute/__init__.py", "report.py")}  # fmt: skip
    for name in stages:
        text = ast.get_docstring(TREES[name]) or ""
        assert "→" in text.partition("\n")[0], name
        (security,) = re.findall(r"^Security: .*(?:\n.+)*", text, re.MULTILINE)
        assert "trust" in security, name


def test_a_verb_a_kind_and_a_format_is_where_its_table_says():
    """The tables of verbs, kinds and formats name what is there, and all of it."""
    assert {f"cli/{verb}.py" for verb in VERBS} <= set(FILES)
    commands = {
        name[4:-3]
        for name, text in TEXTS.items()
        if re.fullmatch(r"cli/\w+\.py", name)
        and re.search(r"^(def )?command\b", text, re.MULTILINE)
    }
    assert commands == set(VERBS)
    assert {f"executors/{kind}/__init__.py" for kind in KINDS} <= set(FILES)
    assert {f"sources/{name}.py" for name in FORMATS} <= set(FILES)


def test_every_advice_is_given_somewhere_and_is_a_sentence_for_a_person():
    """Each advice is for a code that something says, and names verbs that there are."""
    said = {node.value for name, node in nodes(ast.Constant) if name != "errors.py"}
    for code, advice in ADVICE.items():
        assert any(code in text for text in said if isinstance(text, str)), code
        assert advice.endswith("."), code
        assert set(re.findall(r"`spoold (\w+)", advice)) <= set(VERBS), code


def test_every_code_that_is_raised_has_its_advice():
    """A `BadInput` with a literal code can be raised: its code is in the table."""
    raised = {
        node.args[0].value
        for _, node in nodes(ast.Call)
        if getattr(node.func, "id", getattr(node.func, "attr", "")) == "BadInput"
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(raised) > 10
    assert raised <= set(ADVICE)


def test_rooms_and_what_is_in_them_stay_small():
    """A file has 250 lines at most, a function 40, a class 18 methods; a folder 16 files."""
    lines = {name: len(text.splitlines()) for name, text in TEXTS.items()}
    assert {name: count for name, count in lines.items() if count > 250} == {}
    assert statistics.median(lines.values()) < 150
    functions = {f"{name}:{node.name}": node.end_lineno - node.lineno + 1
                 for name, node in nodes((ast.FunctionDef, ast.AsyncFunctionDef))}  # fmt: skip
    assert {name: count for name, count in functions.items() if count > 40} == {}
    methods = {f"{name}:{node.name}": sum(isinstance(n, ast.FunctionDef) for n in node.body)
               for name, node in nodes(ast.ClassDef)}  # fmt: skip
    assert {name: count for name, count in methods.items() if count > 18} == {}
    rooms = {room: sum(str(Path(name).parent) == room for name in FILES) for room in ROOMS}
    del rooms["cli"]
    assert {room: count for room, count in rooms.items() if count > 16} == {}


def test_names_say_what_a_thing_is():
    """No file is named for nothing, and none for a private word of ours."""
    words = {word for name in FILES for word in re.split(r"[./_]", name)}
    vague = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
    assert words.isdisjoint(vague | {"truth", "wishes", "slips", "crew", "backstop", "values"})
    private = [name for name in FILES if re.search(r"(^|/)_[a-z]", name)]
    assert private == []
