"""Every record there is, dropped at once into the example configuration."""

import hashlib
from collections import Counter

import pytest

from spoold.errors import ADVICE
from tests.e2e.conftest import CHECKOUT, read, reason

RECORDS = CHECKOUT / "tests/records"
SAMPLES = CHECKOUT.parent / "shared/samples"

#: What a record's folder says about its inbox; tasks for the others.
INBOXES = {
    "decision": "decisions", "hybridops": "decisions", "webhook": "webhooks", "plane": "webhooks",
    "github": "webhooks", "infra-dispatcher": "webhooks", "openclaw": "webhooks",
}  # fmt: skip


@pytest.mark.parametrize("folder", [RECORDS, SAMPLES], ids=["records", "samples"])
def test_every_record_ends_in_exactly_one_place(site, folder):
    """Each drop ends in one place, answered for; a second drain and a second drop make nothing."""
    if not folder.exists():
        pytest.skip("the samples are not here")
    site.spoold(words=[*site.words()[:3], "init", str(site.folder)])
    dropped = {}
    for path in sorted(folder.rglob("*.json")):
        inbox = INBOXES.get(path.parent.name, "tasks")
        name = f"{path.parent.name}.{path.name}"
        site.drop(inbox, name, path.read_bytes())
        dropped[(inbox, name)] = path.read_bytes()
    assert len(dropped) > 20
    site.drain()

    assert site.files("inbox") == []
    assert list(site.root.glob("archive/*/.taking/*")) == []
    archived = {(p.relative_to(site.root).parts[1], p.name): p for p in site.files("archive")}
    aside = {(p.parent.name, p.name): p for p in site.files("quarantine")}
    assert archived.keys() & aside.keys() == set()
    kept = {key: path.read_bytes() for key, path in {**archived, **aside}.items()}
    assert kept == dropped

    made = [read(path) for path in site.files("awaiting-approval")]
    assert len(made) > 3
    by_original = Counter(one["source"]["archived"] for one in made)
    for path in archived.values():
        where = str(path.relative_to(site.root))
        if path.with_name(path.name + ".reason.json").exists():
            why = reason(path)
            assert why["code"] in ("repeat", "folded")
            assert why["dispatch_id"] in {one["dispatch_id"] for one in made}
            assert by_original[where] == 0
        else:
            assert by_original[where] == 1, where
    for one in made:
        data = (site.root / one["source"]["archived"]).read_bytes()
        assert one["source"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert one["asked"] == 1 + len(one["repeats"])
    for path in aside.values():
        assert ADVICE[reason(path)["code"]] == reason(path)["advice"]

    before = site.tree()
    site.drain()
    assert site.tree() == before

    for (inbox, name), data in dropped.items():
        if (inbox, name) in archived:
            site.drop(inbox, name, data)
    site.drain()
    assert {p.name: p.read_bytes() for p in site.files("awaiting-approval")} == {
        name.partition("/")[2]: data
        for name, data in before.items()
        if name.startswith("awaiting-approval/")
    }
    assert len(site.files("archive")) == 2 * len(archived)
    assert site.files("inbox") == []
