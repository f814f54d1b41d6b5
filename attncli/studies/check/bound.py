"""Rules held against a model and its texts: which heads they mean, and which tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import KINDS, Array, Input, Kind, Selection, Text, Tokens
from attncli.data.selection import format_ranges, layers_of
from attncli.errors import UsageError
from attncli.inputs.focus import find_one_focus
from attncli.inputs.yaml_file import Document
from attncli.studies.check.permutations import SUITE_SAMPLES, smallest_p
from attncli.studies.check.result import Candidates, Quantifier
from attncli.studies.check.rules.kinds import AttentionRule, CaseRule, Rule, RuleFile, SuiteRule

Place = tuple[Kind, int, int]


@dataclass(frozen=True, eq=False)
class Words:
    """From which tokens of a text to which others, perhaps beside third ones."""

    text: int
    kind: Kind
    query: Array
    target: tuple[int, ...]
    than: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class BoundAttention:
    """A rule about words with its heads and tokens."""

    rule: AttentionRule
    heads: tuple[Place, ...]
    words: Words


@dataclass(frozen=True, eq=False)
class BoundSuite:
    """A suite with its heads, and the tokens of each case."""

    rule: SuiteRule
    heads: tuple[Place, ...]
    cases: tuple[Words, ...]


def all_texts(file: RuleFile) -> tuple[Text, ...]:
    """All texts that are to be read, each once: first those that are measured."""
    cases = [case.text for suite in file.suites for case in suite.cases]
    return tuple(dict.fromkeys([*file.texts, *cases]))


class Binder:
    """Finds what rules mean; what does not exist is a `UsageError` with line and column."""

    def __init__(self, heads: Selection, texts: Sequence[Text], inputs: Sequence[Input], model: str) -> None:
        self._heads = heads
        self._inputs = dict(zip(texts, inputs, strict=True))
        self._model = model
        self.kinds = [kind for kind in KINDS if any(of == kind for of, _ in heads)]

    def text(self, text: Text) -> Input:
        """The text as it was read."""
        return self._inputs[text]

    def heads(self, rule: Rule) -> tuple[Place, ...]:
        """The heads that a rule is about, in order."""
        try:
            return _existing(rule.heads, self._heads, self._kinds_of(rule), self._model)
        except UsageError as error:
            raise rule.part.error(("heads",), str(error)) from None

    def attention(self, rule: AttentionRule) -> BoundAttention:
        """A rule about words."""
        assert rule.text is not None  # reading sees to it
        kind = self._one_kind(rule)
        words = self._words(rule.part, rule, self.text(rule.text), kind)
        if rule.above is not None:
            _check_reach(rule, self.text(rule.text), words)
        return BoundAttention(rule, self._of_kind(rule, kind), words)

    def suite(self, rule: SuiteRule) -> BoundSuite:
        """A suite."""
        smallest = 1 / (1 + SUITE_SAMPLES)
        if rule.above is not None and not reaches(smallest, rule.above):
            most = 100 * (1 - smallest)
            raise rule.part.error(("above",), f"expected at most permutation {most:g}, as many samples are drawn")
        kind = self._one_kind(rule)
        cases = tuple(self._words(case.part, case, self.text(case.text), kind) for case in rule.cases)
        return BoundSuite(rule, self._of_kind(rule, kind), cases)

    def _of_kind(self, rule: Rule, kind: Kind) -> tuple[Place, ...]:
        return tuple(place for place in self.heads(rule) if place[0] == kind)

    def _kinds_of(self, rule: Rule) -> Sequence[Kind]:
        if rule.kind is not None and rule.kind not in self.kinds:
            there = ", ".join(self.kinds)
            raise rule.part.error(("kind",), f"{self._model} has no {rule.kind} attention; it has: {there}")
        return self.kinds if rule.kind is None else [rule.kind]

    def _one_kind(self, rule: Rule) -> Kind:
        kinds = self._kinds_of(rule)
        if len(kinds) > 1:
            raise rule.part.error((), f"the key 'kind' is missing: {self._model} has {', '.join(kinds)} attention")
        return kinds[0]

    def _words(self, part: Document, asked: AttentionRule | CaseRule, one: Input, kind: Kind) -> Words:
        queries, keys = one.sides(kind)
        query = _found(part, "from", queries, asked.from_)
        target = _found(part, "to", keys, asked.to)
        than = () if asked.than is None else _found(part, "than", keys, asked.than)
        if set(target) & set(than):
            raise part.error(("than",), f"'{asked.than}' and '{asked.to}' are the same tokens: name another word")
        if kind == "decoder":
            for name, word, positions in (("to", asked.to, target), ("than", asked.than, than)):
                if positions and min(positions) > max(query):
                    raise part.error(
                        (name,),
                        f"'{word}' comes after '{asked.from_}', and a decoder looks back only: no head can see it",
                    )
        return Words(one.index, kind, np.array(query), target, than)


def rows_of(words: Iterable[Words]) -> dict[tuple[int, Kind], Array]:
    """Return the rows that rules need, by text and kind, ascending."""
    rows: dict[tuple[int, Kind], Array] = {}
    for each in words:
        before = rows.get((each.text, each.kind), np.array([], np.int64))
        rows[each.text, each.kind] = np.union1d(before, each.query)
    return rows


def _found(part: Document, name: str, tokens: Tokens, word: str) -> tuple[int, ...]:
    try:
        return find_one_focus(tokens, word, f"the word of '{name}'").positions
    except UsageError as error:
        raise part.error((name,), str(error)) from None


def _check_reach(rule: AttentionRule, one: Input, words: Words) -> None:
    """A percentile that the text is too short for is a `UsageError`."""
    assert rule.above is not None
    keys = len(one.sides(words.kind)[1])
    visible = min(keys, int(words.query.max()) + 1) if words.kind == "decoder" else keys
    smallest = smallest_p(visible, len(words.target))
    if not reaches(smallest, rule.above):
        highest = int(100 * (1 - smallest))
        raise rule.part.error(
            ("above",),
            f"permutation {rule.above:g} cannot be reached: of {visible} keys the one that gets most stands above "
            f"{100 * (1 - smallest):.1f} % of the permutations; ask for permutation {highest}, or take a longer text "
            "or a suite",
        )


def reaches(p: float, percentile: float) -> bool:
    """Whether a p stands above a percentile of its permutations."""
    return p <= 1 - percentile / 100 + 1e-12


def _existing(wanted: Candidates, there: Selection, kinds: Sequence[Kind], model: str) -> tuple[Place, ...]:
    if not wanted.named:
        return tuple(
            (kind, layer, head) for kind in kinds for layer in layers_of(there, kind) for head in there[kind, layer]
        )
    found: set[Place] = set()
    for first, last, head in wanted.named:
        meant = {place for kind in kinds for place in _named(there, kind, (first, last), head)}
        if not meant:
            raise UsageError(_missing(first, last, head, there, kinds))
        found |= meant
    return tuple(sorted(found, key=lambda place: (KINDS.index(place[0]), *place[1:])))


def _named(there: Selection, kind: Kind, span: tuple[int, int], head: int | None) -> Iterable[Place]:
    layers = layers_of(there, kind)
    first, last = (layer if layer >= 0 else layer + max(layers) + 1 for layer in span)
    if first not in layers or last not in layers:
        return
    for layer in (layer for layer in layers if first <= layer <= last):
        numbers = there[kind, layer]
        wanted = head if head is None or head >= 0 else head + max(numbers, default=-1) + 1
        yield from ((kind, layer, number) for number in numbers if wanted in (None, number))


def _missing(first: int, last: int, head: int | None, there: Selection, kinds: Sequence[Kind]) -> str:
    if first > last and head is None:
        return f"layer {first}-{last} ends before it begins: write the smaller number first"
    what = (
        f"head {first}.{head}" if head is not None else f"layer {first}" if first == last else f"layer {first}-{last}"
    )
    has = [f"{kind} has layers {format_ranges(layers_of(there, kind))}" for kind in kinds]
    if head is not None:
        numbers = sorted({number for (kind, _), each in there.items() if kind in kinds for number in each})
        has.append(f"heads {format_ranges(numbers)}")
    return f"{what} does not exist: {', '.join(has)}"


def pick(margins: Array, over: Quantifier, tolerance: float) -> int:
    """Return which head stands for a rule: the one with the largest margin (any) or with the smallest one (all).

    Margins within the tolerance of it count as equal, and the first of these heads stands for the rule. It keeps the
    rule where the head with that margin does. Heads in which the rule is undefined are left out.
    """
    filled = np.where(np.isnan(margins), -np.inf if over == "any" else np.inf, margins)
    decisive = filled.max() if over == "any" else filled.min()
    equal = filled >= decisive - tolerance if over == "any" else filled <= decisive + tolerance
    return int((equal & ((filled >= 0) == (decisive >= 0))).argmax())


def kept(margins: Array, over: Quantifier) -> bool:
    """Whether a rule holds, by how far each head is from breaking it."""
    known = margins[~np.isnan(margins)]
    return bool((known >= 0).any() if over == "any" else (known >= 0).all())


def where(places: Sequence[Place], at: int) -> Mapping[str, object]:
    """The head of a verdict."""
    return dict(zip(("kind", "layer", "head"), places[at], strict=True))
