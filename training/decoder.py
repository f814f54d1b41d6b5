"""Train demo:decoder, a causal language model with rotary positions, grouped queries and induction heads."""

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training import common, scores
from training.watch import Watch

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
SPECIAL = [PAD, BOS, EOS]
VOCABULARY = 1024
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts ``<s>`` before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    wrapped = common.wrap_tokenizer(
        tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, model_max_length=2048, padding_side="left"
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Three layers of eight query heads that share two key-value heads."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        initializer_range=0.04,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def token_stream(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """All texts in one row: each one's tokens, ``<s>`` first and ``</s>`` last."""
    rows = tokenizer(texts)["input_ids"]
    return torch.tensor([token for row in rows for token in [*row, tokenizer.eos_token_id]])


def repeated_row(length: int, bos: int, vocabulary: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``<s> r r q q …`` of random tokens, and labels that ask only for the second copies."""
    tokens, labels = [torch.tensor([bos])], [torch.tensor([-100])]
    while sum(part.numel() for part in tokens) < length:
        size = random.randint(5, longest)
        copy = torch.randint(len(SPECIAL), vocabulary, (size,))
        tokens += [copy, copy]
        labels += [torch.full((size,), -100), copy]
    return torch.cat(tokens)[:length], torch.cat(labels)[:length]


class Batches:
    """Half text windows, half repeated random tokens; rows are short at first and long at last, or always short."""

    def __init__(self, stream: torch.Tensor, bos: int, vocabulary: int, steps: int, short: bool = False) -> None:
        self.stream, self.bos, self.vocabulary = stream, bos, vocabulary
        self.steps, self.short = steps, short

    def shape(self, step: int) -> tuple[int, int]:
        """Rows and their length: a quarter of the steps at 64 tokens, the last sixth at 512."""
        if self.short:
            return 16, 64
        if step < self.steps // 4:
            return 32, 64
        return (16, 128) if step < self.steps * 5 // 6 else (4, 512)

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows, length = self.shape(step)
        text = common.windows(self.stream, length, rows // 2)
        text[:, 0] = self.bos
        longest = length // 2 - 4
        repeats = [repeated_row(length, self.bos, self.vocabulary, longest) for _ in range(rows // 2)]
        inputs = torch.cat([text, torch.stack([tokens for tokens, _ in repeats])])
        labels = torch.cat([text, torch.stack([wanted for _, wanted in repeats])])
        return inputs, labels


def balanced_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Next-token loss: the mean of the text half's and of the repeated half's."""
    halves = [
        torch.nn.functional.cross_entropy(part[:, :-1].flatten(0, 1), wanted[:, 1:].flatten())
        for part, wanted in zip(logits.chunk(2), labels.chunk(2), strict=True)
    ]
    return torch.stack(halves).mean()


def main() -> None:
    options = common.arguments(str(__doc__), steps=6000, watch=True)
    training, held_out = map(common.without_unknown, common.corpus(options.data))
    tokenizer = train_tokenizer(training)
    model = new_model(tokenizer)
    stream = token_stream(tokenizer, training)
    batches = Batches(stream, int(tokenizer.bos_token_id), len(tokenizer), options.steps, options.short)
    common.say(f"{stream.numel():,} tokens, {model.num_parameters():,} parameters")

    def loss_of(step: int) -> torch.Tensor:
        inputs, labels = batches(step)
        logits = model(input_ids=inputs, use_cache=False).logits
        return balanced_loss(logits, labels)

    def report() -> str:
        return str(scores.decoder_scores(model, tokenizer, held_out[:40]))

    watch = None
    if options.watch is not None:
        watch = Watch(options.watch, options.watch_every, model, tokenizer, held_out[:8])
    common.train(model, loss_of, common.Schedule(options.steps, peak=2e-3), report, watch=watch or int)
    if watch is not None:
        common.say(f"Wrote {watch.draw()}")
    common.save(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
