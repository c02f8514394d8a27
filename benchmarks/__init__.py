"""How fast spoold is, beside the bare system calls of the same work and beside its peers.

`make bench`; or `python -m benchmarks --help`, which needs the extra `bench`. Everything that is
compared is measured in the same run, on the same records and the same file system, in rounds that
take turns, because a machine is never equally fast twice; what counts is a ratio.
"""
