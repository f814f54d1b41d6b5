"""A note where a model computes too coarsely for small effects."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from attncli.engine.rounding import rounding_notes


@pytest.mark.parametrize(("device", "end"), [("cpu", "effects, and is faster on a CPU"), ("cuda", "smaller effects")])
def test_16_bits_have_a_note(device: str, end: str) -> None:
    loaded: Any = SimpleNamespace(dtype="bfloat16", device=torch.device(device))
    (note,) = rounding_notes(loaded)
    assert note.startswith("the model computes in bfloat16")
    assert note.endswith(end)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_others_have_none(dtype: str) -> None:
    loaded: Any = SimpleNamespace(dtype=dtype, device=torch.device("cpu"))
    assert rounding_notes(loaded) == ()
