"""`spoold release`: held → awaiting-approval, where it needs a yes again."""

from spoold.cli.deciding import decision

command = decision("release", "Un-park it: held → awaiting-approval, where it needs a yes again.")
