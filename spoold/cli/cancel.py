"""`spoold cancel`: → rejected; what runs is told to stop."""

from spoold.cli.deciding import decision

command = decision("cancel", "Take back what was approved: → rejected. What runs is told to stop.")
