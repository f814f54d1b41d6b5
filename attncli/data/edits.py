"""Edits: changes of the attention of chosen heads, as data; `capturing` applies them while a model computes."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, SupportsIndex, get_args

from attncli.arguments import checked
from attncli.data.named_heads import HeadsOption, choice_of, parse_heads, resolve_heads
from attncli.data.selection import Available
from attncli.data.tokens import Kind, base_kind
from attncli.errors import UsageError, did_you_mean

Action = Literal["zero", "mean", "scale", "block", "uniform", "permute", "temperature", "window", "replace", "patch"]
ACTIONS: tuple[Action, ...] = get_args(Action)
OF_OUTPUT: tuple[Action, ...] = ("zero", "mean", "scale")
"""Edits of the output of heads; their weights stay as they are."""
_BEFORE_HEADS: tuple[Action, ...] = ("scale", "permute", "temperature", "window", "block")


@dataclass(frozen=True)
class Edit:
    """A change of the attention of some heads.

    action      what is done: zero, mean, scale, block, uniform, permute, temperature, window, replace or patch
    heads       the heads: `3.1`, `4` (a whole layer), `4-8`, `cross:3.1`; empty for all heads
    kind        kind of attention; None for each kind that has these heads
    number      factor of scale, seed of permute, temperature, or width of a window in tokens
    query, key  tokens between which attention is blocked, named as in `attncli find`
    values      given weights [head, query, key], or outputs [head, token, dim]; one head stands for all
    texts       texts over whose tokens a mean is taken, or the text that a patch comes from
    part        what a patch replaces: the output of heads, or their weights
    """

    action: Action
    heads: tuple[str, ...] = ()
    kind: Kind | None = None
    number: float | None = None
    query: str | None = None
    key: str | None = None
    values: Any = field(default=None, compare=False, repr=False)
    texts: tuple[str, ...] = ()
    part: Literal["output", "weights"] = "output"

    @property
    def spec(self) -> str:
        """The edit in one line, as `parse_edit` reads it and titles show it: `zero 3.1`, `block it->animal@4-8`.

        >>> zero("3.1").spec, block("it", "animal", layers="4-8").spec, temperature(0.5).spec
        ('zero 3.1', 'block it->animal@4-8', 'temperature 0.5')
        """
        heads = ",".join(f"{self.kind}:{part}" if self.kind else part for part in self.heads)
        heads = heads or (f"{self.kind}:all" if self.kind else "")
        amount = f"{self.query}->{self.key}" if self.action == "block" else ""
        if self.number is not None and not (self.action == "permute" and self.number == 0):
            amount = repr(self.number).removesuffix(".0")
        return f"{self.action} {'@'.join(filter(None, (amount, heads)))}".strip() if amount or heads else self.action

    @property
    def changes_output(self) -> bool:
        """Whether the output of heads is changed, not their weights."""
        return self.action in OF_OUTPUT or (self.action == "patch" and self.part == "output")


def zero(heads: HeadsOption = None, kind: str | None = None) -> Edit:
    """Return an edit that sets the output of heads to 0; their weights stay as they are.

    heads  "3.1" is head 1 of layer 3, 4 or "4" the whole layer, "4-8" layers, "3.0-2" heads of a layer; a list or a
           text with commas for several; None for all heads. "cross:3.1" names the kind too
    kind   encoder, decoder or cross; by default each kind that has these heads
    """
    return _edit("zero", heads, kind)


@checked
def mean(heads: HeadsOption = None, kind: str | None = None, *, over: str | Sequence[str] = ()) -> Edit:
    """Return an edit that replaces the output of heads by its mean over tokens: every token gets the same vector.

    heads, kind  as for `zero`
    over         reference texts over whose tokens the mean is taken; by default the tokens of the text that is read
    """
    return _edit("mean", heads, kind, texts=(over,) if isinstance(over, str) else tuple(over))


def scale(heads: HeadsOption, factor: float, kind: str | None = None) -> Edit:
    """Return an edit that multiplies the output of heads by a factor; 1 changes nothing, 0 is `zero`."""
    return _edit("scale", heads, kind, number=_number("factor", factor))


def block(
    query: str | int,
    key: str | int,
    *,
    layers: int | str | Sequence[int] | None = None,
    heads: HeadsOption = None,
    kind: str | None = None,
) -> Edit:
    """Return an edit that masks some keys for some queries before the softmax: the others share their weight.

    query, key  "it" (all its occurrences), "it#2", 7, -1, "14-21", "[CLS]", a segment such as "assistant", or "all"
    layers      3, -1, "4-8" or a list; all layers by default
    heads       instead of layers: heads as for `zero`
    A row whose keys are all blocked gets weights of 0.
    """
    if layers is not None and heads is not None:
        raise UsageError("layers and heads exclude each other: heads such as '4.1' and '4' name their layers")
    for name, value in {"query": query, "key": key}.items():
        if not isinstance(value, str | SupportsIndex) or isinstance(value, bool) or not str(value).strip():
            raise UsageError(f"expected {name} as a word of the text, a position or a segment, got {value!r:.60}")
    return _edit("block", heads if layers is None else layers, kind, query=str(query).strip(), key=str(key).strip())


def uniform(heads: HeadsOption = None, kind: str | None = None) -> Edit:
    """Return an edit that gives each query the same weight to all its visible keys; `heads` as for `zero`."""
    return _edit("uniform", heads, kind)


def permute(heads: HeadsOption = None, seed: int = 0, kind: str | None = None) -> Edit:
    """Return an edit that shuffles the weights of each query among its visible keys, with a seed from 0 up."""
    if not isinstance(seed, SupportsIndex) or isinstance(seed, bool) or operator.index(seed) < 0:
        raise UsageError(f"expected the seed of permute as a whole number from 0 up, got {seed!r:.60}")
    return _edit("permute", heads, kind, number=operator.index(seed))


def temperature(value: float, heads: HeadsOption = None, kind: str | None = None) -> Edit:
    """Return an edit that divides scores by a temperature before the softmax: below 1 sharpens, above 1 flattens."""
    return _edit("temperature", heads, kind, number=_number("temperature", value, above_zero=True))


def window(width: int, heads: HeadsOption = None, kind: str | None = None) -> Edit:
    """Return an edit that masks keys `width` or more tokens before or after the query; 1 leaves the query itself."""
    if not isinstance(width, SupportsIndex) or isinstance(width, bool) or operator.index(width) < 1:
        raise UsageError(f"expected the width of a window as a whole number from 1 up, got {width!r:.60}")
    return _edit("window", heads, kind, number=operator.index(width))


def replace(heads: HeadsOption, weights: Any, kind: str | None = None) -> Edit:
    """Return an edit that puts given weights in the place of those of heads, for texts of this length.

    weights  [query, key] or [head, query, key] in the order of the heads: an array, or a tensor that may need
             gradients. They are used as they are, also where the model masks a key or where a row does not sum to 1
    """
    return _edit("replace", heads, kind, values=_array(weights))


def patch(
    heads: HeadsOption, text: str, kind: str | None = None, *, part: Literal["output", "weights"] = "output"
) -> Edit:
    """Return an edit that puts what heads compute on another text in the place of what they compute (patching).

    text  the other text, with as many tokens as the text that is read
    part  output: what each head writes at each token; weights: where it attends
    """
    if not isinstance(text, str):
        raise UsageError(f"expected the text of a patch as a text, got {type(text).__name__}")
    if part not in ("output", "weights"):
        raise UsageError(f"unknown part '{part!s:.60}': {did_you_mean(str(part), ('output', 'weights'))}")
    return _edit("patch", heads, kind, texts=(text,), part=part)


def parse_edit(action: str, value: str) -> Edit:
    """Return an edit that is written in one line: AMOUNT@HEADS, or HEADS where the edit has no amount.

    >>> parse_edit("block", "it->animal@4-8") == block("it", "animal", layers="4-8")
    True
    >>> parse_edit("temperature", "0.5@3.1").number, parse_edit("zero", "3.1,4").heads
    (0.5, ('3.1', '4'))
    """
    value = value.strip()
    known = [name for name in ACTIONS if name not in ("replace", "patch")]
    if action not in known:
        raise UsageError(f"unknown edit '{action[:60]}': {did_you_mean(action, known)}")
    if action == "block":
        return _parse_block(value)
    amount, at, heads = value.rpartition("@")
    if action not in _BEFORE_HEADS:
        if at:
            raise UsageError(f"expected {action} HEADS, such as '{action} 3.1,4', got {value!r:.60}")
        return {"zero": zero, "mean": mean, "uniform": uniform}[action](heads)
    if not at and action == "permute":
        return permute(heads)
    if not at:
        amount, heads = heads, "all"
    number = _parse_number(action, amount, value)
    if action == "scale":
        return scale(heads, number)
    if action == "temperature":
        return temperature(number, heads)
    if not number.is_integer():
        raise UsageError(f"expected {action} as a whole number, got {value!r:.60}")
    return permute(heads, int(number)) if action == "permute" else window(int(number), heads)


def parse_edit_line(line: str) -> Edit:
    """Return the edit of a line such as `zero 3.1` or `block it->animal@4-8`: the inverse of `Edit.spec`."""
    action, _, value = line.strip().partition(" ")
    return parse_edit(action, value or "all")


def _parse_block(value: str) -> Edit:
    query, arrow, rest = value.partition("->")
    key, at, heads = rest.rpartition("@")
    if not at or _parse_heads_quietly(heads) is None:  # a token may contain @
        key, heads = rest, ""
    if not arrow or not query.strip() or not key.strip():
        raise UsageError(f"expected block QUERY->KEY, such as 'it->animal' or 'it->animal@4-8', got {value!r:.60}")
    return block(query, key, heads=heads or None)


def _parse_number(action: str, amount: str, value: str) -> float:
    try:
        return float(amount)
    except ValueError:
        raise UsageError(f"expected {action} as a number, such as '{action} 2@3.1', got {value!r:.60}") from None


def _parse_heads_quietly(heads: str) -> tuple[str, ...] | None:
    try:
        return parse_heads(heads)
    except UsageError:
        return None


def _edit(action: Action, heads: HeadsOption, kind: str | None, **more: Any) -> Edit:
    parts = parse_heads(heads)
    for part in parts or ("all",):
        choice_of(part, kind)
    return Edit(action, parts, kind, **more)


def _number(name: str, value: float, above_zero: bool = False) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (above_zero and value <= 0):
        raise UsageError(f"expected the {name} as a {'positive ' if above_zero else ''}number, got {value!r:.60}")
    return float(value)


def _array(weights: Any) -> Any:
    shape = tuple(getattr(weights, "shape", ()))
    if len(shape) not in (2, 3):
        raise UsageError(f"expected weights of shape [query, key] or [head, query, key], got {list(shape)}")
    return weights if len(shape) == 3 else weights[None]


def heads_of_edit(edit: Edit, available: Available, where: str) -> Mapping[tuple[Kind, int], tuple[int, ...]]:
    """Return the heads of a model that are edited, by kind and layer; raise UsageError if one does not exist.

    available  the heads of the model, by kind and layer
    where      name of the model
    """
    try:
        selected = resolve_heads(edit.heads, available, where, edit.kind)
    except UsageError as error:
        raise UsageError(f"{edit.spec}: {error}") from error
    if edit.action == "window":  # the positions of two texts have no distance
        selected = {layer: heads for layer, heads in selected.items() if base_kind(layer[0]) != "cross"}
        if not selected:
            raise UsageError(f"{edit.spec}: a window needs attention inside one text, this is cross-attention")
    return selected
