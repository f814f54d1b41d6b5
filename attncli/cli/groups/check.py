"""The options of `check` alone, and the keys of its file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

from attncli.cli.options import InputOptions, ModelOptions, SelectionOptions, changed, option

if TYPE_CHECKING:
    from attncli.studies.check.rules.sections import RulesSection


def _check(*names: str, **more: Any) -> Any:
    return option("Check", *names, **more)


@dataclass(frozen=True)
class CheckOptions:
    """What becomes of the verdicts beside the usual files."""

    format: Annotated[
        list[str] | None,
        option(
            *("Output", "--format"),
            metavar="NAMES",
            help="tables: also parquet, jsonl; pictures: also svg, pdf; with commas",
        ),
    ] = None
    record: Annotated[bool, _check("--record", help="make today's numbers the baseline")] = False
    baseline: Annotated[
        str | None, _check("--baseline", metavar="PATH", help="the file of the baseline, instead of that in FILE")
    ] = None
    junit: Annotated[str | None, _check("--junit", metavar="PATH", help="also JUnit XML, which CI servers show")] = None


_READING = ("words", "special", "max_tokens", "batch_tokens")
"""Options that say how texts are read, beside those of the model."""


def file_section() -> type[RulesSection]:
    """All keys of a file of rules: those of rules, and of the options that a file may set."""
    from attncli.cli.config.sections import section
    from attncli.studies.check.rules.sections import RulesSection

    without = {each.name for group in (InputOptions, SelectionOptions) for each in fields(group)} - {*_READING}
    groups = (ModelOptions, SelectionOptions, InputOptions)
    found: Any = section("rules", *groups, without=without, base=RulesSection)
    return found  # type: ignore[no-any-return]


def options_of(read: RulesSection, model: ModelOptions) -> tuple[ModelOptions, InputOptions, SelectionOptions]:
    """The options that hold: those that were typed, else those of the file, else as they are by default."""
    from attncli.cli.config.sections import given

    merged = replace(ModelOptions(), **{**given(read, ModelOptions), **changed(model)})
    return merged, InputOptions(**given(read, InputOptions)), SelectionOptions(**given(read, SelectionOptions))
