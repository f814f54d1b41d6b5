"""The page of `attncli qk-map`: its size, and the time until the first view and until all heads are drawn.

    python benchmarks/qk_map_page.py
    python benchmarks/qk_map_page.py --layers 30 --heads 9 --vectors 2000

Made points, which compress worse than those of any model, opened in headless Chromium: the middle of several loads.
First view: from the start of loading until the first frame after the view has been drawn; heads below the window may
come later.

    pip install playwright
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np

from attncli.data import Input, RunInfo, Text, Tokens
from attncli.page import HeadQuality, KindPoints, LayerPoints, QkPageContent, QualityNumber, qk_page_html

TEXTS, LENGTH, PER_ROW = 40, 60, 8
PATIENCE = 120_000
"""Milliseconds that a page may take until it is drawn."""
TIMES = """
const marks = {};
const mark = (name) => requestAnimationFrame(() => requestAnimationFrame(() => { marks[name] = performance.now(); }));
new MutationObserver(() => {
  const { drawn, painted } = document.body?.dataset ?? {};
  if (drawn && !("drawn" in marks)) { marks.drawn = 0; mark("drawn"); }
  if (painted && !("painted" in marks)) { marks.painted = 0; mark("painted"); }
  window.marks = marks;
}).observe(document, { subtree: true, childList: true, attributes: true });
"""


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--vectors", type=int, default=2000)
    parser.add_argument("--loads", type=int, default=5)
    options = parser.parse_args()
    html = qk_page_html(random_content(options.layers, options.heads, options.vectors))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "qk-map.html")
        path.write_text(html, encoding="utf-8")
        first, all_heads = load_times(path, options.loads)
    heads = f"{options.layers} x {options.heads} heads, {options.vectors} vectors a head"
    print(f"{heads}: {len(html) / 1e6:.1f} MB, first view {first:.2f} s, all heads {all_heads:.2f} s")


def random_content(layers: int, heads: int, vectors: int) -> QkPageContent:
    """Return random points, norms and weights of random tokens."""
    random = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(500)])
    inputs = []
    for text in range(TEXTS):
        pieces = tuple(random.choice(words, LENGTH).tolist())
        at = np.arange(LENGTH)
        tokens = Tokens(pieces, at, at < 0, np.full((LENGTH, 2), -1), at, ("",) * LENGTH)
        inputs.append(Input(text, Text(" ".join(pieces)), tokens))
    queries = vectors // 2
    texts, positions, types = (random.integers(0, most, vectors) for most in (TEXTS, LENGTH, 2))
    numbers = (QualityNumber("rank correlation", 0.5, 0.7, 0.0),)
    of_layers = []
    for layer in range(layers):
        weights = random.dirichlet(np.full(LENGTH, 0.2), (heads, queries))
        keys = np.argsort(-weights, axis=-1)[..., :PER_ROW]
        points, norms = random.normal(size=(heads, vectors, 2)), random.uniform(1, 9, (heads, vectors))
        quality = [HeadQuality(head, head % 3 > 0, "Near means attended.", numbers) for head in range(heads)]
        of_layers.append(LayerPoints(layer, quality, points, norms, keys, np.take_along_axis(weights, keys, axis=-1)))
    kind = KindPoints("encoder", queries, texts, positions, types, of_layers)
    return QkPageContent(RunInfo("made"), inputs, [kind], ["word", "piece"], "PCA")


def load_times(path: Path, loads: int) -> tuple[float, float]:
    """Return the middle of the seconds until the first view and until all heads are drawn."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    marks = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(loads):
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            page.add_init_script(TIMES)
            page.goto(path.as_uri(), wait_until="commit")
            # the policy of the page forbids the eval that waiting for a function needs
            page.wait_for_selector("body[data-painted]", timeout=PATIENCE)
            page.evaluate("new Promise(done => setTimeout(done, 300))")
            marks.append(page.evaluate("window.marks"))
            page.close()
        browser.close()
    first, all_heads = (statistics.median(mark[name] / 1000 for mark in marks) for name in ("drawn", "painted"))
    return first, all_heads


if __name__ == "__main__":
    main()
