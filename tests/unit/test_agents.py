"""Agents: which command and which model a request gets, and what is heard of it; no process."""

import base64
import json
import sys
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spoold.executors import agent
from spoold.executors.agent.commands import Command
from spoold.model_names import choose_model, model_family
from spoold.supervisor.redact import StreamRedactor
from spoold.supervisor.usage import Usage


def complete(config, **given):
    """The arguments of a request."""
    settings = agent.Config.model_validate(config)
    fields = {"prompt": "x", "cwd": "/tmp", **given}
    params = agent.Params.model_validate(agent.complete(fields, settings, {}))
    agent.check(params, settings)
    return params


# Models


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("gpt-5", ["gpt-*"], "gpt-5"),
        ("GPT-5", ["gpt-5"], "gpt-5"),
        ("minimax2.7", ["minimax-m2"], "minimax-m2"),
        ("qwen3.6", ["local-qwen3.6-coder"], "local-qwen3.6-coder"),
        ("local-gemma4", ["gemma*"], "local-gemma4"),
        ("local-gpt-5", ["gpt-5"], "gpt-5"),
        ("local-gpt-5", ["gpt-*"], "local-gpt-5"),
        ("Local-GPT-5", ["local-gpt-*"], "Local-GPT-5"),
        ("local-sonnet", ["gpt-*"], None),
        ("gpt-5", ["gpt-5.2"], None),
        ("qwen3.6", ["gemma4"], None),
        ("sonnet", [], None),
        ("qwen3.6", ["qwen3", "qwen3.6"], "qwen3.6"),
    ],
)
def test_a_model_is_chosen_by_its_family(wanted, offered, chosen):
    """The exact label first, then a pattern, then the family of minimax, qwen and gemma."""
    assert choose_model(wanted, offered) == chosen


def test_a_choice_is_its_own_choice():
    """What was chosen and approved is chosen again, so nothing changes between the two."""
    offered = ["local-qwen3.6-coder", "gpt-*", "minimax-m2"]
    for wanted in ("qwen3", "gpt-5", "minimax2.7"):
        chosen = choose_model(wanted, offered)
        assert choose_model(chosen, offered) == chosen


def test_a_family_has_no_prefix_and_no_case():
    """`local-` is where a model runs, not what it is."""
    assert model_family(" Local-Qwen3.6-Coder") == "qwen"
    assert model_family("gpt-5.2") == "gpt-5.2"


# Commands


@pytest.mark.parametrize(
    ("slug", "program", "prompt"),
    [("claudecode", "claude", "stdin"), ("codex", "codex", "stdin"),
     ("opencode", "opencode", "stdin"), ("hermes", "hermes", "file")],
)  # fmt: skip
def test_the_known_agents_need_no_configuration(slug, program, prompt):
    """Without a table the four known agents can be named, each with its own words."""
    command = agent.Config().commands[slug]
    assert (command.argv[0], command.prompt) == (program, prompt)
    argv = complete({}, agent=slug, model="gpt-5").argv
    assert "gpt-5" in argv
    assert "x" not in argv, "the prompt is never an argument"


def test_a_table_is_an_allow_list():
    """Once commands are configured, only those can be named."""
    config = {"commands": {"codex": {}}}
    assert complete(config, agent="codex").argv[:2] == ["codex", "exec"]
    with pytest.raises(ValueError, match="no agent 'hermes' is configured; there are: codex"):
        complete(config, agent="hermes")


@pytest.mark.parametrize(
    ("argv", "rendered"),
    [
        (["codex", "exec", "-"], ["codex", "exec", "--model", "m", "-"]),
        (["claude", "-p"], ["claude", "-p", "--model", "m"]),
        (["x", "{model}", "y"], ["x", "m", "y"]),
    ],
)
def test_the_model_goes_where_options_go(argv, rendered):
    """Before a final dash, at the end, or where `{model}` stands."""
    assert Command.model_validate({"argv": argv}).render("m") == rendered


@pytest.mark.parametrize(
    "model", ["--yolo", "-m", "a b", "", "a\nb", "$(x)", "é", "x" * 300]
)  # fmt: skip
def test_a_model_is_a_label_and_never_an_option(model):
    """A record's model cannot become another argument."""
    with pytest.raises(ValueError, match="no label of a model"):
        complete({}, agent="codex", model=model)


def test_a_model_that_is_not_listed_is_refused_with_the_list():
    """Who asks for another model reads which there are."""
    config = {"commands": {"codex": {"models": ["gpt-*", "o4"]}}}
    with pytest.raises(ValueError, match=r"may not run model 'sonnet'; there are: gpt-\*, o4"):
        complete(config, agent="codex", model="sonnet")


@pytest.mark.parametrize(
    ("models", "chosen"),
    [(None, None), (["*"], None), (["gpt-*", "*"], None), (["o4"], "o4"), (["gpt-*", "o4"], "o4")],
)
def test_a_request_without_a_model_gets_the_one_that_is_named(models, chosen):
    """One literal name in the list leaves no choice; a star leaves it to the tool."""
    config = {"commands": {"codex": {"models": models} if models else {}}}
    assert complete(config, agent="codex").model == chosen


@pytest.mark.parametrize("models", [["gpt-*"], ["gpt-5", "o4"], [], ["gpt-?", "o[34]"]])
def test_a_list_of_models_has_no_back_door(models):
    """A request that names no model is refused where the tool's own choice may not be listed."""
    config = {"commands": {"codex": {"models": models}}}
    with pytest.raises(ValueError, match="agent codex needs a `model` in the request; there are"):
        complete(config, agent="codex")


@pytest.mark.parametrize(
    "command",
    [{"argv": []}, {"argv": ["bin/x"]}, {"argv": ["x"], "prompt": "file"},
     {"argv": ["x", "{prompt_file}"]}, {"argv": ["x"], "modles": []},
     {"argv": ["x"], "logged_in": "("}, {"argv": ["x"], "login": []}],
)  # fmt: skip
def test_a_command_that_cannot_work_is_refused_when_it_is_read(command):
    """A mistake in the configuration is found before the first request."""
    with pytest.raises(ValidationError):
        agent.Config.model_validate({"commands": {"it": command}})


@pytest.mark.parametrize(
    "evidence",
    [{}, {"file": "/etc/passwd"}, {"file": "../x"}, {"file": "a/../../x"}, {"file": ""},
     {"file": "."}, {"file": "./"}, {"json": "a..b"},
     {"pattern": "("}, {"pattern": ""}, {"none": False}, {"file": "a", "none": True},
     {"files": "a"}],
)  # fmt: skip
def test_evidence_that_nobody_could_find_is_refused(evidence):
    """A route's evidence is one of four forms, and a file lies below the working directory."""
    with pytest.raises(ValidationError):
        complete({}, agent="codex", evidence=evidence)


@pytest.mark.parametrize(
    "given", [{"cwd": "work"}, {"cwd": "/a\0b"}, {"prompt": "  \n"}, {"prompt": "a\0"},
              {"prompt": "x" * (1 << 20 | 1)}, {"env": {"A=B": "x"}},
              {"env": {"SPOOLD_DISPATCH_ID": "x"}}],
)  # fmt: skip
def test_what_no_system_would_start_is_refused_before_a_person_sees_it(given):
    """An impossible folder, prompt or variable never waits for a yes."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        complete({}, agent="codex", **given)


@pytest.mark.parametrize(
    ("given", "lane"),
    [({}, "/srv/work"), ({"cwd": "//srv/./work/"}, "/srv/work"), ({"worktree": True}, None),
     ({"cwd": "/"}, "/")],
)  # fmt: skip
def test_a_folder_is_a_lane(given, lane):
    """However it is written; a worktree is nobody else's."""
    assert agent.lane(complete({}, **{"agent": "codex", "cwd": "/srv/work", **given})) == lane


def test_a_lane_does_not_depend_on_where_links_lead(tmp_path):
    """Of one path comes one lane, whatever a link points to, and whoever may see it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    made = complete({}, agent="codex", cwd=f"{tmp_path}/link")
    assert agent.lane(made) == f"{tmp_path}/link"


# What is heard of it


def heard(*lines):
    """Cost, turns and value under `result` after these lines, given as bytes or as data."""
    usage = Usage("result")
    for line in lines:
        usage.feed((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
    usage.end()
    assert usage.turns is None or type(usage.turns) is int
    orjson.dumps([usage.cost, usage.turns], option=orjson.OPT_STRICT_INTEGER)
    return usage.cost, usage.turns, usage.value


@given(st.lists(st.integers(1, 60)))
def test_output_is_read_the_same_however_it_is_cut(cuts):
    """Lines that come in pieces say what they say whole."""
    said = [{"type": "turn.completed"}, {"total_cost_usd": 1.5}, {"result": "ü fine"},
            {"type": "step_finish", "part": {"cost": 2.25}}]  # fmt: skip
    data = b"noise\n" + b"".join(json.dumps(line).encode() + b"\n" for line in said)
    usage = Usage("result")
    for cut in cuts:
        usage.feed(data[:cut])
        data = data[cut:]
    usage.feed(data)
    usage.end()
    assert (usage.cost, usage.turns, usage.value) == (2.25, 2, "ü fine")


MOST_TURNS, MOST_COST = 2**53 - 1, sys.float_info.max
EVENTS = [{"type": "system"}, {"type": "turn.completed"},
          {"type": "result", "result": "x", "total_cost_usd": 9.5},
          {"type": "turn.completed"}]  # fmt: skip
STEP = {"type": "step_finish", "part": {"cost": 1.5e308}}


@pytest.mark.parametrize(
    ("lines", "cost", "turns"),
    [
        # Nonsense, depth and impossible numbers are neither cost nor turns, and break nothing.
        ([b"[" * 100_000], None, None),
        ([b'{"a":' * 100_000], None, None),
        ([b'{"total_cost_usd": 1e999}'], None, None),
        ([b'{"total_cost_usd": NaN}'], None, None),
        ([b'{"num_turns": ' + b"9" * 5000 + b"}"], None, None),
        ([b"\xff\xfe{"], None, None),
        ([{"total_cost_usd": True}], None, None),
        ([{"total_cost_usd": -5}], None, None),
        ([{"num_turns": "three"}], None, None),
        ([{"type": ["a"]}], None, None),
        ([{"total_cost_usd": "inf", "num_turns": "nan"}], None, None),
        ([{"total_cost_usd": "-1", "num_turns": "-1"}], None, None),
        ([{"total_cost_usd": "", "num_turns": "many"}], None, None),
        ([{"total_cost_usd": -(10**400), "num_turns": -(10**400)}], None, None),
        # A number in a string is one; too many are as many as can be said.
        ([{"total_cost_usd": "900.5", "num_turns": "400"}], 900.5, 400),
        ([{"total_cost_usd": " 1e2 ", "num_turns": "2.5"}], 100.0, 3),
        ([{"num_turns": 2.5}], None, 3),
        ([{"num_turns": 1e25}], None, MOST_TURNS),
        ([{"num_turns": "1e300"}], None, MOST_TURNS),
        ([{"num_turns": 10**400}], None, MOST_TURNS),
        ([{"num_turns": MOST_TURNS}], None, MOST_TURNS),
        ([{"total_cost_usd": 10**400}], MOST_COST, None),
        # However much the steps cost, together it is a number.
        ([STEP, STEP, STEP], MOST_COST, 3),
        # Events that come as one list, on one line or many, count once each.
        ([EVENTS], 9.5, 2),
        ([("[\n" + ",\n".join(map(json.dumps, EVENTS)) + "\n]").encode()], 9.5, 2),
    ],
)  # fmt: skip
def test_amounts_are_numbers_that_can_be_written_down(lines, cost, turns):
    """What cannot be an amount of something says nothing, and all else counts too."""
    assert heard(*lines)[:2] == (cost, turns)
    assert heard({"result": "x"}, *lines)[2] == "x"


NAN = float("nan")


@pytest.mark.parametrize(
    ("said", "value"),
    [
        *((nothing, None) for nothing in (
            NAN, float("inf"), "", " \t\n", [], {}, [""], {"a": None}, [[], {"a": [" "]}], None,
            False, [False], {"a": NAN}, {"text": ""})),
        ("x", "x"), ([["", "x"]], '[["", "x"]]'), ({"a": {"b": 0}}, '{"a": {"b": 0}}'), (3, "3"),
        ([0.5], "[0.5]"), (0.5, "0.5"), (True, "true"), ([None, True], "[null, true]"),
        (10**400, str(10**400)),
    ],
)  # fmt: skip
def test_a_value_is_what_has_something_in_it(said, value):
    """Text, a number or a yes, also deep inside, is a result; emptiness in any shape is none."""
    assert heard({"result": said})[2] == value


@pytest.mark.parametrize("depth", [300, 700, 900, 980])
def test_depth_breaks_nothing(depth):
    """What can be read, but is too deep to be searched or written, ends no supervisor."""
    deep = [b'{"%s": %s"x"%s}' % (key, b"[" * depth, b"]" * depth)
            for key in (b"result", b"is_error")]  # fmt: skip
    assert heard(*deep, {"num_turns": 3})[1] == 3


@pytest.mark.parametrize("yes", [True, "true", "True"])
def test_a_result_that_is_an_error_is_no_evidence(yes):
    """What a tool calls its result, and an error as well, is not what was asked for."""
    failed = {"type": "result", "is_error": yes, "result": "API Error 401"}
    assert heard({"result": "fine"}, failed)[2] is None


def redacted(secrets, data, cuts=()):
    """What gets through when the data come in pieces."""
    redactor, out = StreamRedactor(secrets), b""
    for cut in cuts:
        out += redactor.feed(data[:cut])
        data = data[cut:]
    return out + redactor.feed(data) + redactor.end()


@given(st.lists(st.sampled_from([b"s3cr", b"3t", b"s3cr3t", b"x", b"s", b"\n"])),
       st.lists(st.integers(1, 9)))  # fmt: skip
def test_a_secret_never_gets_through_however_it_is_cut(parts, cuts):
    """What comes out has no secret in it, and everything else is there."""
    data = b"".join(parts)
    assert redacted(["s3cr3t", ""], data, cuts) == data.replace(b"s3cr3t", b"[redacted]")


@given(st.lists(st.integers(1, 30)), st.binary(max_size=5))
def test_an_encoded_secret_is_hidden_too_however_it_is_cut(cuts, before):
    """base64 of any alignment and alphabet, also broken, hex and URL escapes are taken out."""
    secret = "T0k/en+with?odd>chars~" * 5
    data = secret.encode()
    shared = -(-len(before) * 8 // 6)
    for spelled in (
        base64.b64encode(before + data), base64.urlsafe_b64encode(before + data + before),
    ):  # fmt: skip
        head, found, tail = redacted([secret], spelled, cuts).partition(b"[redacted]")
        assert found
        assert len(head) <= shared
        assert len(tail) <= shared + 3
    for whole in (data.hex().encode(), data.hex().upper().encode(), quote(data, safe="").encode()):
        assert redacted([secret], whole, cuts) == b"[redacted]"
    broken = base64.encodebytes(data)
    assert redacted([secret], broken, cuts) == b"[redacted]\n" * broken.count(b"\n")


@given(st.lists(st.integers(1, 30)))
def test_a_line_of_a_secret_is_hidden_too_however_it_is_cut(cuts):
    """Of a secret with several lines each long one is one; so is its spelling in JSON."""
    secret = "-----BEGIN KEY-----\nMIIEvQIBADAN\nab\n-----END KEY-----\n"
    data = f"x {secret} y\n  MIIEvQIBADAN  \nab ü MIIEvQIB".encode()
    hidden = "x [redacted] y\n  [redacted]  \nab ü MIIEvQIB"
    assert redacted([secret], data, cuts).decode() == hidden
    quoted = json.dumps({"k": secret}).encode()
    assert redacted([secret], quoted, cuts) == b'{"k": "[redacted]"}'
