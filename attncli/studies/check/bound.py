"""Bind rules to a model and its texts: find the heads and tokens that each rule names."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from attncli.data import KINDS, Array, Input, Kind, Selection, Text, Tokens
from attncli.data.focus import find_one_focus
from attncli.data.selection import format_ranges, layers_of
from attncli.errors import UsageError
from attncli.inputs.yaml_file import Document
from attncli.studies.check.result import Candidates, Quantifier
from attncli.studies.check.rules.kinds import (
    AttentionRule,
    BudgetRule,
    CaseRule,
    ClassRule,
    Rule,
    SuiteRule,
    needs_probe,
    with_position,
)
from attncli.studies.check.statistics import SUITE_SAMPLES, smallest_p

RuleT = TypeVar("RuleT", bound=Rule)
DataT = TypeVar("DataT")
HeadKey = tuple[Kind, int, int]
"""Kind, layer and head."""
TextIndices = tuple[int, ...]
MeasureRule = BudgetRule | ClassRule


@dataclass(frozen=True, eq=False)
class WordPositions:
    """The token positions of the words `from`, `to` and `than` of a rule or case in its text; no `than` is empty."""

    text: int
    kind: Kind
    query: Array
    target: tuple[int, ...]
    than: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Bound(Generic[RuleT, DataT]):
    """A rule with its heads and what they are measured on: positions of words, those of each case, or whole texts."""

    rule: RuleT
    heads: tuple[HeadKey, ...]
    data: DataT


BoundAttention = Bound[AttentionRule, WordPositions]
BoundSuite = Bound[SuiteRule, tuple[WordPositions, ...]]
BoundMeasure = Bound[MeasureRule, TextIndices]


class Binder:
    """Finds the heads, texts and tokens that rules name; raises UsageError with line and column if one does not exist.

    heads  heads of the model by kind and layer
    model  name of the model, for messages
    """

    def __init__(self, heads: Selection, texts: Sequence[Text], inputs: Sequence[Input], model: str) -> None:
        self._heads, self._model = heads, model
        self._inputs = dict(zip(texts, inputs, strict=True))
        self._model_kinds = [kind for kind in KINDS if any(key[0] == kind for key in heads)]

    def measure(self, rule: RuleT, all_texts: TextIndices) -> "Bound[RuleT, TextIndices]":
        """Return a rule about a measure or a class with its heads and texts; none if it is about random tokens."""
        if needs_probe(rule):
            return Bound(rule, self._find_heads(rule), ())
        texts = all_texts if rule.text is None else (self._inputs[rule.text].index,)
        if not texts:
            raise rule.part.error((), "there is no text to measure: give texts, or the rule a text")
        return Bound(rule, self._find_heads(rule), texts)

    def attention(self, rule: AttentionRule) -> BoundAttention:
        """Return a rule about words with its heads and token positions."""
        assert rule.text is not None  # the reader of rules ensures it
        kind, text = self._only_kind(rule), self._inputs[rule.text]
        words = self._find_words(rule.part, rule, text, kind)
        if rule.above is not None:
            _check_percentile(rule, rule.above, text, words)
        return Bound(rule, self._find_heads(rule, kind), words)

    def suite(self, rule: SuiteRule) -> BoundSuite:
        """Return a suite with its heads and the token positions of its cases."""
        smallest = 1 / (1 + SUITE_SAMPLES)
        if not reaches(smallest, rule.above):
            highest = 100 * (1 - smallest)
            message = f"expected at most permutation {highest:g}, because {SUITE_SAMPLES:,} samples are drawn"
            raise rule.part.error(("above",), message)
        kind = self._only_kind(rule)
        cases = tuple(self._find_words(case.part, case, self._inputs[case.text], kind) for case in rule.cases)
        return Bound(rule, self._find_heads(rule, kind), cases)

    def _find_heads(self, rule: Rule, only: Kind | None = None) -> tuple[HeadKey, ...]:
        kinds = self._rule_kinds(rule)
        keys = with_position(rule.part, ("heads",), lambda: _resolve_heads(rule.heads, self._heads, kinds))
        return tuple(key for key in keys if only in (None, key[0]))

    def _rule_kinds(self, rule: Rule) -> Sequence[Kind]:
        if rule.kind is not None and rule.kind not in self._model_kinds:
            known = ", ".join(self._model_kinds)
            raise rule.part.error(("kind",), f"{self._model} has no {rule.kind} attention; it has: {known}")
        return self._model_kinds if rule.kind is None else [rule.kind]

    def _only_kind(self, rule: Rule) -> Kind:
        kinds = self._rule_kinds(rule)
        if len(kinds) > 1:
            raise rule.part.error((), f"the key 'kind' is missing: {self._model} has {', '.join(kinds)} attention")
        return kinds[0]

    def _find_words(self, part: Document, rule: AttentionRule | CaseRule, text: Input, kind: Kind) -> WordPositions:
        queries, keys = text.sides(kind)
        query = _find_word(part, "from", queries, rule.from_)
        target = _find_word(part, "to", keys, rule.to)
        than = () if rule.than is None else _find_word(part, "than", keys, rule.than)
        if set(target) & set(than):
            raise part.error(("than",), f"'{rule.than}' and '{rule.to}' are the same tokens: name another word")
        if kind == "decoder":
            for name, word, positions in (("to", rule.to, target), ("than", rule.than, than)):
                if positions and min(positions) > max(query):
                    message = f"'{word}' comes after '{rule.from_}', which a decoder masks: no head can see it"
                    raise part.error((name,), message)
        return WordPositions(text.index, kind, np.array(query), target, than)


def needed_rows(all_words: Iterable[WordPositions]) -> dict[tuple[int, Kind], Array]:
    """Return the query positions that rules need by text and kind, ascending."""
    rows: dict[tuple[int, Kind], Array] = {}
    for words in all_words:
        earlier = rows.get((words.text, words.kind), np.array([], np.int64))
        rows[words.text, words.kind] = np.union1d(earlier, words.query)
    return rows


def _find_word(part: Document, name: str, tokens: Tokens, word: str) -> tuple[int, ...]:
    return with_position(part, (name,), lambda: find_one_focus(tokens, word, f"the word of '{name}'").positions)


def _check_percentile(rule: AttentionRule, above: float, text: Input, words: WordPositions) -> None:
    """Raise UsageError if the text is too short to reach the percentile of the rule."""
    keys = len(text.sides(words.kind)[1])
    visible = min(keys, int(words.query.max()) + 1) if words.kind == "decoder" else keys
    smallest = smallest_p(visible, len(words.target))
    if not reaches(smallest, above):
        highest = 100 * (1 - smallest)
        message = f"with {visible} keys the highest reachable percentile is {highest:.1f}"
        advice = f"write permutation {int(highest)}, or use a longer text or a suite"
        raise rule.part.error(("above",), f"permutation {above:g} cannot be reached: {message}; {advice}")


def reaches(p: float | None, percentile: float | None) -> bool:
    """Return whether a p-value is small enough for a percentile of permutations, if a rule has one."""
    return p is None or percentile is None or p <= 1 - percentile / 100 + 1e-12


def _resolve_heads(heads: Candidates, known: Selection, kinds: Sequence[Kind]) -> tuple[HeadKey, ...]:
    """Return the heads that are named, or all heads, by kind, layer and number."""
    if not heads.named:
        return tuple(
            (kind, layer, head) for kind in kinds for layer in layers_of(known, kind) for head in known[kind, layer]
        )
    keys: set[HeadKey] = set()
    for first, last, head in heads.named:
        matches = {key for kind in kinds for key in _match_heads(known, kind, (first, last), head)}
        if not matches:
            raise UsageError(_no_heads_message(first, last, head, known, kinds))
        keys |= matches
    return tuple(sorted(keys, key=lambda key: (KINDS.index(key[0]), *key[1:])))


def _match_heads(known: Selection, kind: Kind, span: tuple[int, int], head: int | None) -> Iterator[HeadKey]:
    layers = layers_of(known, kind)
    first, last = (layer if layer >= 0 else layer + max(layers) + 1 for layer in span)
    if first not in layers or last not in layers:
        return
    for layer in (layer for layer in layers if first <= layer <= last):
        numbers = known[kind, layer]
        named = head if head is None or head >= 0 else head + max(numbers, default=-1) + 1
        yield from ((kind, layer, number) for number in numbers if named in (None, number))


def _no_heads_message(first: int, last: int, head: int | None, known: Selection, kinds: Sequence[Kind]) -> str:
    if first > last and head is None:
        return f"layer {first}-{last} ends before it begins: write the smaller number first"
    layers = f"layer {first}" if first == last else f"layer {first}-{last}"
    named = layers if head is None else f"head {first}.{head}"
    available = [f"{kind} has layers {format_ranges(layers_of(known, kind))}" for kind in kinds]
    if head is not None:
        numbers = sorted({number for (kind, _), heads in known.items() if kind in kinds for number in heads})
        available.append(f"heads {format_ranges(numbers)}")
    return f"{named} does not exist: {', '.join(available)}"


def decisive_head(margins: Array, over: Quantifier, tolerance: float) -> int:
    """Return the index of the head that decides a rule: the largest margin (any) or the smallest one (all).

    Margins that differ from it by at most the tolerance count as equal, and the first of these heads is returned; it
    keeps the rule if the head with that margin does. Heads with an undefined margin are left out.
    """
    filled = np.where(np.isnan(margins), -np.inf if over == "any" else np.inf, margins)
    decisive = filled.max() if over == "any" else filled.min()
    equal = filled >= decisive - tolerance if over == "any" else filled <= decisive + tolerance
    return int((equal & ((filled >= 0) == (decisive >= 0))).argmax())


def rule_holds(margins: Array, over: Quantifier) -> bool:
    """Return whether a rule holds: any (or all) of the defined margins [head] are at least 0."""
    defined = margins[~np.isnan(margins)]
    return bool((defined >= 0).any() if over == "any" else (defined >= 0).all())


def head_fields(key: HeadKey) -> dict[str, Any]:
    """Return the fields kind, layer and head of a verdict."""
    return dict(zip(("kind", "layer", "head"), key, strict=True))
