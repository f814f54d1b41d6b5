"""Which of four documents the answer of a real language model depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import attncli

pytestmark = pytest.mark.real
DOCUMENTS = Path(__file__).parent.parent.parent / "configs" / "four-documents.txt"


def test_the_answer_depends_on_the_document_with_the_fact(smollm2: Path) -> None:
    model = attncli.load(str(smollm2), head="causal-lm", dtype="float32", device="cpu")
    result = model.faithfulness(DOCUMENTS.read_text(encoding="utf-8"), "attention", divide="paragraph")
    (text,) = result.documents.texts
    assert (text.prediction, text.stay) == ("Rome", ("¶5",))
    assert result.texts[0].probability == pytest.approx(0.68, abs=0.01)
    for removal in ("mask", "delete"):
        effects = text.of(removal)
        assert [int(np.argmax(effects[name])) for name in ("knockout", "left_out", "weight", "shapley")] == [2] * 4
        assert text.removals[removal].lds > 0.7
    # the first document has the sink
    assert text.attention == pytest.approx([0.47, 0.06, 0.06, 0.08], abs=0.01)
    assert text.of("delete")["weight"] == pytest.approx([0.4, 0.3, 3.9, 0.7], abs=0.05)
