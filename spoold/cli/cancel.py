"""`spoold cancel`: → rejected."""

from spoold.cli._decide import decision

command = decision("cancel", "Take back what was approved and does not run yet: → rejected.")
