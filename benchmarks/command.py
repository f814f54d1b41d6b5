"""`attncli heatmap` against a bare script: same model, text and figure; `--help` against the smallest Typer program.

    python benchmarks/command.py
    python benchmarks/command.py --model sentence-transformers/all-MiniLM-L6-v2

Both are processes of their own, started in turn, with all bytecode compiled; CPU seconds of the child as the system
counts them, the least of all turns. Only the ratio means anything.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

TEXT = "The animal didn't cross the street because it was too tired."
BARE = """
import sys
from transformers import AutoModel, AutoTokenizer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import torch
model = AutoModel.from_pretrained(sys.argv[1], attn_implementation="eager").eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
with torch.inference_mode():
    maps = model(**tokenizer(sys.argv[2], return_tensors="pt"), output_attentions=True).attentions
figure = Figure()
FigureCanvasAgg(figure)
axes = figure.subplots(len(maps), maps[0].shape[1])
for row, layer in zip(axes, maps):
    for panel, head in zip(row, layer[0]):
        panel.imshow(head)
figure.savefig("bare.png")
"""
SMALLEST_HELP = """
import typer
app = typer.Typer()
for number in range(12):
    @app.command(f"command-{number}", help="What it does.")
    def command(text: str = typer.Option("x", help="what it reads")) -> None: pass
app(["--help"])
"""


def main() -> None:
    """Run both commands in turn and print the least CPU seconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder or hub id; the bundled encoder by default")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    from attncli.models import DEMO

    python, attncli = [sys.executable, "-c"], [sys.executable, "-m", "attncli"]
    model = options.model or str(DEMO / "encoder")
    model = str(Path(model).resolve()) if Path(model).is_dir() else model
    pairs = {
        "heatmap": (
            [*attncli, "heatmap", "--model", model, "--text", TEXT, "--out", "heatmap", "--force"],
            [*python, BARE, model, TEXT],
        ),
        "heatmap --help": ([*attncli, "heatmap", "--help"], [*python, SMALLEST_HELP]),
        "--help": ([*attncli, "--help"], [*python, SMALLEST_HELP]),
    }
    for name, commands in pairs.items():
        with tempfile.TemporaryDirectory() as folder:
            times = [[_cpu(command, folder) for command in commands] for _ in range(options.repeat + 1)]
        ours, bare = (min(column) for column in zip(*times[1:], strict=True))  # the first compiles and fills caches
        print(f"attncli {name} {ours:.2f} s   bare script {bare:.2f} s   ratio {ours / bare:.2f}")


def _cpu(command: list[str], folder: str) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
