"""What people say about requests, carried out: approve, reject, hold, release, retry and the rest.

No user interface: the command line, and later an API, name the person, and show what comes back.
"""
