"""Predictions about parts of a text: the label of a token, and the span that answers a question."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from attncli.data import Array, Input, Tokens
from attncli.data.focus import find_focus
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained_labels import label_number
from attncli.errors import UsageError
from attncli.inputs.answers import answer_ids
from attncli.models import Loaded

LONGEST_ANSWER = 30
"""Most tokens of the span that a model for questions is taken to predict."""


def span_logits(outputs: Any) -> torch.Tensor | None:
    """Return the logits of the first and the last token of an answer, [batch, 2, token]; None if there are none."""
    ends: list[Any] = [getattr(outputs, name, None) for name in ("start_logits", "end_logits")]
    return torch.stack(ends, 1) if all(isinstance(of, torch.Tensor) and of.dim() == 2 for of in ends) else None


def labelled_token(loaded: Loaded, text: Input, wanted: ExplainRequest, logits: torch.Tensor) -> tuple[int, int]:
    """Return the position of a token and the number of its label, for a model that labels each token.

    wanted  label:NAME@TOKENS; without NAME, the most probable label. Of several tokens the first counts
    logits  [token, label]
    """
    name, at, token = wanted.value.rpartition("@")
    if wanted.form != "label" or not at or not token:
        raise UsageError(
            f"{type(loaded.model).__name__} labels each token: use --explain label:NAME@WORD, or label:@WORD for its "
            "most probable label"
        )
    position = find_focus(text.source, token, "--explain")[0].positions[0]
    request = ExplainRequest("label", name) if name else ExplainRequest("next")
    return position, label_number(loaded, request, logits[position])


def answer_span(loaded: Loaded, text: Input, wanted: ExplainRequest, logits: torch.Tensor) -> tuple[int, int]:
    """Return the first and the last token of an answer in the text: that which is given, or the most probable one.

    logits  [first or last, token]
    Raise UsageError if the text does not have it.
    """
    context = _context(text.source)
    if wanted.form == "answer":
        return _given_span(loaded, text.source, context, wanted.value)
    if wanted.form != "next":
        raise UsageError(
            f"{type(loaded.model).__name__} answers by a part of the text: use --explain next or answer:TEXT"
        )
    first, last = logits.double().log_softmax(-1).cpu().numpy()
    count = len(text.source)
    scores = first[:, None] + last[None, :]
    possible = np.triu(np.ones((count, count), bool)) & ~np.triu(np.ones((count, count), bool), LONGEST_ANSWER)
    possible &= context[:, None] & context[None, :]
    best = int(np.where(possible, scores, -np.inf).argmax())
    return best // count, best % count


def span_name(tokens: Tokens, first: int, last: int) -> str:
    """Return the text of a span."""
    start, end = int(tokens.offsets[first, 0]), int(tokens.offsets[last, 1])
    pieces = " ".join(tokens.pieces[first : last + 1])
    return tokens.text[start:end].strip() or pieces if 0 <= start < end else pieces


def _context(tokens: Tokens) -> Array:
    """Return which tokens an answer may have: the second text of a pair, or all but special tokens."""
    ordinary: Array = ~tokens.special
    second = np.array([segment == "b" for segment in tokens.segments], bool)
    return ordinary & second if second.any() else ordinary


def _given_span(loaded: Loaded, tokens: Tokens, context: Array, answer: str) -> tuple[int, int]:
    """Return the first span with the tokens of an answer; raise UsageError if there is none."""
    for after_space in (False, True):
        ids = answer_ids(loaded.tokenizer, answer, after_space)
        for start in range(len(tokens) - len(ids) + 1) if ids else ():
            part = slice(start, start + len(ids))
            if context[part].all() and tokens.ids[part].tolist() == ids:
                return start, start + len(ids) - 1
    raise UsageError(f"--explain answer: the text does not have '{answer.strip()[:60]}': give words as they are in it")
