"""`spoold hold`: → held, until a person releases or rejects it."""

from spoold.cli.deciding import decision

command = decision("hold", "Park it: → held, until a person releases or rejects it.")
