"""Files, changed safely and read safely; `fs` alone renames, syncs and removes.

Knows nothing of spoold but its errors and how text is shown: no folder of a spool, no request, no
stage. Whatever changes a spool goes through here.
"""
