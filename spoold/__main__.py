"""`python -m spoold`."""

from spoold.cli import main

main()
