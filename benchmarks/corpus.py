"""Statistics of a corpus, against the model alone at its best batch size; and two workers against one.

    python benchmarks/corpus.py --texts 5000
    python benchmarks/corpus.py --texts 5000 --model sentence-transformers/all-MiniLM-L6-v2 --workers 2
    python benchmarks/corpus.py --texts 2000 --words 5 30 --model sentence-transformers/all-MiniLM-L6-v2

`corpus` is what `attncli stats` does with the corpus: reading, tokenizing, all metrics of all heads, shards on disk.
`model alone` is the model under sdpa on padded batches of texts of similar length, tokenized, nothing measured, with
the number of tokens in a batch that is fastest. Same texts, one process, one thread, sides in turn; CPU seconds, of
which only the ratios mean anything. With `--workers` also wall seconds of that many workers and of one; these mean
something on a quiet machine only, and one with as many cores.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from many_texts import _similar

BATCH_TOKENS = (256, 512, 1024, 2048, 4096, 8192)


def main() -> None:
    """Run the sides in turn and print the least times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo:encoder")
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--words", type=int, nargs=2, default=(1, 1000), help="least and most words of a text")
    parser.add_argument("--metric", action="append", help="metric to measure; all by default")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--workers", type=int, help="also compare so many workers with one")
    options = parser.parse_args()
    import torch

    import attncli

    torch.set_num_threads(1)
    model = attncli.load(options.model, device="cpu")
    model.plan()
    plain = type(model.loaded.model).from_pretrained(
        model.loaded.model.config.name_or_path, attn_implementation="sdpa", dtype=torch.float32
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "made.txt")
        texts = _texts(options.texts, options.words, model.loaded.tokenizer)
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        sides: dict[str, Callable[[], object]] = {
            "corpus": lambda: _corpus(model, path, options.metric or ["all"]),
            **{f"model alone, {tokens} tokens": _alone(model, plain, path, tokens) for tokens in BATCH_TOKENS},
        }
        _compare(sides, options.texts, options.repeat)
        if options.workers:
            _compare_workers(options.model, path, options.workers, options.repeat)


def _compare(sides: dict[str, Callable[[], object]], texts: int, repeat: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeat):
        for name, side in sides.items():
            start = time.process_time()
            side()
            seconds[name].append(time.process_time() - start)
    least = {name: min(times) for name, times in seconds.items()}
    best = min(time for name, time in least.items() if name != "corpus")
    for name, time_of_side in least.items():
        rate, share = texts / time_of_side, best / time_of_side
        print(f"{name:<26} {time_of_side:8.2f} s   {rate:8.0f} texts/s   {share:5.2f} of the model alone")


def _compare_workers(model: str, path: Path, workers: int, repeat: int) -> None:
    seconds: dict[int, list[float]] = {1: [], workers: []}
    for _ in range(repeat):
        for number, times in seconds.items():
            out = path.parent / f"out-{number}"
            command = ["stats", "-m", model, "-f", path, "-o", out, "--no-pictures", "-q", "--no-resume"]
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "attncli", *map(str, command), "--workers", str(number)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            times.append(time.perf_counter() - start)
    one, several = (statistics.median(times) for times in seconds.values())
    print(
        f"1 worker {one:.1f} s, {workers} workers {several:.1f} s of wall time, with start: {one / several:.2f} times"
    )


def _texts(count: int, limits: Sequence[int], tokenizer: Any) -> list[str]:
    chance = random.Random(0)
    words = sorted(piece for piece in tokenizer.get_vocab() if piece.isalpha())
    lengths = [round(chance.lognormvariate(2.3, 0.5)) for _ in range(count)]
    return [" ".join(chance.choices(words, k=min(max(length, limits[0]), limits[1]))) for length in lengths]


def _corpus(model: Any, path: Path, metrics: list[str]) -> object:
    from attncli.corpus_options import CorpusOptions
    from attncli.engine.corpus import execute_corpus
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.engine.shards import ShardTask
    from attncli.inputs.corpus import Corpus
    from attncli.store import OutputFolder
    from attncli.studies.stats.options import StatsOptions
    from attncli.studies.stats.study import StatsStudy

    study = StatsStudy(StatsOptions(metric=metrics))
    request = replace(Request.of(study.run_options()), any_axes=True, max_tokens=model.loaded.max_positions)
    task = ShardTask(study, request, {"name": "benchmark", "device": "cpu"}, Corpus.of_files(path))
    execution = Execution(request, load=lambda: model)
    folder = OutputFolder(path.parent / "out", "stats", "0123456789ab")
    return execute_corpus(task, execution, folder, CorpusOptions(resume=False, workers=1), lambda note: None)


def _alone(model: Any, plain: Any, path: Path, batch_tokens: int) -> Callable[[], None]:
    import torch

    tokenizer = model.loaded.tokenizer

    def read() -> None:
        limits = {"truncation": True, "max_length": model.loaded.max_positions}
        ids = sorted(tokenizer(path.read_text(encoding="utf-8").splitlines(), **limits)["input_ids"], key=len)
        with torch.inference_mode():
            for batch in _similar(ids, batch_tokens):
                plain(**tokenizer.pad({"input_ids": batch}, return_tensors="pt"))

    return read


if __name__ == "__main__":
    main()
