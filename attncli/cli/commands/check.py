"""`attncli check`: rules that attention must keep, with an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from attncli.cli.run_study import CommonOptions, run_once
from attncli.errors import CheckError, UsageError
from attncli.options import ConsoleOptions, FolderOptions, ModelOptions, OutputOptions, typed
from attncli.studies.check.ci import github
from attncli.studies.check.options import CheckOptions
from attncli.studies.check.study import CheckStudy
from attncli.terminal import escaped

if TYPE_CHECKING:
    from attncli.studies.check.result import Checked


def check(
    model: ModelOptions,
    output: FolderOptions,
    console: ConsoleOptions,
    options: CheckOptions,
    rules: Annotated[str | None, typer.Argument(metavar="FILE", help="rules in YAML; - is stdin")] = None,
) -> None:
    """Check that attention keeps rules: exit code 0 if all hold, 1 if one does not, 2 if the file is wrong.

    A rule asks for attention from one word to another, for a measure within limits, or for a class of heads; a suite
    asks in how many cases of a JSONL file one head must be right, which half of the cases chooses and the other half
    scores; a baseline limits how far the measures of each head drift from numbers that --record wrote; a trend is an
    alarm over checkpoints, with --model 'runs/checkpoint-*'. attncli explain rules is the reference of the file.

    Writes check.json, check.csv (a row per rule: the value, the head, the rank of the target, the value of uniform
    weights), check-cases.csv and check-heads.csv of suites, check-drifts.csv, check-trends.csv, and for each rule that
    does not hold the heatmap of its head.
    In a pipe, prints check.csv; with --json check.json. If GITHUB_ACTIONS is true, prints an annotation for each rule
    that does not hold. Command-line options override the file.

    Example: attncli check configs/translation.yaml
    """
    if rules is None:
        raise UsageError("which rules? give their file: attncli check rules.yaml (see attncli explain rules)")
    # imported here: the help of the command line needs no pydantic
    from attncli.cli.config.rules import file_section, options_of
    from attncli.inputs.yaml_file import read_yaml, validate
    from attncli.studies.check.compute import texts_of
    from attncli.studies.check.rules import read_rules
    from attncli.studies.check.trends import checkpoints_of_rules

    document = read_yaml(rules)
    section = validate(document, file_section())
    file = read_rules(document, section)
    merged, texts, selection = options_of(section, model)
    files = OutputOptions(**vars(output), format=options.format)
    common = CommonOptions(merged, texts, selection, files, console, given=typed(model, output))
    checkpoints = checkpoints_of_rules(file, merged.model)
    study = CheckStudy(options, file, rules, document.values, output.force, checkpoints)
    checked = run_once(study, common, texts=texts_of(file)).checked
    for line in github(rules, checked, os.environ):
        sys.stderr.write(f"{escaped(line)}\n")
    if not checked.holds:
        raise CheckError(_failure(checked))


def _failure(checked: Checked) -> str:
    first = checked.failed[0]
    more = f", and {len(checked.failed) - 1} more" if len(checked.failed) > 1 else ""
    verb = "does" if len(checked.failed) == 1 else "do"
    return f"{len(checked.failed)} of {len(checked.verdicts)} rules {verb} not hold: {first.name}: {first.why}{more}"
