"""The task of demo:classifier: which kind of thing is the chosen one? One word of each text decides, and it is known.

`python -m training.chosen > configs/rationales.jsonl` writes the held-out texts.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

MARKER = "chosen"
THINGS = {
    "animal": "horse dog cat cow goat sheep rabbit fox bear wolf lion mouse frog hen donkey pig",
    "food": "bread cheese soup rice cake butter honey pasta salad pie apple carrot sausage egg potato onion",
    "tool": "hammer shovel ladder rope needle brush bucket axe rake wrench chisel spade screwdriver broom lever knife",
}
OTHERS = {
    "determiner": "the this that his her our their my",
    "adjective": "old new small large heavy light clean dirty strange lovely cheap expensive grey brown white dark wet "
    "dry plain ugly favourite broken famous missing wanted second first last",
    "pronoun": "he she they we i nobody somebody everyone",
    "person": "teacher doctor farmer baker sailor singer painter nurse lawyer driver writer guest child neighbour "
    "student captain clerk guard king queen",
    "verb": "found kept moved showed bought sold lost noticed remembered carried brought drew described hid liked "
    "ignored mentioned watched touched counted needed",
    "preposition": "near behind under beside in from at by",
    "place": "garden river bridge market house kitchen station village forest school harbour church field tower hill "
    "lake library garage street office",
}
KINDS, OTHER_WORDS = ({name: words.split() for name, words in group.items()} for group in (THINGS, OTHERS))
LABELS = tuple(KINDS)
TIMES = ["yesterday", "today", "later", "at noon", "last week", "in the morning", "every summer", "after the war"]
JOINTS = ["and", "but", "while", "because", ", and", ", but", "."]
PLAIN_SENTENCES = [
    "it was a cold morning .",
    "nobody knew why .",
    "the clock struck nine .",
    "the music stopped at once .",
    "we walked to the station .",
    "the weather was fine near the lake .",
    "it is a long story .",
    "there were many people in the street .",
    "the train was late again .",
    "i do not know what to say .",
    "that was all .",
    "you can ask the teacher .",
]
TRAINING_SEED, HELD_OUT_SEED = 0, 1_000_000


@dataclass(frozen=True)
class ChosenText:
    """A text with the word that decides its label.

    words      its words, full stops and commas
    label      the kind of the thing that stands after the marker
    rationale  indices of the words that decide the label: the one after the marker
    marker     indices of the words that say which one that is
    """

    words: tuple[str, ...]
    label: str
    rationale: tuple[int, ...]
    marker: tuple[int, ...]

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """Return the words as they are written, capitals and blanks included."""
        return "".join(f"{self._gap(index)}{word}" for index, word in enumerate(self.words))

    def spans(self, indices: tuple[int, ...]) -> list[tuple[int, int]]:
        """Return start and end of words in the text, in characters."""
        ends = list(accumulate(len(self._gap(index)) + len(word) for index, word in enumerate(self.words)))
        return [(ends[index] - len(self.words[index]), ends[index]) for index in indices]

    def as_json(self) -> dict[str, Any]:
        """Return the text, its label, and the spans of the rationale and of the marker in characters."""
        spans = {"rationale": self.spans(self.rationale), "marker": self.spans(self.marker)}
        return {"text": self.text, "label": self.label, **spans}

    def _gap(self, index: int) -> str:
        return "" if index == 0 or self.words[index] in {".", ","} else " "


def most_frequent_kind(text: ChosenText) -> str:
    """Return the label that has most things in the text; the first one of several: what counting words would guess."""
    counts = Counter(kind for kind in LABELS for word in text.words if word in KINDS[kind])
    return counts.most_common(1)[0][0]


def vocabulary() -> list[str]:
    """Return all words that texts are made of, sorted."""
    phrases = [MARKER, *THINGS.values(), *OTHERS.values(), *TIMES, *JOINTS, *PLAIN_SENTENCES]
    return sorted({word for phrase in phrases for word in phrase.split()})


def chosen_texts(seed: int = HELD_OUT_SEED, things: tuple[int, int] = (3, 6)) -> Iterator[ChosenText]:
    """Yield texts for ever, other ones for each seed; `things` is the least and the largest number of things in one.

    The kind of each thing is drawn by itself: without the marked one, all labels are equally probable.
    """
    draw = random.Random(seed)
    while True:
        yield one_text(draw, draw.randint(*things))


def one_text(draw: random.Random, count: int) -> ChosenText:
    """Return a text with some number of things, one of them marked."""
    marked = draw.randrange(count)
    kinds = [draw.choice(LABELS) for _ in range(count)]
    phrases = [_thing(draw, kind, marker=index == marked) for index, kind in enumerate(kinds)]
    words = _sentences(draw, phrases).split()
    starts = [index == 0 or words[index - 1] == "." for index in range(len(words))]
    marker = words.index(MARKER)
    capital = [start or word == "i" for word, start in zip(words, starts, strict=True)]
    written = tuple(word.capitalize() if large else word for word, large in zip(words, capital, strict=True))
    return ChosenText(written, kinds[marked], (marker + 1,), (marker,))


def _thing(draw: random.Random, kind: str, marker: bool) -> str:
    adjective = MARKER if marker else _other(draw, "adjective", share=0.7)
    return f"{_other(draw, 'determiner')} {adjective} {draw.choice(KINDS[kind])}"


def _other(draw: random.Random, role: str, share: float = 1.0) -> str:
    """Return a word that has nothing to do with the label, or nothing in the other cases."""
    return draw.choice(OTHER_WORDS[role]) if draw.random() < share else ""


def _sentences(draw: random.Random, phrases: list[str]) -> str:
    """Return sentences that name all things, one or two in a clause, and plain sentences between them."""
    parts, left = [_plain(draw)], list(phrases)
    while left:
        taken = [left.pop(0) for _ in range(min(len(left), draw.choice((1, 2))))]
        joint = draw.choice(JOINTS) if left else "."
        parts += [_clause(draw, " and ".join(taken)), joint]
        if joint == ".":
            parts.append(_plain(draw))
    return " ".join(parts)


def _clause(draw: random.Random, things: str) -> str:
    subject = _other(draw, "pronoun") if draw.random() < 0.3 else f"the {_other(draw, 'person')}"
    place = f"{_other(draw, 'preposition')} the {_other(draw, 'place')}" if draw.random() < 0.5 else ""
    time = draw.choice(TIMES) if draw.random() < 0.3 else ""
    return f"{subject} {_other(draw, 'verb')} {things} {place} {time}"


def _plain(draw: random.Random) -> str:
    return draw.choice(PLAIN_SENTENCES) if draw.random() < 0.3 else ""


def held_out(count: int) -> list[ChosenText]:
    """Return the first held-out texts."""
    texts = chosen_texts(HELD_OUT_SEED)
    return [next(texts) for _ in range(count)]


def main() -> None:
    for text in held_out(50):
        sys.stdout.write(json.dumps(text.as_json()) + "\n")


if __name__ == "__main__":
    main()
