"""The file of `attncli check`: its keys are those of rules, and the options that it may set."""

from dataclasses import fields, replace
from typing import Any

from attncli.cli.config.sections import given, section
from attncli.edit_options import EditedModelOptions
from attncli.options import InputOptions, ModelOptions, SelectionOptions, changed
from attncli.studies.check.rules.kinds import measure_names
from attncli.studies.check.rules.sections import (
    AttentionSection,
    BudgetSection,
    ClassSection,
    LimitsSection,
    RulesSection,
    TrendSection,
)

_READING = ("words", "special", "max_tokens", "generate", "add_bos", "batch_tokens")
"""Options that say how texts are read; the file may set them, and those of the model."""


def file_section() -> type[RulesSection]:
    """Return the section of the whole file."""
    without = {field.name for group in (InputOptions, SelectionOptions) for field in fields(group)} - {*_READING}
    groups = (ModelOptions, SelectionOptions, InputOptions)
    made: Any = section("rules", *groups, without=without, base=RulesSection)
    return made  # type: ignore[no-any-return]


def options_of(read: RulesSection, model: ModelOptions) -> tuple[EditedModelOptions, InputOptions, SelectionOptions]:
    """Return the options of the file; options of the command line override it."""
    merged = replace(EditedModelOptions(), **{**given(read, ModelOptions), **changed(model)})
    return merged, InputOptions(**given(read, InputOptions)), SelectionOptions(**given(read, SelectionOptions))


def rules_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    schema = file_section().model_json_schema()
    sorts: list[dict[str, Any]] = [sort.model_json_schema() for sort in (AttentionSection, ClassSection, TrendSection)]
    budget, limits = BudgetSection.model_json_schema(), LimitsSection.model_json_schema()
    budget["properties"] |= dict.fromkeys(measure_names(), limits)
    schema["properties"]["rules"]["items"] = {"anyOf": [{"type": "string"}, *sorts, budget]}
    for part in (*sorts, budget):
        schema.setdefault("$defs", {}).update(part.pop("$defs", {}))
    text = schema["$defs"]["TextSection"]
    schema["$defs"]["TextSection"] = {"anyOf": [{"type": "string"}, text]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "attncli check"}
