"""spoold.toml and routes.d/: what is understood, and how a mistake is named."""

import os
import re

import pytest

from spoold import routing
from spoold.config import configuration as config
from spoold.config.secrets import SecretRef
from spoold.errors import ConfigError
from tests.contract import CONTRACT, CONTRACT_ROUTE

ROUTE = """
name = "any"
source = "decisions"
match = "true"
executor = "runner"
[params]
argv = ["/usr/bin/true"]
"""

SETTINGS = """
root = "../spool"
[sources.decisions]
format = "decision"
[executors.runner]
kind = "command"
programs = ["/usr/bin/true"]
"""


@pytest.fixture
def site(tmp_path):
    """Writes a configuration; returns its file."""

    def write(settings=SETTINGS, **routes):
        folder = tmp_path / "config"
        (folder / "routes.d").mkdir(parents=True, exist_ok=True)
        file = folder / "spoold.toml"
        file.write_text(settings, encoding="utf-8")
        for name, text in routes.items():
            (folder / "routes.d" / f"{name}.toml").write_text(text, encoding="utf-8")
        return file

    return write


def refused(file):
    """The lines of the error with which a configuration is refused."""
    with pytest.raises(ConfigError) as error:
        routing.load(config.load(file))
    assert error.value.exit_code == os.EX_CONFIG
    return str(error.value).splitlines()


def line_with(text, mark):
    """The number of the line that holds a mark."""
    (number,) = [n for n, line in enumerate(text.splitlines(), 1) if mark in line]
    return number


# What is understood


@pytest.mark.parametrize("with_folder", [True, False])
def test_a_configuration_without_routes_is_one(site, with_folder):
    """Inboxes alone are enough: what is dropped goes to quarantine until a route takes it."""
    file = site('root = "/x"\n[sources.a]\nformat = "task"\n')
    if not with_folder:
        (file.parent / "routes.d").rmdir()
    loaded = config.load(file)
    assert loaded.routes == ()
    assert loaded.settings.sources["a"].max_bytes == 1 << 20


def test_routes_are_tried_in_the_order_of_their_file_names(site):
    """The order is that of the names, whatever order the folder gives; other files do not count."""
    texts = {name: ROUTE.replace('"any"', f'"r{name}"') for name in ("20", "10", "05")}
    file = site(**texts)
    (file.parent / "routes.d" / "00.toml.bak").write_text("not = [toml")
    assert [r.table.name for r in config.load(file).routes] == ["r05", "r10", "r20"]


def test_what_a_route_leaves_out_has_the_defaults_of_the_contract(site):
    """A person is asked, one yes is enough, repeats fold, and nothing else is set."""
    table = config.load(site(r=ROUTE)).routes[0].table
    assert table.requires_approval is True
    assert (table.approval.policy, table.approval.quorum, table.approval.approvers) == (
        "move", 1, [],
    )  # fmt: skip
    assert table.on_repeat == "fold"
    assert (table.event_key, table.intent_key, table.lane, table.expires_after) == (None,) * 4


@pytest.mark.parametrize(
    ("root", "where"),
    [("../spool", "spool"), (".", "config"), ("a/../b", "config/b"), ("sp ace", "config/sp ace"),
     ("/srv/x", "/srv/x"), ("~/s", "/home/somebody/s")],
)  # fmt: skip
def test_a_root_is_absolute_at_home_or_relative_to_its_file(
    site, tmp_path, monkeypatch, root, where
):
    """Where the process runs makes no difference to where the spool is."""
    file = site(SETTINGS.replace("../spool", root))
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert config.load(file).root == (tmp_path / where).resolve()


def test_the_example_of_the_contract_says_what_it_says(site, tmp_path):
    """The design's example loads as it is, and every value in it arrives where it belongs."""
    file = site(CONTRACT, **{"10-ready-ticket": CONTRACT_ROUTE})
    loaded = routing.load(config.load(file))
    assert loaded.config.root == tmp_path / "spool"
    assert {name: inbox.table.format for name, inbox in loaded.inboxes.items()} == {
        "decisions": "decision", "webhooks": "webhook", "tasks": "task",
    }  # fmt: skip
    assert {name: one.kind_name for name, one in loaded.executors.items()} == {
        "openclaw": "hook", "runner": "command",
    }  # fmt: skip
    assert loaded.executors["openclaw"].defaults["url"] == "http://127.0.0.1:18789/hooks/agent"
    assert loaded.executors["openclaw"].config.token == SecretRef(env="OPENCLAW_HOOK_TOKEN")
    assert loaded.executors["runner"].config.programs == ["/usr/bin/true", "hyops"]
    (route,) = loaded.routes
    assert (route.table.name, route.table.source) == ("ready-ticket", "webhooks")
    assert route.expires_after == 4 * 3600
    assert list(route.params.expressions()) == [("body", "message")]
    assert list(route.targets.expressions()) == [("target_ref",)]


# How a mistake is named


def test_a_named_file_that_is_not_there_is_an_error(tmp_path):
    """What somebody asked for by name is never replaced by one of the usual places."""
    assert refused(tmp_path / "none.toml") == [
        f"{tmp_path}/none.toml: cannot read it: No such file or directory"
    ]


def test_a_name_for_which_no_user_can_be_made_is_named_with_its_line(site):
    """With users of their own, an executor's name must fit into one; without, it may be longer."""
    long = "x" * 23
    text = SETTINGS + f'\n[executors.{long}]\nkind = "command"\nprograms = ["/usr/bin/true"]\n'
    assert long in routing.load(config.load(site(text))).executors
    text = f"separate_users = true\n{text}"
    file = site(text)
    (said,) = refused(file)
    assert said.startswith(f"{file}:{line_with(text, long)}: executor {long}: ")
    assert "at most 22 characters" in said


#: What is changed in SETTINGS or ROUTE (or added, where nothing is named), the line of the
#: mistake by a mark in it, and what is said of it.
IN_SETTINGS = [
    ("root = ", "rooot = 1\nroot = ", "rooot", "rooot: unknown key"),
    ('root = "../spool"', "root = 5", "root", "root: "),
    ('root = "../spool"', 'rescan = "soon"', "rescan", "rescan: 'soon' is no duration"),
    ('root = "../spool"', "rescan = 5", "rescan", "rescan: 5 is no duration"),
    ('root = "../spool"', 'rescan = "-5s"', "rescan", "rescan: "),
    # A service that never pauses between two looks would take a whole processor.
    ('root = "../spool"', 'root = "x"\nrescan = "0s"', "rescan", "rescan: "),
    ('root = "../spool"', 'expires_after = "1w"', "expires_after", "expires_after: "),
    ('format = "decision"', "format = true", "format", "sources.decisions.format: "),
    ('format = "decision"', 'format = "xml"', "xml", "sources.decisions.format: no format 'xml'"),
    ('"decision"', '"task"\nmax_bytes = 0', "max_bytes", "sources.decisions.max_bytes: "),
    ('"decision"', '"task"\nmax_bytes = "1"', "max_bytes", "decisions.max_bytes: "),
    ('"decision"', '"task"\nmax_depth = 1e3', "max_depth", "decisions.max_depth: "),
    ('"command"', '"rocket"', "rocket", "executors.runner.kind: no executor kind 'rocket'"),
    ('"command"', '"command"\nconcurrency = 0', "concurrency", "runner.concurrency: "),
    ('"command"', '"command"\nconcurrency = true', "concurrency", "runner.concurrency: "),
    ('"command"', '"command"\nretry = 3', "retry", "executors.runner.retry: "),
    ('"command"', '"command"\nretry.tries = 0', "retry", "runner.retry.tries: "),
    ('"command"', '"command"\nretry.bses = "5s"', "bses", "bses: unknown key"),
    ('"command"', '"command"\nretry = { tries = 2, bses = "5s" }', "bses", "bses: unknown key"),
    ("programs = ", "env = { A = 1 }\nprograms = ", "env", "executors.runner.env.A: "),
    ("programs = ", 'timeouts = "5s"\nprograms = ', "timeouts", "timeouts: unknown key"),
    ("", '[sources.a]\nformat = "task"\nmax_byte = 5', "max_byte", "max_byte: unknown key"),
    ("", '[sources.a]\nformat = "webhook"\n[sources.a.plane]\nproject = {}', "project = ",
     "project: unknown key"),
    ("", '[executors.runner.retry]\nbses = "5s"', "bses", "bses: unknown key"),
    ("", '[executors.x]\nkind = "hook"\nurl = "http://127.0.0.1/"\ntoken = { evn = "X" }', "evn",
     "evn: unknown key"),
    ("", "[preflight]\nprograms = []\nprogram = 1", "program = 1", "program: unknown key"),
    ("", "a = = 2", "a = = 2", ""),
    ("", "\n[x", "[x", ""),
    ("", "a = 1\na = 2", "a = 2", ""),
]  # fmt: skip
IN_ROUTE = [
    ("[params]", 'oops = "x"\n[params]', "oops", "oops: unknown key"),
    ("[params]", "[approval]\noops = 1\n[params]", "oops", "approval.oops: unknown key"),
    ("[params]", "approval = { oops = 1 }\n[params]", "oops", "approval.oops: unknown key"),
    ("[params]", 'approval.oops = "x"\n[params]', "oops", "approval.oops: unknown key"),
    ("[params]", '[[preflight]]\nargv = ["/bin/x"]\noops = 1\n[params]', "oops",
     "preflight.0.oops: unknown key"),
    ("[params]", "[[preflight]]\nargv = []\n[[preflight]]\nargv = []\noops = 1\n[params]", "oops",
     "preflight.1.oops: unknown key"),
    ("[params]", '[[preflight]]\nargv=[]\n[[preflight]]\nargv=[]\ntimeout = "bad"\n[params]',
     '"bad"', "preflight.1.timeout: "),
    ("[params]", "preflight = [\n  { argv = [] },\n  { argv = [], x = 1 },\n]\n[params]",
     "preflight", "preflight.1.x: unknown key"),
    ('"any"', '"Not A Name"', "name", "name: "),
    ('"any"', '"../up"', "name", "name: "),
    ('"any"', f'"{"x" * 64}"', "name", "name: "),
    ('match = "true"', "match = true", "match", "match: "),
    ("[params]", 'requires_approval = "no"\n[params]', "requires", "requires_approval: "),
    ("[params]", 'on_repeat = "ignore"\n[params]', "on_repeat", "on_repeat: "),
    ("[params]", "lane = 1\n[params]", "lane", "lane: "),
    ("[params]", 'preflight = ["true"]\n[params]', "preflight", "preflight.0: "),
    ("[params]", "expires_after = 4\n[params]", "expires", "expires_after: 4 is no duration"),
    # A time of nothing, or beyond the calendar: nobody can mean it.
    *(("[params]", f'expires_after = "{text}"\n[params]', "expires", "expires_after: ")
      for text in ("0s", "0d", "999999999d")),
    *(("[params]", spelling.format('policy = "vote"') + "\n[params]", "vote", "approval.policy: ")
      for spelling in ("[approval]\n{}", "approval = {{ {} }}", "approval.{}")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("is_route", "before", "after", "mark", "words"),
    [(False, *row) for row in IN_SETTINGS] + [(True, *row) for row in IN_ROUTE],
)
def test_a_mistake_is_named_with_its_key_file_and_line(site, is_route, before, after, mark, words):
    """Unknown keys, wrong types and values, and bad TOML, in any table, however it is written."""
    original = ROUTE if is_route else SETTINGS
    text = original.replace(before, after, 1) if before else f"{original}\n# a comment\n{after}\n"
    file = site(r=text) if is_route else site(text)
    where = file.parent / "routes.d/r.toml" if is_route else file
    begin = f"{where}:{line_with(text, mark)}: "
    assert [line for line in refused(file) if line.startswith(begin) and words in line]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ('policy = "named"', "'named' is not built yet"),
        ('policy = "signed"', "'signed' is not built yet"),
        ("quorum = 2", "quorum must be 1"),
        ("quorum = 0", "quorum must be 1"),
        ('approvers = ["a"]', "approvers empty"),
    ],
)
@pytest.mark.parametrize("spelling", ["[approval]\n{}", "approval = {{ {} }}", "approval.{}"])
def test_an_approval_that_is_not_built_is_an_error(site, what, words, spelling):
    """Anything but one move by anybody is refused at its line, in whatever way it is written."""
    text = ROUTE.replace("[params]", spelling.format(what) + "\n[params]")
    file = site(r=text)
    (said,) = refused(file)
    assert words in said
    lines = {line_with(text, what), line_with(text, "approval")}
    assert int(re.match(r".*/r\.toml:(\d+): ", said)[1]) in lines


@pytest.mark.parametrize("key", ["name", "source", "match", "executor"])
def test_a_key_that_is_missing_is_named(site, key):
    """A route without one of its four keys says which, and in which file."""
    file = site(r=re.sub(rf"^{key} = .*\n", "", ROUTE, flags=re.MULTILINE))
    assert refused(file) == [f"{file.parent}/routes.d/r.toml: {key}: is missing"]


def test_all_mistakes_are_told_at_once(site):
    """Wrong keys in the settings and in several routes, bad TOML among them: one line for each."""
    file = site(
        SETTINGS.replace('root = "../spool"', 'root = 1\nrescan = "x"'),
        a=ROUTE.replace('"true"', "1\nlane = 2"),
        b="name = = 1",
        c=ROUTE.replace('"any"', '"c"\nwhat = 1'),
    )
    said = refused(file)
    where = [re.match(r".*/([a-z.]+):(\d+): ", line).groups() for line in said]
    assert where == [
        ("spoold.toml", "2"), ("spoold.toml", "3"),
        ("a.toml", "4"), ("a.toml", "5"), ("b.toml", "1"), ("c.toml", "3"),
    ]  # fmt: skip


def test_mistakes_of_executors_and_routes_are_told_at_once(site):
    """A wrong executor does not hide the mistake in a route that has nothing to do with it."""
    file = site(
        SETTINGS + '[executors.other]\nkind = "rocket"\n',
        a=ROUTE.replace('"true"', '"tru("'),
    )
    said = "\n".join(refused(file))
    assert "executors.other.kind" in said
    assert "a.toml:4: match: " in said


def test_two_routes_of_one_name_are_an_error(site):
    """The second one is named with its line and the file that has the name already."""
    file = site(a=ROUTE, b=ROUTE)
    (said,) = refused(file)
    folder = file.parent / "routes.d"
    assert said == f"{folder}/b.toml:2: the name 'any' is taken by {folder}/a.toml"


@pytest.mark.parametrize("text", ["a = [1,\n", 'a = """\n\n', "a = {"])
def test_toml_that_ends_too_early_is_named_with_a_line(site, text):
    """A list, text or table without an end is an error with a line too."""
    file = site(text)
    (said,) = refused(file)
    assert re.match(rf"{re.escape(str(file))}:\d+: ", said), said


def test_an_editors_lock_is_no_route(site):
    """A hidden name in routes.d, such as Emacs' link `.#10.toml` to nowhere, is not read."""
    file = site(r=ROUTE)
    (file.parent / "routes.d/.#10.toml").symlink_to("somebody@host.1:2")
    assert len(config.load(file).routes) == 1


def test_what_cannot_be_read_is_named(site):
    """A file that is not UTF-8, and a folder named like a route, are errors with their name."""
    file = site()
    (file.parent / "routes.d/x.toml").write_bytes(b'name = "\xff"')
    (file.parent / "routes.d/y.toml").mkdir()
    said = refused(file)
    assert said[0].endswith("x.toml: is not UTF-8")
    assert "y.toml: cannot read it: " in said[1]


HOOK = """
root = "x"
[sources.a]
format = "task"
[executors.h]
kind = "hook"
url = "http://127.0.0.1/"
"""


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ('"s3cr3t"', ""),
        ('["s3cr3t"]', ""),
        ('{ value = "s3cr3t" }', ""),
        ('{ env = "A", value = "s3cr3t" }', ""),
        ('{ env = ["s3cr3t"] }', ""),
        ("{}", "exactly one of"),
        ('{ env = "A", file = "b" }', "exactly one of"),
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_not_repeated(site, token, words):
    """A token where one reference belongs, or two, is an error at its line, without the token."""
    file = site(f"{HOOK}token = {token}\n")
    said = refused(file)
    assert all(line.startswith(f"{file}:8: executors.h.token") for line in said)
    assert all(words in line for line in said)
    assert "s3cr3t" not in "\n".join(said)


@pytest.mark.parametrize("url", ["http://user:s3cr3t@127.0.0.1/", "ftp://u:s3cr3t@h/"])
def test_a_password_in_a_url_is_refused_and_not_repeated(site, url):
    """A URL would show its password in every request, so it is refused, without quoting it."""
    said = "\n".join(refused(site(HOOK.replace("http://127.0.0.1/", url))))
    assert "s3cr3t" not in said
