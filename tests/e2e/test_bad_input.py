"""What strangers drop beside a running service: each has a code of its own, and nothing stops."""

import json
import os

from spoold.errors import ADVICE
from tests.contract import BAD_BYTES
from tests.e2e.conftest import decision, hook, reason, route, until

BYTES = {
    **BAD_BYTES,
    "no-route": json.dumps(decision(1, decision_type="nobody-asked")).encode(),
    "route-error": json.dumps(decision(2, decision_type="needs-more")).encode(),
    "params-refused": json.dumps(decision(3, decision_type="elsewhere")).encode(),
}

ROUTES = [
    """
    name = "needs-more"
    source = "decisions"
    match = 'record.facts.decision_type == "needs-more" && record.body.more > 1'
    executor = "gateway"
    """,
    """
    name = "elsewhere"
    source = "decisions"
    match = 'record.facts.decision_type == "elsewhere"'
    executor = "gateway"
    [params]
    url = "='http://169.254.169.254/' + record.id"
    """,
    route().replace('"true"', "'record.facts.decision_type == \"cutover\"'"),
]


def test_everything_bad_has_its_own_code_and_the_good_goes_on(site, receiver, tmp_path):
    """Bad drops are set aside as they came, with code and advice, and the service goes on."""
    toml = hook(receiver.url).replace('"decision"\n', '"decision"\nsettle = "300ms"\n')
    site.configure(toml, *ROUTES)
    service = site.start("run")
    inbox = site.root / "inbox/decisions"
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps(decision("linked")))
    for code, data in BYTES.items():
        site.drop("decisions", f"{code}.json", data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.txt").write_text("{}")
    (tmp_path / "folder").rename(inbox / "directory.json")
    (inbox / "symlink.json").symlink_to(elsewhere)
    os.mkfifo(inbox / "special-file.json")
    odd = ["-rf.json", "new\nline.json", "a\u202eb.json", "x" * 240 + ".json"]
    for number, name in enumerate(odd):
        site.drop("decisions", name, decision(f"odd-{number}"))
    codes = sorted([*BYTES, "directory", "symlink", "special-file", *["odd-name"] * len(odd)])
    aside = site.root / "quarantine/decisions"

    def reasons():
        return [reason(p.with_name(p.name[:-12])) for p in aside.glob("*.reason.json")]

    # The reason is there a moment before the file.
    until(lambda: site.count("quarantine/decisions") == 2 * len(codes), "all are set aside")
    assert sorted(why["code"] for why in reasons()) == codes
    for why in reasons():
        assert why["advice"] == ADVICE[why["code"]]
        assert why["what"].endswith(".")
        if why["code"] != "odd-name":
            assert why["file"] == f"{why['code']}.json"
    for code, data in BYTES.items():
        assert (aside / f"{code}.json").read_bytes() == data
    assert (aside / "directory.json" / "inner.txt").exists()
    assert os.readlink(aside / "symlink.json") == str(elsewhere)
    kept = [path for path in site.files("quarantine") if reason(path)["code"] == "odd-name"]
    assert all(path.name.isascii() and path.name.isprintable() for path in kept)
    site.drop_many(1)
    site.wait_for("awaiting-approval")
    assert os.listdir(inbox) == []
    assert site.stop(service) == 0
    assert receiver.calls == []


def test_a_half_written_file_is_left_alone_until_it_is_whole(site, receiver):
    """While its writer has it open a file stays in the inbox, however long; then it is taken."""
    toml = hook(receiver.url).replace('"decision"\n', '"decision"\nsettle = "200ms"\n')
    site.configure(toml, route(), rescan="1s")
    site.start("run")
    slow = site.root / "inbox/decisions/slow.json"
    text = json.dumps(decision("slow"))
    with slow.open("w") as file:
        file.write(text[:20])
        file.flush()
        for number in range(2):
            site.drop("decisions", f"cut-{number}.json", b'{"decision_type": ')
            site.wait_for("quarantine", number + 1)
        assert slow.exists()
        file.write(text[20:])
    (made,) = site.wait_for("awaiting-approval")
    assert json.loads(made.read_bytes())["event_key"] == "d-slow"


def test_what_is_no_drop_is_left_alone(site, receiver):
    """Names with a dot in front or without .json are never taken."""
    site.configure(hook(receiver.url), route())
    for name in [".hidden.json", "c.json.tmp", "notes.txt", ".c.json.swp", "c.JSON"]:
        site.drop("decisions", name, decision(name))
    site.drain()
    assert site.count("inbox/decisions") == 5
    assert site.where() == {}
