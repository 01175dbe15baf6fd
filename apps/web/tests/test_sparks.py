from __future__ import annotations

import pytest

from apps.web.sparks import spark_path


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ((), ""),
        ((7,), ""),
        ((0, 0), "M56 15L58 15"),
        ((0, 5, 10), "M54 15L56 8L58 1"),
        ((3, 3), "M56 1L58 1"),
    ],
)
def test_it_draws_up_to_the_right_edge(values, path):
    assert spark_path(values) == path


def test_it_draws_the_last_half_hour_alone():
    path = spark_path(range(100))

    assert path.startswith("M0 ")
    assert path.count("L") == 29
