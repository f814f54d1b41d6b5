"""The parts of `manifest.json` and `run.json`, with the types that a saved run must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, InstanceOf

from attncli.data import KINDS, By, Pooling, RowsAs, Scheme
from attncli.vocabulary import COMBINED, LAYER_AGGREGATES

Text = InstanceOf[str]
"""Any text: the type of pydantic refuses half surrogates."""
_HIGHEST = 2**62


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, got true or false")
    return value


Count = Annotated[int, Field(ge=0, le=_HIGHEST)]
Number = Annotated[int, Field(ge=-_HIGHEST, le=_HIGHEST)]
Real = Annotated[FiniteFloat, BeforeValidator(_no_bool)]
SavedKind = Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})(-[a-z0-9-]{{1,60}})?$")]
Axis = Literal["layer", "head", "query", "key"]


class SavedPart(BaseModel):
    """A part of a document; keys that this version does not know are left alone."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class SavedGroup(SavedPart):
    """Layers of a kind in which several heads share keys and values."""

    kind: SavedKind
    layers: list[Count]
    heads: Annotated[int, Field(ge=1)]
    key_value_heads: Annotated[int, Field(ge=1)]


class SavedInfo(SavedPart):
    """The `run` object of a manifest: the fields of `RunInfo`."""

    model: Text
    revision: Text | None
    cls: Text = Field(alias="class")
    architecture: Text
    dtype: Text
    device: Text
    capture: Text
    tokenizer: Text
    versions: dict[Text, Text]
    given: dict[Text, Any]
    resolved: dict[Text, Any]
    notes: list[Text]
    seed: Number | None
    input_sha256: Text
    format: Count
    grouped_heads: list[SavedGroup] = []


class ManifestDocument(SavedPart):
    """The manifest of a complete run."""

    command: Text
    created: Text
    digest: Text
    complete: bool
    run: SavedInfo
    files: list[dict[Text, Any]]


class SavedTokens(SavedPart):
    """The tokens of one side."""

    pieces: list[Text]
    ids: list[Number]
    special: list[bool]
    offsets: list[Annotated[list[Number], Field(min_length=2, max_length=2)]]
    words: list[Number]
    segments: list[Text]
    text: Text
    scheme: Scheme


class SavedText(SavedPart):
    """A text as it was given."""

    text: Text
    pair: Text | None
    target: Text | None
    messages: list[dict[Text, Text]]


class SavedInput(SavedPart):
    """A text with the numbers of its tokens."""

    index: Count
    text: SavedText
    source: Count
    target: Count | None
    scaled: dict[SavedKind, Annotated[list[Count], Field(min_length=2, max_length=2)]] = {}


class SavedLayer(SavedPart):
    """The maps of one layer."""

    layer: Count | Literal["mean"]
    heads: list[Count]
    array: Text
    axes: list[Axis]
    at: Count = 0
    visible: Text | None


class SavedAttention(SavedPart):
    """The maps of one text and kind."""

    kind: SavedKind
    text: Count
    queries: Count
    keys: Count
    aggregate: Literal[COMBINED]  # type: ignore[valid-type]
    aggregate_layers: Literal[LAYER_AGGREGATES]  # type: ignore[valid-type]
    words: bool
    dropped_special: bool
    by: By = "weight"
    rows_as: RowsAs | None = None
    window: Annotated[list[Annotated[list[Count], Field(min_length=2, max_length=2)]], Field(min_length=2)] | None = (
        None
    )
    pool: Pooling = "none"
    cell: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] = [1, 1]
    layers: list[SavedLayer]


class SavedVectors(SavedPart):
    """The query and key vectors of one layer."""

    text: Count
    kind: SavedKind
    layer: Count
    heads: list[Count]
    key_heads: list[Count]
    scale: Real
    softcap: Real | None
    bias: bool
    query: Text
    key: Text
    normalizer: Text


class SavedColumn(SavedPart):
    """A coordinate of scores: an array of numbers, or of indices into names."""

    dim: Text
    array: Text
    names: list[Text | int | float | bool | None] | None = None
    dtype: Annotated[str, Field(pattern=r"^(\|O|[<>]U\d{1,3})$")] | None = None

    @pydantic.model_validator(mode="after")
    def _names_have_a_type(self) -> SavedColumn:
        if (self.names is None) != (self.dtype is None):
            raise ValueError("expected names and dtype, or neither")
        return self


class SavedScores(SavedPart):
    """The scores of one metric."""

    metric: Text
    values: Text
    dims: list[Text]
    coords: dict[Text, SavedColumn]
    unit: Text
    range: Annotated[list[Real | None], Field(min_length=2, max_length=2)]
    source: Text


class SavedStatistics(SavedPart):
    """The tables of statistics."""

    heads: dict[Text, SavedScores]
    std: dict[Text, SavedScores]
    tokens: dict[Text, SavedScores]
    keys: dict[Text, SavedScores] = {}
    share: dict[Text, SavedScores] = {}
    by: By = "weight"
    counts: dict[Text, SavedScores] = {}
    pool_texts: Literal["texts", "tokens"] = "texts"
    special: list[Text] | None = None
    rows_as: Literal["input", "predicted"] = "input"


class SavedDocument(SavedPart):
    """The content of `run.json`."""

    inputs: list[SavedInput]
    attention: list[SavedAttention]
    statistics: SavedStatistics | None
    vectors: list[SavedVectors] = []
    tokens: list[SavedTokens]


def wrong_type(document: Mapping[str, Any], model: type[SavedPart]) -> str | None:
    """Return the place and the reason of the first value that has not the type of a model; None without one."""
    try:
        model.model_validate(document)
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)[0]
        path = ".".join(str(part) for part in details["loc"])[:100].encode("ascii", "backslashreplace").decode()
        return f"{path}: {details['msg']}"
    return None
