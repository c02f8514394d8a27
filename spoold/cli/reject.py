"""`spoold reject`: awaiting-approval or held → rejected."""

from spoold.cli.deciding import decision

command = decision("reject", "Say no: awaiting-approval or held → rejected.")
