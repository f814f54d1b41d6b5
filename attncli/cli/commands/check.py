"""`attncli check`: rules that attention must keep, with an exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attncli.cli.console import command_console
from attncli.cli.groups.check import CheckOptions, file_section, options_of
from attncli.cli.invocations import load_arguments, request_of, split_heads
from attncli.errors import CheckError, UsageError
from attncli.options import ConsoleOptions, FolderOptions, ModelOptions, OutputOptions, SavedRunOptions, typed
from attncli.studies.check.annotations import github
from attncli.terminal.escape import escaped

if TYPE_CHECKING:
    from attncli.engine.invocation import Invocation
    from attncli.studies.check.job import Asked
    from attncli.studies.check.result import Checked
    from attncli.studies.check.rules.kinds import RuleFile


def check(
    model: ModelOptions,
    place: FolderOptions,
    talk: ConsoleOptions,
    validate: CheckOptions,
    rules: Annotated[str | None, typer.Argument(metavar="FILE", help="the rules, YAML; - is stdin")] = None,
) -> None:
    """Check that attention keeps rules: exit code 0 where all hold, 1 where some do not, 2 where the file is wrong.

    A rule says that some head looks from a word to another, keeps a measure within limits, or says of which class heads
    are; a suite, in how many cases of a JSONL file one head must be right; a baseline, how far the measures of each
    head may drift from numbers that --record wrote. attncli explain rules has the whole reference of the file.

    Writes check.json, check.csv (a row per rule: what was found, the head, the rank of the target, what even attention
    gives), check-cases.csv of suites, check-drifts.csv, and for each rule that does not hold the heatmap of the head
    concerned. In a pipe, prints check.csv; with --json check.json. Where GITHUB_ACTIONS is true, prints an annotation
    for each rule that does not hold. What is typed goes before what the file says.

    Example: attncli check configs/translation.yaml
    """
    from attncli.store import json_text, table_csv
    from attncli.studies.check.job import check as hold
    from attncli.studies.check.terminal import verdict_tables

    with command_console(talk) as say:
        if rules is None:
            raise UsageError("which rules? give their file: attncli check rules.yaml (see attncli explain rules)")
        job, file, asked = _job(rules, model, place, validate)
        found, document, done = hold(job, file, asked, say.track)
        say.notes(done.notes)
        say.result(
            lambda: json_text(document),
            lambda: table_csv(found.table()),
            lambda: verdict_tables(found),
            job.folder.written,
        )
        _annotate(rules, found)
        if not found.holds:
            raise CheckError(_failed(found))


def _job(
    name: str, model: ModelOptions, place: FolderOptions, validate: CheckOptions
) -> tuple[Invocation, RuleFile, Asked]:
    from attncli.engine.invocation import PICTURES, TABLES, Invocation, OutputSettings, choose_formats
    from attncli.inputs.schema import validate as held_against
    from attncli.inputs.yaml_file import read_yaml
    from attncli.studies.check.job import Asked, texts_of
    from attncli.studies.check.rules import read_rules

    formats = choose_formats(validate.format, (*TABLES, *PICTURES), ("json", "csv", "png"))
    document = read_yaml(name)
    section = held_against(document, file_section())
    file = read_rules(document, section)
    merged, texts, selection = options_of(section, model)
    _, model_head = split_heads(None, merged.model_head)
    request = request_of(
        (merged, texts, selection, OutputOptions(max_memory=place.max_memory), SavedRunOptions()), None, {}
    )
    paths = [None if path is None else Path(path) for path in (validate.baseline, validate.junit)]
    asked = Asked(
        name,
        [each for each in formats if each in TABLES],
        [each for each in formats if each in PICTURES],
        validate.record,
        *paths,
    )
    cases = [{"file": suite.name, "cases": [case.part.values for case in suite.cases]} for suite in file.suites]
    more = {
        "rules": document.values,
        "suites": cases,
        "format": formats,
        "record": validate.record,
        "baseline": validate.baseline,
    }
    given = {**typed(model, place, validate), "file": name}
    source = load_arguments(merged, model_head)
    return (
        Invocation("check", source, request, texts_of(file), OutputSettings(place.out, place.force), more, given),
        file,
        asked,
    )


def _annotate(rules: str, found: Checked) -> None:
    for line in github(rules, found, os.environ):
        with suppress(BrokenPipeError):
            sys.stderr.write(f"{escaped(line)}\n")


def _failed(found: Checked) -> str:
    first = found.failed[0]
    more = f", and {len(found.failed) - 1} more" if len(found.failed) > 1 else ""
    does = "does" if len(found.failed) == 1 else "do"
    return f"{len(found.failed)} of {len(found.verdicts)} rules {does} not hold: {first.name}: {first.why}{more}"
