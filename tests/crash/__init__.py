"""The heavy proofs. Each run tries another sample of points and cuts; a seed chooses it."""

import os
import random
import secrets

#: Where a sync costs nothing; None where there is no such folder.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
#: Whether nothing is left out: `make test-full`.
FULL = os.environ.get("SPOOLD_MATRIX") == "full"
#: What chooses the sample. Workers inherit it, so that all of a run have the same.
SEED = os.environ.setdefault("SPOOLD_SEED", secrets.token_hex(4))


def dice(*about: object) -> random.Random:
    """Randomness that the same seed gives again, another one for each thing it is about."""
    return random.Random(" ".join(map(str, (SEED, *about))))
