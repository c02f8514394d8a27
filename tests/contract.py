"""The example configuration of the contract, to the letter."""

CONTRACT = """\
# config/spoold.toml
root = "../spool"                      # relative to this file
[sources.decisions]
format = "decision"                    # inbox/decisions/
[sources.webhooks]
format = "webhook"
[sources.tasks]
format = "task"
[executors.openclaw]
kind  = "hook"
url   = "http://127.0.0.1:18789/hooks/agent"
token = { env = "OPENCLAW_HOOK_TOKEN" }
[executors.runner]
kind     = "command"                   # params: argv, cwd, stdin, env, timeout
programs = ["/usr/bin/true", "hyops"]  # argv[0] is literal in the route and on this list
"""

CONTRACT_ROUTE = """\
# config/routes.d/10-ready-ticket.toml
name     = "ready-ticket"
source   = "webhooks"
match    = '''
  record.type == "plane.issue" && record.facts.state.group == "unstarted"
  && record.facts.labels.exists(l, l in ["ready", "automation-go"])'''
executor      = "openclaw"
target_kind   = "agent"
target_ref    = "=record.facts.component"
intent_key    = "record.facts.issue_id"
expires_after = "4h"
[params.body]
message = "='Ticket ' + record.facts.ticket_ref + ': ' + record.facts.title"
deliver = false
"""

EXECUTORS = """\
[executors.docker]
kind           = "container"
image          = "openclaw-mission-control:latest"
container_port = 3000
ports          = "5000-14999"
ready_timeout  = "30s"
health         = { command = ["CMD", "curl", "-f", "http://localhost:3000/health"], interval = "30s", timeout = "5s", retries = 3, start_period = "10s" }
environment    = { NODE_ENV = "production", DATABASE_URL = { env = "DATABASE_URL" } }
[executors.docker.plans.starter]
cpus   = 0.5
memory = "512M"

[executors.agents]
kind         = "agent"
timeout      = "30m"
idle_timeout = "10m"
concurrency  = 2
[executors.agents.commands.codex]
argv   = ["codex", "exec", "--json", "-"]  # the prompt comes on stdin unless `prompt = "file"`
models = ["gpt-*"]
"""  # noqa: E501 - to the letter

CONTAINER_PARAMS = """\
# a route: params of kind container
[params]
action   = "=record.body.action"
customer = "=record.body.accountId"
plan     = "=record.body.plan"             # create only; port is optional: left out, the lowest free one
"""  # noqa: E501 - to the letter

AGENT_PARAMS = """\
# a route: params of kind agent
[params]
agent    = "=record.body.agent"
model    = "=record.body.model"
prompt   = "=record.body.prompt"
cwd      = "/srv/work"
evidence = { file = "REPORT.md" }          # or { json = "result" }, { pattern = "…" }, { none = true }
"""  # noqa: E501 - to the letter

#: A program that writes into its own input for a second, and reads it.
FILLS_ITS_INPUT = (
    "import os, threading, time\n"
    "end = time.monotonic() + 1\n"
    "fd = os.open('/proc/self/fd/0', os.O_WRONLY | os.O_NONBLOCK)\n"
    "def fill():\n"
    "    while time.monotonic() < end:\n"
    "        try: os.write(fd, b'y' * 4096)\n"
    "        except BlockingIOError: pass\n"
    "for _ in range(2): threading.Thread(target=fill).start()\n"
    "mine = os.open('/proc/self/fd/0', os.O_RDONLY | os.O_NONBLOCK)\n"
    "while time.monotonic() < end:\n"
    "    try: os.read(mine, 512)\n"
    "    except BlockingIOError: pass\n"
    "    time.sleep(0.0003)\n"
)

#: What strangers drop, by the code with which it is refused.
BAD_BYTES = {
    "empty": b"",
    "truncated": b'{"decision_type": "cut',
    "not-json": b'{"a": 1,, "b": 2}',
    "not-utf8": b'{"decision_type": "\xff\xfe"}',
    "not-an-object": b"[1, 2, 3]",
    "duplicate-key": b'{"decision_type": "a", "decision_type": "b"}',
    "nul-character": b'{"decision_type": "a\\u0000b"}',
    "not-a-number": b'{"decision_type": "a", "x": NaN}',
    "number-out-of-range": b'{"decision_type": "a", "x": 18446744073709551617}',
    "too-large": b'{"decision_type": "' + b"x" * (1 << 20) + b'"}',
    "too-deep": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "bad-record": b'{"decision_type": 7}',
}
