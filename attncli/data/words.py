"""Words of a text by Unicode word segmentation (UAX #29), the numbers of the words of tokens, and tokens of words."""

from dataclasses import replace

import numpy as np
import regex

from attncli.data.surfaces import text_of_pieces, token_texts
from attncli.data.tokens import Array, Tokens

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts without spaces between words, as a character class."""

_WORD = regex.compile(r"(?V1)\S(?:\B\S)*", regex.WORD)
_UNSPACED = regex.compile(f"[{UNSPACED}]")
_LONG_WORD = 8
"""Number of tokens from which a word that is most of its text is suspected to be several."""


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each word: words end at Unicode white space, and at word boundaries of UAX #29.

    >>> [text[start:end] for text in ["It didn't (x)."] for start, end in word_spans(text)]
    ['It', "didn't", '(', 'x', ')', '.']
    """
    return [match.span() for match in _WORD.finditer(text)]


def number_words(text: str, spans: Array, alone: Array) -> Array:
    """Return the word number of each token from 0 up, -1 for tokens of white space only and for those that are `alone`.

    spans  [token, 2] start and end of each token in `text`; an empty span is a part of the character at its start

    The tokens of a word share its number, and so do all words of which a token has a part.
    """
    # lists, not arrays: most tokens have a few characters, for which a call of NumPy takes longer than the work
    word_of_character = [-1] * (len(text) + 1)
    for number, (start, end) in enumerate(word_spans(text)):
        word_of_character[start:end] = [number] * (end - start)
    joined: dict[int, int] = {}  # word number → number of an earlier word that shares a token with it

    def first(word: int) -> int:
        while word in joined:
            word = joined[word]
        return word

    token_words: list[int] = []
    for (start, end), is_alone in zip(spans.tolist(), alone.tolist(), strict=True):
        covered = set(word_of_character[start : max(end, start + 1)] if not is_alone else ())
        words = list(covered) if len(covered) == 1 else sorted({first(word) for word in covered if word >= 0})
        word, *others = words or [-1]
        joined.update(dict.fromkeys(others, word))
        token_words.append(word)
    numbers: dict[int, int] = {}
    return np.array(
        [-1 if word < 0 else numbers.setdefault(first(word), len(numbers)) for word in token_words], np.int64
    )


def merged_words(tokens: Tokens) -> Tokens:
    """Return one token per word; its piece is the word as written in the text if known, else the text of its pieces."""
    groups = word_groups(tokens)
    words = [np.flatnonzero(groups == group) for group in range(groups.max(initial=-1) + 1)]
    of_words = [tokens.offsets[positions] for positions in words]
    known = [(part[:, 0].min(), part[:, 1].max()) if (part >= 0).all() else (-1, -1) for part in of_words]
    offsets = np.array(known).reshape(-1, 2)
    return replace(
        tokens.take([positions[0] for positions in words]),
        pieces=tuple(_word_texts(tokens, words, offsets)),
        ids=np.array([tokens.ids[positions[0]] if len(positions) == 1 else -1 for positions in words]),
        offsets=offsets,
        scheme="plain",
        merged=tuple(" ".join(tokens.vocabulary_pieces[position] for position in positions) for positions in words),
    )


def word_groups(tokens: Tokens) -> Array:
    """Return for each piece the number of its word, counted in order of first appearance."""
    numbers: dict[tuple[str, int], int] = {}
    keys = [
        ("alone", position) if special or word < 0 else ("word", word)
        for position, (word, special) in enumerate(zip(tokens.words.tolist(), tokens.special.tolist(), strict=True))
    ]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _word_texts(tokens: Tokens, words: list[Array], offsets: Array) -> list[str]:
    single, texts = token_texts(tokens), []
    ascending, last_end = True, 0
    for positions, (start, end) in zip(words, offsets.tolist(), strict=True):
        known = start >= 0 and not tokens.special[positions[0]]
        if known:
            # offsets that run backwards refer to another string, as those of the second text of a pair do
            ascending, last_end = ascending and start >= last_end, end
        if len(positions) == 1:
            texts.append(single[positions[0]])
            continue
        text = tokens.text[start:end].strip() if known and ascending else ""
        texts.append(text or text_of_pieces([tokens.pieces[position] for position in positions], tokens.scheme))
    return texts


def words_note(tokens: Tokens, what: str) -> str:
    """Return a note if the words of a text are hardly the words of its language; "" if nothing points to that."""
    ordinary = tokens.words[~tokens.special & (tokens.words >= 0)]
    advice = "give the numbers of your own words with --word-ids"
    most = int(np.bincount(ordinary).max(initial=0))
    if most >= _LONG_WORD and most > len(ordinary) / 2:
        return f"{what} has a word of {most} tokens, more than half of them: if it is several words, {advice}"
    if _UNSPACED.search(tokens.text):
        return f"{what} is in a script without spaces between words: words are single characters or tokens; {advice}"
    return ""
