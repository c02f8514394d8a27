"""spoold(1): every verb, option, exit code and variable is in it, and nothing that is not there."""

import ast
import importlib
import os
import pkgutil
import re
from pathlib import Path

import click
import pytest

import spoold
from spoold import cli, errors
from tests.unit._manual import items, named, page

PACKAGE = Path(spoold.__file__).parent
TREES = [ast.parse(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py")]
#: Codes of `sysexits` have a name in os; a shell gives this one to what Ctrl-C ended.
INTERRUPTED = 130


def blocks():
    """Verb → the text of its entries in spoold(1)."""
    found: dict[str, str] = {}
    verb = ""
    for line in page("spoold.1").splitlines():
        if line.startswith(".It Ic "):
            verb = line.split()[2]
        elif line.startswith((".Ss ", ".Sh ")):
            verb = ""
        if verb:
            found[verb] = f"{found.get(verb, '')}{line}\n"
    return found


def options_in(text):
    """`Fl -reason` → `--reason`."""
    return {f"-{name}" for name in re.findall(r"\bFl (-?[a-z][a-z-]*)", text)}


def options_of(command):
    """What a command takes, but for what all take."""
    found = [param for param in command.params if isinstance(param, click.Option)]
    return {opt for param in found for opt in param.opts} - {"--json"}


def test_every_verb_has_its_entry():
    """The verbs of spoold(1) are those of the command line."""
    assert {*blocks()} == {*cli.cli.list_commands(click.Context(cli.cli))}


@pytest.mark.parametrize("verb", cli.cli.list_commands(click.Context(cli.cli)))
def test_every_option_of_a_verb_is_in_its_entry(verb):
    """A verb's entry names each of its options, no other, and whether it takes arguments."""
    command = cli.cli.get_command(click.Context(cli.cli), verb)
    assert command is not None
    assert options_in(blocks()[verb]) == options_of(command)
    takes = any(isinstance(param, click.Argument) for param in command.params)
    heading = re.sub(r"Fl -[a-z-]+ (Ar|Cm) \S+", "", blocks()[verb].splitlines()[0])
    assert (" Ar " in heading) == takes


def test_the_options_before_the_verb_are_there():
    """The entries of the description are the options of `spoold` itself."""
    said = {n for item in items(page("spoold.1"), "DESCRIPTION") for n in options_in(item.heading)}
    assert said == options_of(cli.cli) | {"--json", "-h", "--help"}


# Exit codes, variables


def exit_codes():
    """Every code that the package can end with."""
    for module in pkgutil.walk_packages(spoold.__path__, "spoold."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    codes, todo = {0, INTERRUPTED}, [errors.SpooldError]
    while todo:
        one = todo.pop()
        todo += one.__subclasses__()
        if one.__module__.startswith("spoold."):
            codes.add(one.exit_code)
    for tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith("EX_"):
                codes.add(getattr(os, node.attr))
    return codes


def test_every_exit_code_is_explained():
    """The exit codes of spoold(1) are those that an error, or the code, names."""
    said = {int(item.heading) for item in items(page("spoold.1"), "EXIT STATUS")}
    assert said == exit_codes()


def test_every_variable_is_explained():
    """What the package asks its environment for is in spoold(1)."""
    asked = set()
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        asked |= {*re.findall(r'os\.environ(?:\.get\(|\[)"(\w+)"', text)}
        asked |= {*re.findall(r'"(\w+)" (?:not )?in os\.environ', text)}
        asked |= {*re.findall(r'user_folder\("(\w+)"', text)}
    assert named(page("spoold.1"), "ENVIRONMENT", macro="Ev") == asked | {cli._COMPLETE}
