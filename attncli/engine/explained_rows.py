"""The rows of attention from which a prediction is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attncli.data import Array, Input, Kind, base_kind


def query_rows(positions: Sequence[int], text: Input, kind: Kind) -> Array:
    """Return the rows of a kind of attention from which a prediction is computed; none in an encoder of two.

    positions  those of the tokens at which it is predicted; empty for the label of a text
    A classifier reads its first token if that is special and the model an encoder, else its last token.
    """
    queries, is_encoder = text.sides(kind)[0], base_kind(kind) == "encoder"
    if is_encoder and text.target is not None:
        return np.array([], dtype=np.int64)
    if positions:
        return np.unique(np.array(positions, dtype=np.int64))
    if is_encoder and queries.special[:1].any():
        return np.array([0])
    return np.arange(len(queries)) if is_encoder else np.array([len(queries) - 1])
