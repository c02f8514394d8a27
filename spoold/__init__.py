"""A spool directory that puts a person between the event and the action."""

__version__ = "0.1.0"
