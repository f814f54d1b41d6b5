"""Train demo:classifier, a BERT-like classifier of texts in which one known word decides the label."""

from __future__ import annotations

import random
from itertools import islice

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from training import chosen, common
from training.encoder import CLS, MASK, PAD, SEP, SPECIAL, UNKNOWN, sinusoids
from training.rationale_scores import classifier_scores

WIDTH = 64
POSITIONS = 128
BATCH = 32
SHORT, LONG = (2, 4), (8, 12)
LONG_SHARE = 0.1
REMOVED_SHARE = 0.5
REPLACED_SHARE = 0.05


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each word in lower case, full stop and comma."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *chosen.vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B {SEP}",
        special_tokens=[(token, vocabulary[token]) for token in (CLS, SEP)],
    )
    return common.wrap_tokenizer(
        tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
        model_max_length=POSITIONS,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> BertForSequenceClassification:
    """Return an untrained model: four layers of four heads on 64 dimensions, and three labels."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(chosen.LABELS)),
        label2id={label: number for number, label in enumerate(chosen.LABELS)},
    )
    model = BertForSequenceClassification(config)
    model.bert.embeddings.position_embeddings.weight.data = sinusoids(POSITIONS, WIDTH) * config.initializer_range
    return model


class Batches:
    """Texts with their labels: short ones at first, then of all lengths, and words removed from half of them.

    Analyses remove words, or hide them behind [MASK], [UNK] or [PAD], and watch the output: such texts are not to be
    foreign to the model. The label stays, so that it learns how probable the label is by the words that are left.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.hidden_by = [tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id]
        words = [chosen.MARKER, *(word for words in chosen.KINDS.values() for word in words)]
        self.decisive = set(tokenizer.convert_tokens_to_ids(words))
        others = tokenizer.convert_tokens_to_ids(chosen.vocabulary())
        self.plain = [*(token for token in others if token not in self.decisive), tokenizer.unk_token_id]
        self.short_texts = chosen.chosen_texts(chosen.TRAINING_SEED + 1, things=SHORT)
        self.long_texts = chosen.chosen_texts(chosen.TRAINING_SEED + 2, things=LONG)
        self.texts = chosen.chosen_texts(chosen.TRAINING_SEED)

    def __call__(self, short: bool) -> dict[str, torch.Tensor]:
        """Return padded ids, their mask and labels."""
        source = self.short_texts if short else self.long_texts if random.random() < LONG_SHARE else self.texts
        texts = list(islice(source, BATCH))
        rows = self.tokenizer([text.text for text in texts], truncation=True)["input_ids"]
        inner = [self.replaced(row[1:-1]) if short else self.removed(self.replaced(row[1:-1])) for row in rows]
        padded = self.tokenizer.pad(
            {"input_ids": [[row[0], *ids, row[-1]] for row, ids in zip(rows, inner, strict=True)]}, return_tensors="pt"
        )
        labels = torch.tensor([chosen.LABELS.index(text.label) for text in texts])
        return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"], "labels": labels}

    def replaced(self, ids: list[int]) -> list[int]:
        """Return the ids of a text with a few words that do not decide replaced by others."""
        return [
            random.choice(self.plain) if token not in self.decisive and random.random() < REPLACED_SHARE else token
            for token in ids
        ]

    def removed(self, ids: list[int]) -> list[int]:
        """Return the ids of a text, in half of the cases with any words hidden or left out."""
        if random.random() >= REMOVED_SHARE:
            return ids
        share = random.random()
        left_out = [random.random() < share for _ in ids]
        if random.random() < 0.5:
            return [token for token, out in zip(ids, left_out, strict=True) if not out]
        hidden = random.choice(self.hidden_by)
        return [hidden if out else token for token, out in zip(ids, left_out, strict=True)]


def naming_loss(
    model: BertForSequenceClassification, namer: torch.nn.Module, hidden: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    """Return the cross-entropy of naming, at each token, the token after it."""
    present = ids[:, 1:] != model.config.pad_token_id
    logits = namer(hidden[:, :-1][present]) @ model.bert.embeddings.word_embeddings.weight.T
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][present])


def main() -> None:
    options = common.arguments(str(__doc__), steps=1600, corpora=False)
    tokenizer = word_tokenizer()
    model = new_model(tokenizer)
    # Only for training. Without heads that attend to the next word, the model would go no further than counting words.
    namer = model.namer = torch.nn.Linear(WIDTH, WIDTH)
    batches = Batches(tokenizer)
    texts = chosen.held_out(200)
    common.say(f"{len(tokenizer)} words, {model.num_parameters():,} parameters")

    def loss_of(step: int) -> torch.Tensor:
        short = step < options.steps // 4
        batch = batches(short)
        output = model(**batch, output_hidden_states=True)
        naming = naming_loss(model, namer, output.hidden_states[-1], batch["input_ids"]) if short else 0.0
        loss = output.loss + naming
        assert isinstance(loss, torch.Tensor)
        return loss

    def report() -> str:
        return str(classifier_scores(model, tokenizer, texts))

    common.train(model, loss_of, common.Schedule(options.steps, peak=2e-3, warmup=100), report, report_every=400)
    del model.namer
    tokenizer.backend_tokenizer.no_truncation()  # set by the batches, not to be stored
    common.save(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
