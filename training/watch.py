"""Watch the heads of a model while it is trained: event files for TensorBoard, and a picture of heads that appear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from transformers import PreTrainedModel

from attncli.integrations import AttentionCallback
from attncli.plotting.colours import palette
from attncli.plotting.layout import FigureLayout, Header, legend_style
from attncli.plotting.render import render
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style, with_fixed_style
from attncli.studies.log.result import Snapshot

SCORES = {"previous": "previous token", "induction": "induction: the token after an earlier copy"}
DRAW_EVERY = 10
"""Number of points after which the picture is drawn again."""
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BELOW = 520, 170, 64, 250, 66


class Watch:
    """Calls a callback in a training, and keeps what it measures."""

    def __init__(self, folder: Path, every: int, model: PreTrainedModel, tokenizer: Any, texts: list[str]) -> None:
        self.folder, self.model = folder, model
        self.callback = AttentionCallback(texts, every, tokenizer=tokenizer, logdir=folder, heads="all", pictures=False)
        self.snapshots: list[Snapshot] = []

    def __call__(self, step: int) -> None:
        """Measure the model if it is time."""
        if (snapshot := self.callback.log(self.model, step)) is not None:
            self.snapshots.append(snapshot)
            if len(self.snapshots) % DRAW_EVERY == 0:
                self.draw()

    def draw(self) -> Path:
        """Write the picture of the scores by step into the folder; return its path."""
        path = self.folder / "heads-by-step.png"
        path.write_bytes(render(draw_births(self.snapshots), "png"))
        return path


@with_fixed_style
def draw_births(snapshots: list[Snapshot]) -> Figure:
    """Return a page with a panel per score: a line per head, by step, with the names of the best heads at the end."""
    header = Header.of("heads that appear in training", "random tokens that are read twice: mean weight on the target")
    layers = sorted(set(snapshots[0].heads["layer"].tolist()))
    colours = dict(zip(layers, palette(len(layers) + 1), strict=False))
    top = header.height + 26
    page = FigureLayout.blank(_LEFT + _WIDTH + _RIGHT, top + len(SCORES) * (_HEIGHT + _BELOW), header)
    for number, (score, title) in enumerate(SCORES.items()):
        axes = page.axes(_LEFT, top + number * (_HEIGHT + _BELOW), _WIDTH, _HEIGHT)
        _draw_score(axes, snapshots, score, colours)
        axes.set_title(title, **style(SUBTITLE, loc="left", pad=6))
        if number + 1 == len(SCORES):
            axes.set_xlabel("step", **style(SUBTITLE))
        if not number:
            axes.legend(loc="upper left", bbox_to_anchor=(1.07, 1.0), **legend_style())
    return page.figure


def _draw_score(axes: Axes, snapshots: list[Snapshot], score: str, colours: dict[int, str]) -> None:
    steps = [snapshot.step or 0 for snapshot in snapshots]
    heads = snapshots[0].heads
    values = np.array([snapshot.heads[score] for snapshot in snapshots])
    named: set[int] = set()
    for row in range(values.shape[1]):
        layer = heads["layer"][row]
        label = None if layer in named else f"heads of layer {layer}"
        named.add(layer)
        axes.plot(steps, values[:, row], color=colours[layer], linewidth=1.1, label=label)
    uniform = float(np.nanmean(heads[f"{score}_uniform"]))
    axes.axhline(uniform, color=FAINT, linewidth=0.8, linestyle="--", label="uniform attention")
    best = int(values[-1].argmax())
    axes.annotate(
        f"{heads['layer'][best]}.{heads['head'][best]}",
        (steps[-1], values[-1, best]),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        **style(SMALL),
    )
    axes.set_frame_on(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.5, 1])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
