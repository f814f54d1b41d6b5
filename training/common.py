"""Shared by the training scripts: corpus, tokenizer wrapping, optimizer loop and saving."""

from __future__ import annotations

import argparse
import math
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast

Scores = dict[str, Any]
UNKNOWN_WORD = "<unk>"
HELD_OUT_EVERY = 20
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[\"'(A-Z0-9])")
_DETOKENIZE = [
    (re.compile(r" @([-,.])@ "), r"\1"),
    (re.compile(r" ([,.;:!?%)\]])"), r"\1"),
    (re.compile(r"([(\[$£]) "), r"\1"),
    (re.compile(r" (['\u2019](?:s|t|re|ve|ll|d|m)\b)"), r"\1"),
    (re.compile(r"\b(\w+) (n['\u2019]t)\b"), r"\1\2"),
    (re.compile(r'" ([^"]*?) "'), r'"\1"'),
    (re.compile(r" {2,}"), " "),
]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: linear warm-up, then a cosine down to a tenth of the peak."""

    steps: int
    peak: float
    warmup: int = 200
    weight_decay: float = 0.01

    def learning_rate(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def arguments(purpose: str, steps: int, corpora: bool = True, watch: bool = False) -> argparse.Namespace:
    """Parse the options that all training scripts share, seed everything, and return them.

    corpora  whether the script reads texts, so needs to know their folder
    watch    whether the script can show attention while it trains
    """
    parser = argparse.ArgumentParser(description=purpose)
    if corpora:
        parser.add_argument("--data", type=Path, required=True, help="folder of text corpora")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=steps, help="optimizer steps (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    if watch:
        parser.add_argument("--short", action="store_true", help="16 rows of 64 tokens in all steps: quick, to watch")
        parser.add_argument(
            "--watch", type=Path, metavar="DIR", help="show heads while training: tensorboard --logdir DIR"
        )
        parser.add_argument(
            "--watch-every", type=int, default=20, help="steps between two points (default %(default)s)"
        )
    options = parser.parse_args()
    seed_everything(options.seed)
    torch.set_num_threads(options.threads)
    return options


def say(text: str) -> None:
    """Print a line at once, so that a log can be followed."""
    print(text, flush=True)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)


def detokenize(line: str) -> str:
    """Undo the spacing of WikiText: ``a 1 @.@ 5 kg ( 3 lb ) fish .`` becomes ``a 1.5 kg (3 lb) fish.``"""
    for pattern, replacement in _DETOKENIZE:
        line = pattern.sub(replacement, line)
    return line.strip()


def sentences(paragraph: str) -> list[str]:
    """Split on sentence ends that are followed by a capital, a digit or a quote; blanks become one space."""
    flat = " ".join(paragraph.split())
    return [piece for piece in _SENTENCE_END.split(flat) if piece]


def wikitext(data: Path) -> list[str]:
    """Paragraphs of the validation and test parts, headings left out, unknown words kept as ``<unk>``."""
    lines = [
        line
        for name in ("valid.txt", "test.txt")
        for line in (data / "wikitext-2" / name).read_text(encoding="utf-8").splitlines()
    ]
    return [detokenize(line) for line in lines if len(line) > 40 and not line.startswith(" =")]


def web_text(data: Path) -> list[str]:
    """Documents of the English Web Treebank's dev part; the test part is kept for measuring."""
    documents: list[list[str]] = []
    path = data / "ud-english-ewt" / "en_ewt-ud-dev.conllu"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# newdoc"):
            documents.append([])
        elif line.startswith("# text = "):
            documents[-1].append(line.removeprefix("# text = "))
    return [" ".join(document) for document in documents]


def shakespeare(data: Path) -> list[str]:
    """Speeches, each with the speaker's name on its first line."""
    return (data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8").strip().split("\n\n")


def without_unknown(paragraphs: list[str]) -> list[str]:
    """The paragraphs less their sentences that hold an unknown word."""
    kept = [
        " ".join(sentence for sentence in sentences(text) if UNKNOWN_WORD not in sentence)
        if UNKNOWN_WORD in text
        else text
        for text in paragraphs
    ]
    return [text for text in kept if text]


def corpus(data: Path) -> tuple[list[str], list[str]]:
    """Training and held-out paragraphs of all three sources: one paragraph in twenty is held out."""
    paragraphs = wikitext(data) + web_text(data) + shakespeare(data)
    held_out = paragraphs[::HELD_OUT_EVERY]
    training = [text for index, text in enumerate(paragraphs) if index % HELD_OUT_EVERY]
    return training, held_out


def wrap_tokenizer(tokenizer: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    """The transformers tokenizer around a trained one; options name its special tokens and its length."""
    options = {"model_input_names": ["input_ids", "attention_mask"], **options}
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **options
    )
    assert isinstance(wrapped, PreTrainedTokenizerFast)
    return wrapped


def optimizer_for(model: PreTrainedModel, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def train(
    model: PreTrainedModel,
    loss_of: Callable[[int], torch.Tensor],
    schedule: Schedule,
    report: Callable[[], str] = str,
    report_every: int = 500,
    watch: Callable[[int], object] = int,
) -> None:
    """Minimise ``loss_of(step)``; print the running loss and ``report()`` every ``report_every`` steps.

    ``watch`` is called with the number of finished steps, first with 0.
    """
    optimizer = optimizer_for(model, schedule.weight_decay)
    started, running = time.monotonic(), 0.0
    model.train(True)
    watch(0)
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step)
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        watch(step + 1)
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % report_every == 0:
            model.train(False)
            with torch.no_grad():
                line = report()
            model.train(True)
            say(f"step {step + 1} loss {running:.3f} {time.monotonic() - started:.0f}s {line}")
    model.train(False)


@contextmanager
def eager(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the model returns its attention weights; afterwards it computes them as before."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def head_name(layer: int, head: int) -> str:
    return f"{layer}.{head}"


def best_head(values: torch.Tensor) -> tuple[str, float]:
    """Name and value of the highest of (layer, head)."""
    flat = int(values.argmax())
    layer, head = divmod(flat, values.shape[1])
    return head_name(layer, head), round(float(values[layer, head]), 4)


def windows(stream: torch.Tensor, length: int, count: int) -> torch.Tensor:
    """``count`` random windows of ``length`` tokens from a token stream: axes (window, token)."""
    starts = torch.randint(0, stream.numel() - length, (count,))
    return torch.stack([stream[start : start + length] for start in starts.tolist()])


def shuffled_forever(items: list[Any]) -> Iterator[Any]:
    """All items in a new random order, again and again."""
    while True:
        yield from random.sample(items, len(items))


def save(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, out: Path, leave_out: tuple[str, ...] = ()
) -> None:
    """Write model and tokenizer; ``leave_out`` names weights that are constant and need no storing."""
    state = {name: value for name, value in model.state_dict().items() if name not in leave_out}
    model.save_pretrained(out, state_dict=state)
    tokenizer.save_pretrained(out)
    weights = out / "model.safetensors"
    weights.chmod(0o644)
    size = weights.stat().st_size
    say(f"Wrote {out}: {size:,} bytes of weights, {model.num_parameters():,} parameters")
