"""The progress bar on a terminal: how far, how fast, and how long it still takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

WAIT = 0.5
"""Seconds before a bar is shown; in shorter work it would only flash."""


class _Rate(ProgressColumn):
    """The column with the speed, such as `1,234 tokens/s`."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        shown = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
        return Text(f"{shown} {task.fields['unit']}/s", style="progress.data.speed")


@contextmanager
def progress_bar(console: Console, what: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    """Show a bar while work goes on, from the first step after `WAIT` seconds; the caller reports each step done."""
    columns = (
        *(TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), _Rate()),
        *(TimeRemainingColumn(), TextColumn("left")),
    )
    progress = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    task = progress.add_task(what, total=total, unit=unit)
    start = time.monotonic()

    def advance(steps: float) -> None:
        progress.advance(task, steps)
        if not progress.live.is_started and not progress.finished and time.monotonic() - start >= WAIT:
            progress.start()

    try:
        yield advance
    finally:
        if progress.live.is_started:
            progress.stop()
