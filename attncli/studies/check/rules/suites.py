"""Reader of suites: many cases of one rule, each a line of a JSONL file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attncli.errors import UsageError
from attncli.inputs.text_files import check_text
from attncli.inputs.texts import jsonl_rows
from attncli.inputs.yaml_file import Document, FilePosition, validate
from attncli.studies.check.rules.heads import candidates
from attncli.studies.check.rules.kinds import CaseRule, SuiteRule, parse_percentile, read_text, with_position
from attncli.studies.check.rules.sections import CaseSection, SuiteSection, TextSection


def read_suite(part: Document, section: SuiteSection) -> SuiteRule:
    """Return a suite with its cases; raise UsageError with the position in both files if a case is wrong."""
    above = parse_percentile(part, section.above)
    if section.min_rate is None and above is None:
        raise part.error((), "the suite demands nothing: give min-rate, above or both")
    path = Path(section.file)
    cases = tuple(with_position(part, ("file",), lambda: list(_cases(path, section.min is not None))))
    heads = with_position(part, ("heads",), lambda: candidates(section.heads, "any"))
    name = section.name or path.stem
    return SuiteRule(part, name, None, section.kind, heads, cases, section.min, section.min_rate, above)


def _cases(path: Path, has_least: bool) -> Iterator[CaseRule]:
    units: dict[str, int] = {}
    count = 0
    for count, (row, number) in enumerate(jsonl_rows(path, "with text, from and to"), start=1):
        part = Document(str(path), row, {(): FilePosition(number, 1)})
        section = validate(part, CaseSection)
        if section.than is None and not has_least:
            raise part.error((), "the case demands nothing: give than, or give the suite a min")
        text = read_text(part, TextSection(text=section.text, target=section.target))
        check_text(f"{path}, line {number}", text.text + (text.target or ""))
        unit = count if section.pair is None else units.setdefault(section.pair, count)
        yield CaseRule(part, text, section.from_, section.to, section.than, section.pair, unit)
    if not count:
        raise UsageError(f"{path} holds no cases: expected a JSON object with text, from and to in each line")
