"""Schema of a file of rules: its keys and their values."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from attncli.data import TokenKind
from attncli.inputs.yaml_file import FilePath, JoinedText, Section, TextList
from attncli.studies.check.result import TOLERANCE

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TextSection(Section):
    """A text with an optional second segment (`pair`) and an optional text for the decoder (`target`); or a `chat`."""

    text: str | None = None
    pair: str | None = None
    target: str | None = None
    chat: FilePath | None = None


TextValue = Annotated[TextSection, BeforeValidator(lambda value: {"text": value} if isinstance(value, str) else value)]


class AttentionSection(Section):
    """A rule about the weight from one word to another."""

    name: str | None = None
    text: TextValue | None = None
    kind: TokenKind | None = None
    heads: TextList = Field(default=["any"])
    from_: JoinedText = Field(alias="from")
    to: JoinedText
    than: JoinedText | None = None
    min: Share | None = None
    max: Share | None = None
    above: str | None = None


class LimitsSection(Section):
    """Limits of a measure, and the heads that must be within them."""

    heads: TextList = Field(default=["all"])
    min: Number | None = None
    max: Number | None = None


class BudgetSection(Section):
    """Keys of a budget other than the name of its measure."""

    name: str | None = None
    text: TextValue | None = None
    kind: TokenKind | None = None


class ClassSection(Section):
    """A rule that heads are of a class, or that they are not."""

    name: str | None = None
    text: TextValue | None = None
    kind: TokenKind | None = None
    heads: TextList = Field(default=["all"])
    is_: str | None = Field(None, alias="is")
    is_not: str | None = Field(None, alias="is-not")


class TrendSection(Section):
    """A rule about checkpoints: how much a measure may change from one to another."""

    trend: str
    name: str | None = None
    text: TextValue | None = None
    kind: TokenKind | None = None


class SuiteSection(Section):
    """A separate file of many cases, and how many of them must hold."""

    file: FilePath
    name: str | None = None
    kind: TokenKind | None = None
    heads: TextList = Field(default=["any"])
    min: Share | None = None
    min_rate: Share | None = Field(None, alias="min-rate")
    above: str | None = None


Word = Annotated[JoinedText, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""A word in JSON, where a token position may be a number."""


class CaseSection(Section):
    """One line of a file of cases."""

    text: str
    from_: Word = Field(alias="from")
    to: Word
    than: Word | None = None
    pair: Word | None = None
    target: str | None = None


class MeasureTolerance(Section):
    """Tolerances of one measure."""

    absolute: Tolerance | None = None
    relative: Tolerance | None = None


class BaselineSection(Section):
    """A file of recorded numbers, and the tolerances of differences from them."""

    file: str | None = None
    absolute: Tolerance = 0.01
    relative: Tolerance = 0.05
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
