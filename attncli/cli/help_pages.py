"""The pages of `attncli explain` that are written in Markdown: one `help.md` per study, and general pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attncli.cli.command_table import plugin_studies
from attncli.cli.markdown import sections

_PACKAGE = Path(__file__).parent.parent


def help_pages() -> dict[str, str]:
    """Return all pages by name: pages of our studies, general pages, and pages of plugin studies."""
    pages: dict[str, str] = {}
    for markdown in _markdown_texts():
        for name, text in sections(markdown).items():
            pages.setdefault(name, text)
    return dict(sorted(pages.items()))


def _markdown_texts() -> Iterator[str]:
    for path in sorted([*_PACKAGE.glob("studies/*/help.md"), *_PACKAGE.glob("cli/help/*.md")]):
        yield path.read_text(encoding="utf-8")
    for study in plugin_studies().values():
        yield study.help
