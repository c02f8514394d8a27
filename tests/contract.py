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
