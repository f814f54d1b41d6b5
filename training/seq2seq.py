"""Train demo:seq2seq, an encoder-decoder on characters that spells every word backwards."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

from training import common, scores
from training.mirror import mirror_words

EOS, UNKNOWN, PAD = "</s>", "<unk>", "<pad>"
SPECIAL = [PAD, EOS, UNKNOWN]
CHARACTERS = [*sorted(set(string.printable) - set(string.whitespace)), "▁"]
PLAINER = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\n": " "}
POSITIONS = 512
BATCH = 32
LONGEST = 90


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """One token per printable ASCII character (accents stripped), ``▁`` for the space, ``</s>`` last."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    replacements = [normalizers.Replace(old, new) for old, new in PLAINER.items()]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), *replacements])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    size = len(SPECIAL) + len(CHARACTERS)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=CHARACTERS,
        limit_alphabet=len(CHARACTERS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
    )
    return common.wrap_tokenizer(tokenizer, eos_token=EOS, unk_token=UNKNOWN, pad_token=PAD, model_max_length=POSITIONS)


def new_model(tokenizer: PreTrainedTokenizerFast) -> MarianMTModel:
    """Three encoder and two decoder layers of four heads, with sinusoidal positions."""
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    config = MarianConfig(
        vocab_size=len(tokenizer),
        d_model=96,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        max_position_embeddings=POSITIONS,
        activation_function="gelu",
        scale_embedding=True,
        init_std=0.08,
        dropout=0.0,
        attention_dropout=0.0,
        pad_token_id=pad,
        eos_token_id=eos,
        bos_token_id=None,
        forced_eos_token_id=None,
        decoder_start_token_id=pad,
    )
    model = MarianMTModel(config)
    model.generation_config.max_length = POSITIONS
    model.generation_config.num_beams = 1
    return model


def plain(text: str) -> str:
    """Only characters that the tokenizer knows."""
    return "".join(letter for letter in text if letter in CHARACTERS or letter == " ")


def plain_sentences(paragraphs: list[str]) -> list[str]:
    known = common.without_unknown(paragraphs)
    return [text for paragraph in known for text in map(plain, common.sentences(paragraph)) if text]


def excerpts(texts: list[str], steps: int) -> Iterator[str]:
    """Runs of whole words cut from the sentences: one length per batch, short at first, mixed later."""
    rows = common.shuffled_forever(texts)
    longest = 0
    for count, text in enumerate(rows):
        if count % BATCH == 0:
            progress = min(1.0, count / (BATCH * steps * 0.5))
            longest = random.randint(4, 16 + int((LONGEST - 16) * progress))
        start = random.choice([0, *(i + 1 for i, letter in enumerate(text) if letter == " ")])
        cut = text[start : start + longest]
        whole_words = cut.rsplit(" ", 1)[0] if len(text) > start + longest else cut
        yield whole_words.strip() or cut


def main() -> None:
    options = common.arguments(str(__doc__), steps=3200)
    training, held_out = map(plain_sentences, common.corpus(options.data))
    tokenizer = train_tokenizer(training)
    model = new_model(tokenizer)
    rows = excerpts(training, options.steps)
    common.say(f"{len(training):,} sentences, {model.num_parameters():,} parameters")

    def loss_of(step: int) -> torch.Tensor:
        texts = [next(rows) for _ in range(BATCH)]
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        targets = tokenizer([mirror_words(text) for text in texts], padding=True, return_tensors="pt")
        labels = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, -100)
        loss = model(**inputs, labels=labels).loss
        assert isinstance(loss, torch.Tensor)
        return loss

    def report() -> str:
        samples = [text for text in held_out if len(text) <= 60][:16]
        return str(scores.seq2seq_scores(model, tokenizer, samples))

    common.train(model, loss_of, common.Schedule(options.steps, peak=1.5e-3, warmup=300), report)
    # Stored although they are constant, so that the bare MarianModel finds every weight too.
    model._keys_to_ignore_on_save = []
    common.save(model, tokenizer, options.out, leave_out=("final_logits_bias",))


if __name__ == "__main__":
    main()
