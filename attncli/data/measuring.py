"""How statistics are measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from attncli.data.tokens import RowsAs

PoolTexts = Literal["texts", "tokens"]
"""Whether a mean over texts counts each text once, or as many times as it has rows with a value."""


@dataclass(frozen=True)
class Measuring:
    """How statistics are measured.

    per_query       also for each token
    rows_as         input: rows of tokens are named by their own token; predicted: by the token that they predict
    pool_texts      texts: a mean over texts counts each text once; tokens: as many times as it has rows with a value
    special_tokens  also the attention to each special token by name and to punctuation
    """

    per_query: bool = False
    rows_as: RowsAs = "input"
    pool_texts: PoolTexts = "texts"
    special_tokens: bool = False

    def given(self, **options: Any) -> Measuring:
        """Return the same with these options; those that are None stay as they are."""
        return replace(self, **{name: value for name, value in options.items() if value is not None})
