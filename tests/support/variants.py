"""Variants of a test beyond the first few, which take long and test what those test too: `make test-real` runs them."""

from __future__ import annotations

from collections import Counter

import pytest

KEPT = {
    "engine/test_one_answer.py::test_every_path_gives_the_same_pooled_picture": 4,
    "cli/test_heatmap.py::test_options_of_long_texts": 3,
    "cli/test_heatmap.py::test_kept_maps_are_drawn_as_the_stream_is": 1,
    "cli/test_flow.py::test_the_pictures_of_each_kind": 2,
    "cli/test_degenerate.py::test_models_without_training_go_through": 2,
    "studies/prune/test_prune_saving.py::test_irregular_models": 3,
    "plotting/test_hostile_pictures.py::test_all_at_once_in_every_view_and_format": 1,
    "plotting/test_overview.py::test_texts_never_overlap_and_stay_on_the_page": 3,
    "plotting/test_heatmap.py::test_texts_never_overlap_and_stay_on_the_page": 4,
    "plotting/test_grid.py::test_texts_never_overlap_and_stay_on_the_page": 6,
    "capturing/test_masks.py::test_no_tensor_grows_with_the_square_of_the_text": 2,
}
"""How many variants of a test `make test` runs."""


def mark_others(items: list[pytest.Item]) -> None:
    """Mark the other variants as `real`."""
    seen: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.partition("[")[0].removeprefix("tests/")
        seen[name] += 1
        if seen[name] > KEPT.get(name, seen[name]):
            item.add_marker(pytest.mark.real)
