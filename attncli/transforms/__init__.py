"""Other readings of finished maps: words instead of pieces, special tokens left out, a window or cells. Pure NumPy.

`attncli.transforms.replay` feeds maps back into the stream, so that any sink can take them;
`attncli.transforms.reading` reads the stream itself by words or without special tokens,
`attncli.transforms.norms` by norms of weighted values.
Where both are wanted, words come first: what is dropped then is the special tokens of the word map.
"""

from __future__ import annotations

from attncli.transforms.special import drop_special, removed_mass, without_special
from attncli.transforms.words import merged_words, to_words
from attncli.transforms.zoomed import zoomed

__all__ = ["drop_special", "merged_words", "removed_mass", "to_words", "without_special", "zoomed"]
