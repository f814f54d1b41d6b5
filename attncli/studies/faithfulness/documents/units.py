"""Which segments of a text are left out, and which stay: those that predict, and the question of a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncli.capturing.word_vectors import Side
from attncli.data import Array, Input, Tokens
from attncli.data.segments import GENERATED, REST
from attncli.engine.text_units import TextUnit
from attncli.errors import UsageError
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.faithfulness.text import StudiedText, staying_tokens

_ROLE, _CONTENT, _USER = "role", "content", "user"


@dataclass(frozen=True)
class DocumentUnits:
    """The segments of a text.

    left_out  those that are left out, by side, without tokens that stay
    stay      names of the segments that stay
    """

    left_out: Mapping[Side, Sequence[TextUnit]]
    stay: tuple[str, ...]

    @property
    def flat(self) -> list[tuple[Side, TextUnit]]:
        """All segments that are left out, with their sides."""
        return [(side, unit) for side, of_side in self.left_out.items() for unit in of_side]


def document_units(text: StudiedText) -> DocumentUnits:
    """Return the segments of a text that are left out, and those that stay.

    These stay: segments in which a token predicts, `generated`, tokens outside of all spans, special tokens, the tokens
    of a chat template, and the segment at the end of the last message of the user, which is the question.
    Raise UsageError if none is left out.
    """
    predictions = text.predictions
    stays, predicting = staying_tokens(predictions), predicting_tokens(predictions)
    left_out: dict[Side, list[TextUnit]] = {}
    stay: list[str] = []
    for side, units in text.read.items():
        tokens, left_out[side] = predictions.tokens[side], []
        content, question = chat_parts(predictions.text, tokens) if side == "source" else (None, None)
        kept = stays[side] if content is None else stays[side] | ~content
        for unit in units:
            positions = list(unit.positions)
            removed = tuple(position for position in positions if not kept[position])
            stays_whole = predicting[side][positions].any() or unit.name in (GENERATED, REST) or question in positions
            if stays_whole and not tokens.special[positions].all():
                stay.append(unit.name if len(text.read) == 1 else f"{side} {unit.name}")
            elif removed:
                left_out[side].append(replace(unit, positions=removed))
    if not any(left_out.values()):
        raise UsageError(
            f"no segment can be left out: in {' and '.join(stay)} a token predicts, or it is the question; give "
            "documents as segments with --divide paragraph or --segments FILE"
        )
    return DocumentUnits(left_out, tuple(stay))


def predicting_tokens(predictions: Predictions) -> dict[Side, Array]:
    """Return which tokens of each side predict, [token] bool; none if an encoder predicts a label."""
    (output,), text = predictions.outputs, predictions.text
    marked = {side: np.zeros(len(tokens), bool) for side, tokens in predictions.tokens.items()}
    side: Side = "source" if text.target is None or output.reads is not None else "target"
    marked[side][list(output.positions)] = True
    if not output.positions and text.target is None and not predictions.prepared.loaded.reads_both_ways:
        marked[side][-1] = True
    return marked


def chat_parts(text: Input, tokens: Tokens) -> tuple[Array | None, int | None]:
    """Return which tokens are of the content of a message, and the last token of the last message of the user.

    None for a text that is no chat, and for a template that changes the content of messages.
    """
    if not text.text.messages:
        return None, None
    start, content, question = 0, np.zeros(len(tokens), bool), None
    starts, ends = tokens.offsets.T
    for message in text.text.messages:
        passage = message[_CONTENT].strip() if isinstance(message[_CONTENT], str) else ""
        start = tokens.text.find(passage, start)
        if not passage or start < 0:
            return None, None
        inside = (starts >= start) & (starts < start + len(passage)) & (ends > start)
        content |= inside
        if message[_ROLE] == _USER and inside.any():
            question = int(np.flatnonzero(inside)[-1])
        start += len(passage)
    return content | (starts < 0) & ~tokens.special, question
