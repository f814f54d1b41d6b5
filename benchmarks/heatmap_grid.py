"""What a picture of all heads costs: subplots by seaborn, bare axes by matplotlib, and one composed mosaic.

    python benchmarks/heatmap_grid.py                  # 24 of seaborn's 144 subplots, the rest in proportion
    python benchmarks/heatmap_grid.py --panels 144     # all of them, many minutes

seaborn.heatmap draws the whole figure anew for each subplot to see whether its labels overlap, so its cost grows
faster than the number of subplots: what is extrapolated in proportion is less than the truth.

All ways draw the same weights with the same colour scale to a png in memory, in this process, one after another.
Numbers are CPU seconds of this machine now; the ratios are what may be compared.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import seaborn

from attncli.data import Attention, LayerMaps, Tokens
from attncli.plotting import grid, heatmap
from attncli.plotting.render import render

WORDS = ["the", "animal", "did", "not", "cross", "a", "wide", "street", "because", "it", "was", "far", "too", "tired"]
LAYERS = HEADS = 12


def made_up(tokens: int, layers: int, heads: int) -> Attention:
    rng = np.random.default_rng(0)
    side = Tokens.plain([WORDS[n % len(WORDS)] for n in range(tokens)])
    maps = [rng.dirichlet(np.full(tokens, 0.2), (heads, tokens)) for _ in range(layers)]
    return Attention("encoder", side, side, tuple(LayerMaps(n, tuple(range(heads)), m) for n, m in enumerate(maps)))


def cpu_seconds(draw: Callable[[], object]) -> float:
    start = time.process_time()
    draw()
    return time.process_time() - start


def to_png(figure: plt.Figure) -> None:
    figure.savefig(io.BytesIO(), format="png", dpi=150)
    plt.close(figure)


def seaborn_subplots(attention: Attention, panels: int) -> None:
    """The first `panels` heads as one would write it: a subplot each, tokens on both axes, one colour scale."""
    figure, axes = plt.subplots(-(-panels // HEADS), HEADS, figsize=(36, 3 * -(-panels // HEADS)), squeeze=False)
    for number in range(panels):
        layer, head = divmod(number, HEADS)
        seaborn.heatmap(
            attention.layers[layer].weights[head],
            ax=axes[layer, head],
            vmin=0,
            vmax=1,
            cmap="viridis",
            cbar=False,
            xticklabels=attention.keys.pieces,
            yticklabels=attention.queries.pieces,
        )
    to_png(figure)


def image_axes(attention: Attention) -> None:
    """A bare `imshow` for each head, without labels."""
    figure, axes = plt.subplots(LAYERS, HEADS, figsize=(24, 24))
    for row, maps in zip(axes, attention.layers, strict=True):
        for each, weights in zip(row, maps.weights, strict=True):
            each.imshow(weights, vmin=0, vmax=1)
            each.set(xticks=[], yticks=[])
    to_png(figure)


def seaborn_single(attention: Attention) -> None:
    figure, axes = plt.subplots(figsize=(12, 12))
    pieces = attention.keys.pieces
    seaborn.heatmap(attention.values, ax=axes, cmap="viridis", xticklabels=pieces, yticklabels=pieces)
    to_png(figure)


def report(title: str, rows: list[tuple[str, float]]) -> None:
    ours = rows[-1][1]
    print(f"\n{title}")
    for name, seconds in rows:
        print(f"  {name:<44} {seconds:9.2f} CPU s   {seconds / ours:8.1f} x")


def main() -> None:
    """Run all ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=32, help="tokens of each head in the grid (default 32)")
    parser.add_argument("--single", type=int, default=512, help="tokens of the single head (default 512)")
    parser.add_argument("--panels", type=int, default=24, help="subplots that seaborn really draws (default 24)")
    options = parser.parse_args()
    if not 1 <= options.panels <= LAYERS * HEADS:
        parser.error(f"--panels must be 1 to {LAYERS * HEADS}, got {options.panels}")
    many = made_up(options.tokens, LAYERS, HEADS)
    one = made_up(options.single, 1, 1)
    render(grid.draw(made_up(4, 2, 2)), "png")

    share = LAYERS * HEADS / options.panels
    told = "" if share == 1 else f" ({options.panels} drawn, x {share:g})"
    report(
        f"{LAYERS} layers x {HEADS} heads, {options.tokens} tokens",
        [
            (f"seaborn.heatmap subplots{told}", share * cpu_seconds(lambda: seaborn_subplots(many, options.panels))),
            ("imshow axes without labels", cpu_seconds(lambda: image_axes(many))),
            ("attncli grid", cpu_seconds(lambda: render(grid.draw(many), "png"))),
        ],
    )
    report(
        f"one head, {options.single} tokens",
        [
            ("seaborn.heatmap", cpu_seconds(lambda: seaborn_single(one))),
            ("attncli heatmap", cpu_seconds(lambda: render(heatmap.draw(one), "png"))),
        ],
    )


if __name__ == "__main__":
    main()
