"""Predictions about two texts: a hypothesis that is read with the text, and a text that is read by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attncli.data import Text
from attncli.engine.explain_request import SIMILARITY, ZERO_SHOT, ExplainRequest
from attncli.engine.explained_labels import hypothesis
from attncli.engine.explained_similarity import check_embeds
from attncli.errors import UsageError
from attncli.inputs.batches import Batch
from attncli.models import Loaded


def read_texts(loaded: Loaded, texts: Sequence[Text], wanted: ExplainRequest) -> Sequence[Text]:
    """Return texts as the model reads them: with a hypothesis as their pair, or without the pair to compare with.

    Raise UsageError if the pair is missing or one too many, and ModelError if the model embeds no texts.
    """
    if wanted.form == ZERO_SHOT:
        if any(text.pair is not None for text in texts):
            raise UsageError("--explain zero-shot:LABEL reads a hypothesis after the text: leave --pair out")
        return [replace(text, pair=hypothesis(wanted.value)) for text in texts]
    if wanted.form != SIMILARITY:
        return texts
    check_embeds(loaded)
    if wanted.value:
        return texts
    if any(text.pair is None for text in texts):
        raise UsageError("--explain similarity compares with another text: give it as --pair, or as similarity:TEXT")
    return [replace(text, pair=None) for text in texts]


def with_pair(batch: Batch, text: Text) -> Batch:
    """Return a batch of one text that has been read without its pair, with the text as it was given."""
    return replace(batch, inputs=(replace(batch.inputs[0], text=text),))
