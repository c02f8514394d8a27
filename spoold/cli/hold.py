"""`spoold hold`: → held, until somebody releases or rejects it."""

from spoold.cli.deciding import decision

command = decision("hold", "Park it: → held, until somebody releases or rejects it.")
