"""`spoold hold`: → held, until somebody releases or rejects it."""

from spoold.cli._decide import decision

command = decision("hold", "Park it: → held, until somebody releases or rejects it.")
