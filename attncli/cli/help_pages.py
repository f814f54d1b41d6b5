"""The pages of `attncli explain` that are written in Markdown, and Markdown as plain text.

Pages use headings, paragraphs, code blocks and lists. A list whose entries begin with a term, `- **Unit**: nat`, is a
list of definitions.
"""

import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from attncli.cli.command_table import plugin_studies

WIDTH = 100
_WIDEST_TERM = 24
_FENCE = "```"
_PACKAGE = Path(__file__).parent.parent
_TERM = re.compile(r"(?:`([^`]+)`|\*\*([^*]+)\*\*): ")


@cache
def help_pages() -> dict[str, str]:
    """Return all pages by name: pages of our studies, general pages, and pages of plugin studies."""
    paths = sorted([*_PACKAGE.glob("studies/**/help.md"), *_PACKAGE.glob("cli/help/*.md")])
    texts = [path.read_text(encoding="utf-8") for path in paths]
    pages: dict[str, str] = {}
    for markdown in [*texts, *(study.help for study in plugin_studies().values())]:
        pages = {**sections(markdown), **pages}
    return dict(sorted(pages.items()))


def sections(markdown: str) -> dict[str, str]:
    """Return the text below each first-level heading, by heading.

    >>> sections("# a\\n\\nOne.\\n\\n# b\\n\\nTwo.\\n")
    {'a': 'One.', 'b': 'Two.'}
    """
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    in_code = False
    for line in markdown.splitlines():
        in_code ^= line.startswith(_FENCE)
        if line.startswith("# ") and not in_code:
            lines = parts.setdefault(line.removeprefix("# ").strip(), [])
        else:
            lines.append(line)
    return {name: "\n".join(lines).strip() for name, lines in parts.items()}


def plain_text(markdown: str) -> str:
    """Return Markdown as text without markup, in lines of at most `WIDTH` characters.

    >>> print(plain_text("Some `a-b`.\\n\\n- **Unit**: nat\\n- `head`: number\\n  of `head`"))
    Some a-b.
    <BLANKLINE>
    Unit  nat
    head  number of 'head'
    """
    return "\n\n".join(_plain_block(block) for block in _blocks(markdown))


def _blocks(markdown: str) -> Iterator[list[str]]:
    """Yield the lines of each paragraph, list, heading and code block."""
    block: list[str] = []
    for line in [*markdown.splitlines(), ""]:
        if line or (block and block[0].startswith(_FENCE) and (len(block) == 1 or block[-1] != _FENCE)):
            block.append(line)
        elif block:
            yield block
            block = []


def _plain_block(lines: list[str]) -> str:
    if lines[0].startswith(_FENCE):
        return "\n".join(line for line in lines if not line.startswith(_FENCE))
    if lines[0].startswith("- "):
        return _plain_list([" ".join(entry.split()) for entry in "\n".join(lines)[2:].split("\n- ")])
    return textwrap.fill(_without_markup(" ".join(lines).lstrip("# ")), WIDTH, break_on_hyphens=False)


def _plain_list(entries: list[str]) -> str:
    terms = [match[1] or match[2] for entry in entries if (match := _TERM.match(entry))]
    if len(terms) < len(entries):
        return "\n".join(_fill(f"- {_without_markup(entry)}", "", "  ") for entry in entries)
    width = min(max(map(len, terms)), _WIDEST_TERM) + 2
    texts = [_without_markup(_TERM.sub("", entry, count=1)) for entry in entries]
    return "\n".join(
        _fill(text, f"{term:{width}}" if len(term) < width else f"{term}  ", " " * width)
        for term, text in zip(terms, texts, strict=True)
    )


def _fill(text: str, first: str, others: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )


def _without_markup(text: str) -> str:
    """Return a text without markup; a single word in backticks is quoted, so that it does not read as prose."""
    text = re.sub(r"`(\w+)`", r"'\1'", text)
    return re.sub(r"`([^`]+)`|\*\*([^*]+)\*\*", lambda match: match[1] or match[2], text)
