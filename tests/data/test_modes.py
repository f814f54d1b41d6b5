"""The most frequent value over texts: by hand, and in any order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.data.modes import Modes, most_frequent

VALUES = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0, np.nan])


def test_the_mode_and_its_share_by_hand() -> None:
    modes = Modes((3,))
    modes.add(np.array([[-1.0, 1.0, np.nan], [-1.0, -1.0, np.nan]]))
    modes.add(np.array([[-2.0, np.nan, np.nan]]))
    # a mean would be -1.33; of values that are equally frequent, -1 goes before 1
    assert modes.mode == pytest.approx([-1, -1, np.nan], nan_ok=True)
    assert modes.share == pytest.approx([2 / 3, 0.5, np.nan], nan_ok=True)
    assert np.isnan(Modes((2,)).mode).all()


def test_weights_count_a_value_several_times() -> None:
    modes = Modes((1,))
    modes.add(np.array([[2.0], [5.0], [5.0]]), np.array([[7.0], [3.0], [3.0]]))
    assert (modes.mode.tolist(), modes.share.tolist()) == ([2.0], [7 / 13])


@given(st.lists(VALUES, min_size=1, max_size=9), st.randoms())
def test_the_mode_is_that_of_counting_in_any_order(values: list[float], chance: object) -> None:
    counts = Counter(value for value in values if not np.isnan(value))
    expected = min(counts, key=lambda value: (-counts[value], abs(value), value), default=np.nan)
    shuffled = sorted(values, key=lambda _: chance.random())  # type: ignore[attr-defined]
    modes = Modes(())
    for group in (shuffled[:2], shuffled[2:]):
        modes.add(np.array(group))
    assert modes.mode == pytest.approx(expected, nan_ok=True)
    assert most_frequent(np.array(values)) == pytest.approx(expected, nan_ok=True)
    assert modes.share == pytest.approx(_share(counts), nan_ok=True)


def _share(counts: Counter[float]) -> float:
    return max(counts.values()) / counts.total() if counts else np.nan
