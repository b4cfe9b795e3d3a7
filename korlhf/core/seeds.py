"""Seeds of everything that is drawn: a run stores no state of a generator, so a resumed one draws what an
uninterrupted one would.
"""

# The last factor keeps apart what is drawn from one (seed, place): one name per use.
STEP, PTX, ANSWER, SAMPLE = 4_099, 8_209, 100_003, 1_009


def derive(seed: int, place: int, *parts: int, stride: int = ANSWER) -> int:
    """An integer seed made of a run's `seed`, a place in the run (step, epoch, prompt ...) and further parts
    (process, prompt ...).

    Two lists of parts differ in their seed as long as every part stays below `stride`.
    """
    derived = seed * 1_000_003 + place
    for part in parts:
        derived = derived * stride + part
    return derived % 2**63  # what torch takes
