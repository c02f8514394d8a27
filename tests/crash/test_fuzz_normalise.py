"""The fuzzer that coverage guides, for a while; `FUZZ_SECONDS` sets for how long."""

import importlib.util
import os
import re
import subprocess
import sys

from tests.crash import FULL
from tests.crash.fuzz import CHECKOUT, configure, seeds

SECONDS = int(os.environ.get("FUZZ_SECONDS", "120" if FULL else "20"))
#: Words of the formats that a fuzzer would not find by chance.
WORDS = [
    *("decision_type", "chosen", "checks", "headers", "body", "payload", "provider", "plane"),
    *("x-github-event", "x-plane-event", "event", "action", "data", "version", "v2", "entity_id"),
    *("previous_attributes", "None", "state", "state_detail", "labels", "label_ids", "project"),
    *("repository", "sender", "issue", "pull_request", "specversion", "source", "id", "type"),
    *("accountId", "imageTag", "containerId", "agent", "params", "description", "run_immediately"),
    *(r"\u0000", r"\ud800", r"\u003a", "9223372036854775808", "1e400", "NaN", "__proto__"),
]


def test_no_input_is_too_much_for_normalisation(tmp_path, require):
    """Whatever the bytes: a record and an action or `BadInput`, in bounded time and memory."""
    require(importlib.util.find_spec("atheris") is not None, "atheris")
    file = configure(tmp_path)
    corpus, words = tmp_path / "corpus", tmp_path / "words"
    corpus.mkdir()
    for number, seed in enumerate(seeds()):
        for source in range(3):
            (corpus / f"{number}-{source}").write_bytes(bytes([source]) + seed[:16_000])
    words.write_text("".join('"{}"\n'.format(word.replace("\\", "\\\\")) for word in WORDS))
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.crash.fuzz_normalise", str(file)),
            *(f"-max_total_time={SECONDS}", "-max_len=16384", "-timeout=30", "-rss_limit_mb=1024"),
            *(f"-dict={words}", f"-artifact_prefix={tmp_path}/", "-print_final_stats=1"),
            str(corpus),
        ],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1"},
        capture_output=True,
        check=False,
        timeout=SECONDS + 80,
    )
    said = (ended.stdout + ended.stderr).decode("utf-8", "replace")
    assert ended.returncode == 0, said[-4000:]
    runs = re.search(r"number_of_executed_units: *([0-9]+)", said)
    assert runs is not None, said[-4000:]
    assert int(runs[1]) > 1000
