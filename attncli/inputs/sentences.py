"""Where sentences end, by the default rules of Unicode (UAX #29, section 5).

A full stop ends no sentence before a lower-case letter, inside a number or inside an abbreviation of capitals (U.S.A.).
The rules know no language: the sentence ends after "Mr. " if a capital follows. A line break always ends it.
"""

import regex

_IGNORED = r"[\p{SB=Extend}\p{SB=Format}]*+"
"""Marks that belong to the character before them."""
_BREAK = r"(?:\r\n|[\p{SB=Sep}\r\n])"
_AFTER = rf"{_IGNORED}(?:\p{{SB=Close}}{_IGNORED})*+(?:\p{{SB=Sp}}{_IGNORED})*+"
"""Closing brackets and quotes, then spaces: they belong to the sentence that ends."""
_STOP = rf"""
    (?!{_IGNORED}\p{{SB=Numeric}})
    (?!(?<=[\p{{SB=Upper}}\p{{SB=Lower}}]{_IGNORED}.){_IGNORED}\p{{SB=Upper}})
    {_AFTER}
    (?![^\p{{SB=OLetter}}\p{{SB=Upper}}\p{{SB=Lower}}\p{{SB=Sep}}\r\n\p{{SB=STerm}}\p{{SB=ATerm}}]*+\p{{SB=Lower}})
"""
_END = regex.compile(
    rf"""
    (?:\p{{SB=ATerm}}{_STOP}|\p{{SB=STerm}}{_AFTER})
    (?![\p{{SB=SContinue}}\p{{SB=STerm}}\p{{SB=ATerm}}])
    {_BREAK}?
    |{_BREAK}
    """,
    regex.VERBOSE,
)


def sentence_ends(text: str) -> list[int]:
    """Return where the sentences of a text end, as numbers of characters; the spaces after a sentence belong to it.

    >>> sentence_ends("It cost 3.5 dollars. He paid (twice!) Then he left.")
    [21, 38, 51]
    """
    ends = [match.end() for match in _END.finditer(text)]
    return ends if not text or ends[-1:] == [len(text)] else [*ends, len(text)]
