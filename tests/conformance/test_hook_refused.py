"""What the hook kind refuses before a person sees it: addresses, headers, bodies, tables."""

import pytest
from pydantic import ValidationError

from spoold.executors import hook

_ENTRIES = ["http://a.example:8080/hooks/agent", "https://b.example/hooks/",
            "http://c.example", "http://c.example/odd;v=1/%20"]  # fmt: skip


def _check(url, table, **params):
    params = hook.Params.model_validate({"url": url, **params})
    hook.check(params, hook.Config.model_validate(table))


@pytest.mark.parametrize("url", [
    "http://a.example:8080/hooks/agent", "http://A.EXAMPLE:8080/hooks/agent",
    "https://b.example/hooks/", "https://b.example:443/hooks/x/y?z=%2F..%2F",
    "HTTPS://b.example/hooks/~x@y", "http://c.example/", "http://c.example:80",
    "https://b.example/hooks/a-b._~9:go/.x/y..z/", "https://b.example/hooks/?z=%3B;",
    "http://c.example/odd;v=1/%20",
])  # fmt: skip
def test_an_address_on_the_list_is_accepted(url):
    """An entry allows itself, and all below it when it ends in a slash."""
    _check(url, {"urls": _ENTRIES, "dialect": "plain"})


@pytest.mark.parametrize("url", [
    "https://a.example:8080/hooks/agent", "http://a.example/hooks/agent",
    "http://a.example:8080/hooks/agent/", "http://a.example:8080/hooks/agent?x=1",
    "http://a.example:8080/hooks", "https://b.example:8443/hooks/x", "https://b.example/hooks",
    "https://b.example/hooksx", "https://b.example.evil.example/hooks/x",
    "https://b.example@evil.example/hooks/x", "https://@b.example/hooks/x",
    "https://evil.example#@b.example/hooks/x", "https://evil.example\\@b.example/hooks/x",
    "https://b.example/hooks/x#y", "https://b.example/hooks/x y", "https://b.example/hooks/x\ny",
    "https://b.example/hooks/x\x7f", "https://b.example/hooks/ä",
    "https://b.example/hooks/../admin", "https://b.example/hooks/./x",
    "https://b.example/hooks/..", "https://b.example/hooks/..;/admin",
    "https://b.example/hooks/%2e%2E/admin", "https://b.example/hooks/%252e%252e/admin",
    "https://b.example/hooks/..%2fadmin", "https://b.example/hooks/..%5cadmin",
    "https://b.example/hooks/..\\admin", "https://b.example/hooks/x?token=1",
    "https://b.example/hooks/x?a=b&Access_Token=1", "https://b.example/hooks/x?%74oken=1",
    "https://b.example/hooks/x?secret", "http://c.example/x", "ftp://b.example/hooks/x",
    "file:///hooks/x", "//b.example/hooks/x", "http:/b.example/hooks/x",
    "https://b.example:99999/hooks/x", "https://b.example:0/hooks/x",
    "https://b.example:x/hooks/x", "https://b.example/hooks/" + "x" * 5000, "",
])  # fmt: skip
def test_any_other_address_is_refused(url):
    """No spelling of an address reaches what the list does not name, or hides a secret in it."""
    with pytest.raises(ValueError, match=r"url|begin") as raised:
        _check(url, {"urls": _ENTRIES})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("character", [*"!\"$%&'()*+,;<=>[]^`{|}", "%41", "%00", "%09", "%0d%0a",
                                       "%3b", "%3f", "%23", "%40", "%C0%AE", "%u002e"])  # fmt: skip
@pytest.mark.parametrize("path", ["{}", "x{}", "{}x", "x{}/y", "x/{}y"])
def test_a_path_below_a_prefix_takes_listed_characters_only(character, path):
    """What a record brings into an address can neither end its path nor mean something else."""
    with pytest.raises(ValueError, match=r"url"):
        _check(f"https://b.example/hooks/{path.format(character)}", {"urls": _ENTRIES})


@pytest.mark.parametrize(
    "path", ["/", "/x", "x//y", "x//", "...", "x/...", ".../x", "//evil.example"]
)
def test_a_path_below_a_prefix_has_no_part_that_may_vanish(path):
    """Empty parts and parts of dots, which servers resolve in their own ways, are refused."""
    with pytest.raises(ValueError, match=r"url"):
        _check(f"https://b.example/hooks/{path}", {"urls": _ENTRIES})


def test_the_refusal_of_a_token_says_why():
    """A person who puts the token into the address learns where it belongs."""
    with pytest.raises(ValueError, match=r"OpenClaw refuses it.*`token`"):
        _check("https://b.example/hooks/?token=x", {"urls": _ENTRIES})


@pytest.mark.parametrize(
    ("name", "value"),
    [("Authorization", "Bearer x"), ("COOKIE", "x"), ("Host", "evil"), ("Content-Length", "0"),
     ("Transfer-Encoding", "chunked"), ("Connection", "upgrade"), ("Idempotency-Key", "x"),
     ("X-OpenClaw-Token", "x"), ("Proxy-Authorization", "x"), ("Expect", "100-continue"),
     ("X-A", "b\r\nX-Evil: 1"), ("X-A", "b\n"), ("X-A", " b"), ("X-A", "b\0"), ("X-A", "ä"),
     ("X A", "b"), ("X-A:", "b"), ("", "b"), ("X-Ä", "b")],
)  # fmt: skip
def test_a_header_that_is_ours_or_no_header_is_refused(name, value):
    """A route can neither impersonate, nor repeat a call unseen, nor smuggle a second header."""
    with pytest.raises(ValueError, match="header"):
        _check("http://h/", {"url": "http://h/"}, headers={name: value})


@pytest.mark.parametrize(
    ("more", "words"),
    [({"body": "x" * 99}, "101 bytes"), ({"body": {"n": 2**80}}, "no JSON"),
     ({"body": "\ud800"}, "no JSON"), ({"method": "GET", "body": {}}, "carries no body")],
)  # fmt: skip
def test_a_body_that_cannot_be_sent_is_refused(more, words):
    """A body that is too large, no JSON or out of place never waits for an approval."""
    with pytest.raises(ValueError, match=words):
        _check("http://h/", {"url": "http://h/", "max_body": 100}, **more)


@pytest.mark.parametrize(
    "table",
    [{}, {"url": "http://a@h/"}, {"url": "http://h/?token=x"}, {"urls": ["h/x"]},
     *({"url": "http://h/", **more} for more in
       ({"timeout": "0s"}, {"timeout": 20}, {"method": "TRACE"}, {"token": "plain"}))],
)  # fmt: skip
def test_a_table_that_cannot_work_is_an_error_at_load(table):
    """A mistake in the configuration is found at start, not at the first call."""
    with pytest.raises(ValidationError):
        hook.Config.model_validate(table)
