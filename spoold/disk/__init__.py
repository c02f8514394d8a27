"""Files, changed safely: the one module that renames and syncs, and what stands on it.

Knows nothing of spoold but its errors: no folder of a spool, no request, no stage. Whatever touches
a spool goes through here; nothing else in the package renames, syncs or removes.
"""
