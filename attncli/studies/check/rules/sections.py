"""The shape of a file of rules: its keys and what they may hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from attncli.data import Kind
from attncli.inputs.schema import FilePath, JoinedText, Section, TextList
from attncli.studies.check.result import TOLERANCE

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Drift = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TextSection(Section):
    """A text, perhaps with a second segment or with what the decoder reads."""

    text: str
    pair: str | None = None
    target: str | None = None


TextValue = Annotated[TextSection, BeforeValidator(lambda value: {"text": value} if isinstance(value, str) else value)]


class AttentionSection(Section):
    """Some head looks from one word to another."""

    name: str | None = None
    text: TextValue | None = None
    kind: Kind | None = None
    heads: TextList = Field(default=["any"])
    from_: JoinedText = Field(alias="from")
    to: JoinedText
    than: JoinedText | None = None
    min: Share | None = None
    max: Share | None = None
    above: str | None = None


class LimitsSection(Section):
    """Within which limits a measure must be."""

    heads: TextList = Field(default=["all"])
    min: Number | None = None
    max: Number | None = None


class BudgetSection(Section):
    """What stands beside the name of the measure."""

    name: str | None = None
    text: TextValue | None = None
    kind: Kind | None = None


class ClassSection(Section):
    """Heads are of a class, or are not."""

    name: str | None = None
    text: TextValue | None = None
    kind: Kind | None = None
    heads: TextList = Field(default=["all"])
    is_: str | None = Field(None, alias="is")
    is_not: str | None = Field(None, alias="is-not")


class SuiteSection(Section):
    """Many cases in a file of their own, and how many must hold."""

    file: FilePath
    name: str | None = None
    kind: Kind | None = None
    heads: TextList = Field(default=["any"])
    min: Share | None = None
    min_rate: Share | None = Field(None, alias="min-rate")
    above: str | None = None


Word = Annotated[JoinedText, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""Of JSON, where a position may be a number."""


class CaseSection(Section):
    """One line of such a file."""

    text: str
    from_: Word = Field(alias="from")
    to: Word
    than: Word | None = None
    pair: Word | None = None
    target: str | None = None


class MeasureTolerance(Section):
    """How far one measure may drift."""

    absolute: Drift | None = None
    relative: Drift | None = None


class BaselineSection(Section):
    """Numbers that were recorded, and how far today's may be from them."""

    file: str | None = None
    absolute: Drift = 0.01
    relative: Drift = 0.05
    metrics: dict[str, MeasureTolerance] = Field(default={})


class RulesSection(Section):
    """All keys of the file that are not options."""

    texts: dict[str, TextValue] = Field(default={})
    rules: list[Any] = Field(default=[])
    suites: list[SuiteSection] = Field(default=[])
    baseline: BaselineSection | None = None
    tolerance: float = Field(
        TOLERANCE,
        ge=0,
        le=0.1,
        allow_inf_nan=False,
        description="a value within the tolerance of a limit counts as equal to it; relative for limits above 1",
    )
