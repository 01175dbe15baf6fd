from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from workers.tuning import SWITCH_S, YOUNG_OBJECTS, tune


@pytest.fixture
def _untuned_afterwards() -> Iterator[None]:
    limits, switch_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.set_threshold(*limits)
    sys.setswitchinterval(switch_s)


@pytest.mark.usefixtures("_untuned_afterwards")
def test_a_worker_looks_for_garbage_rarely_and_lets_threads_change_often():
    tune()

    assert gc.isenabled()  # what makes cycles elsewhere is still found
    assert gc.get_threshold()[0] == YOUNG_OBJECTS
    assert gc.get_freeze_count() > 0
    assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
