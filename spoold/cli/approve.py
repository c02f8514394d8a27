"""`spoold approve`: awaiting-approval → approved. Exactly what the file shows will run."""

from spoold.cli.deciding import decision

command = decision(
    "approve", "Say yes: awaiting-approval → approved. Exactly what the file shows will run."
)
