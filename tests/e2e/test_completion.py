"""The completion files: what a shell is told when somebody presses the tabulator."""

import os
import re
import shlex
import shutil
import subprocess

import click
import pytest

from spoold import cli
from tests.e2e.conftest import CHECKOUT, Site

FILES = CHECKOUT / "packaging/completion"
VERBS = cli.cli.list_commands(click.Context(cli.cli))
BASH, ZSH, FISH = (FILES / name for name in ("spoold.bash", "_spoold", "spoold.fish"))


@pytest.fixture
def shell(site: Site, program, tmp_path):
    """Runs a line of bash in which `spoold` is this package's; its output by lines."""
    given = program("given", f'exec {shlex.join(site.words()[:3])} "$@"')
    (tmp_path / "bin").mkdir()
    given.rename(tmp_path / "bin/spoold")
    env = {**site.env, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}

    def run(script):
        ended = subprocess.run(["bash", "--norc", "--noprofile", "-c", script], env=env,
                               cwd=site.folder, stdin=subprocess.DEVNULL, capture_output=True,
                               text=True, timeout=60, check=False)  # fmt: skip
        assert (ended.returncode, ended.stderr) == (0, ""), (script, ended.stderr)
        return ended.stdout.splitlines()

    return run


def pressed(*words):
    """Bash as it calls the function of the file, with the last word unfinished."""
    quoted = shlex.join(words)
    # What sets options of a completion that is under way fails where none is.
    return f"""
        compopt() {{ echo "compopt $*"; }}
        . {shlex.quote(str(BASH))}
        COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}
        function_of=$(complete -p spoold | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function_of {words[0]}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """


@pytest.mark.parametrize(("words", "wanted"), [
    (("spoold", "ap"), {"approve"}),
    (("spoold", "re"), {verb for verb in VERBS if verb.startswith("re")}),
    (("spoold", "resolve", "--a"), {"--as"}),
    (("spoold", "resolve", "x", "--as", ""), {"done", "failed", "again"}),
    (("spoold", "import", "dec"), {"decision-dispatcher"}),
    (("spoold", "check", "--f"), {"--fix"}),
    (("spoold", "--conf"), {"--config"}),
])  # fmt: skip
def test_bash_completes(shell, words, wanted):
    """Verbs, options and the words that an option takes, from the beginning that is there."""
    assert set(shell(pressed(*words))) == wanted


def asked(path):
    """The command by which a file asks for completions, as it stands there."""
    (line,) = re.findall(r"\(?(env [^\n]*_SPOOLD_COMPLETE[^\n]*? spoold)\)", path.read_text())
    return line


def test_zsh_asks_in_the_way_that_is_answered(shell):
    """Its file asks with the words and the place; it reads kind, word and help, a line each."""
    answer = shell(f"words=(spoold ap) CURRENT=2; {asked(ZSH)}")
    assert answer[:2] == ["plain", "approve"]
    assert len(answer) == 3
    text = ZSH.read_text(encoding="utf-8")
    assert text.startswith("#compdef spoold\n")
    assert "for type key descr in ${response}" in text


def test_fish_asks_in_the_way_that_is_answered(shell):
    """Its file asks with the line and the word; it splits each answer at a comma."""
    line = asked(FISH).replace("(commandline -cp)", "'spoold ap'").replace("(commandline -t)", "ap")
    (answer,) = shell(line)
    kind, _, rest = answer.partition(",")
    assert (kind, re.split(r"[\t,]", rest)[0]) == ("plain", "approve")
    text = FISH.read_text(encoding="utf-8")
    assert 'string split "," $completion' in text
    assert "--command spoold " in text


@pytest.mark.parametrize(("name", "path"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)])
def test_a_shell_that_is_here_accepts_its_file(name, path):
    """Those that this machine has not got are not asked."""
    if found := shutil.which(name):
        ended = subprocess.run([found, "-n", path], capture_output=True, timeout=30, check=False)
        assert (ended.returncode, ended.stderr) == (0, b"")
