"""Has Python itself run a worker well: how often threads change, and garbage is sought.

Process-wide; called once, when a worker's threads are about to start.
"""

from __future__ import annotations

import gc
import sys

# Nothing on a message's way makes cycles, and every batch makes tens of thousands of
# objects. With Python's own limits (700, 10, 10) looking for cycles took a fifth of the
# CPU time a message costs, and looking through all that Django and Celery have loaded
# held every thread up for 50 ms and more (November 2026).
YOUNG_OBJECTS, SECOND, THIRD = 50_000, 20, 20

# While a site storms, three threads want the interpreter. Python's own 5 ms, waited for
# at each of a batch's statements, made a quiet site's message take 100 ms longer.
SWITCH_S = 0.001


def tune() -> None:
    gc.collect()
    gc.freeze()  # what is loaded now stays: no need to look through it again
    gc.set_threshold(YOUNG_OBJECTS, SECOND, THIRD)
    sys.setswitchinterval(SWITCH_S)
