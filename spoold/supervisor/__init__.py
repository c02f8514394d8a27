"""One agent, watched to its end by a process of its own; see `__main__`."""
