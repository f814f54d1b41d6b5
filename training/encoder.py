"""Train demo:encoder, a BERT-like masked language model on sentences, pairs and repetitions."""

from __future__ import annotations

import random
from itertools import accumulate, chain

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from training import common, scores

PAD, UNKNOWN, CLS, SEP, MASK = SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = 2048
POSITIONS = 512
TOKENS_PER_STEP = 2048
SHORT = 24
LENGTHS, LENGTH_WEIGHTS = (48, 128, POSITIONS), (6, 3, 1)
MASKED_SHARE = 0.15


def marked_unknown(texts: list[str]) -> list[str]:
    """WikiText's unknown words as the tokenizer's unknown token."""
    return [text.replace(common.UNKNOWN_WORD, UNKNOWN) for text in texts]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Lower-cased WordPiece with BERT's special tokens and segment ids."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, limit_alphabet=100, show_progress=False
    )
    tokenizer.train_from_iterator((text.replace(UNKNOWN, " ") for text in texts), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS}:0 $A:0 {SEP}:0",
        pair=f"{CLS}:0 $A:0 {SEP}:0 $B:1 {SEP}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)],
    )
    return common.wrap_tokenizer(
        tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> BertForMaskedLM:
    """Four layers of four heads on 96 dimensions."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=352,
        max_position_embeddings=POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertForMaskedLM(config)
    model.bert.embeddings.position_embeddings.weight.data = sinusoids(POSITIONS, 96) * config.initializer_range
    return model


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Where the position table starts: neighbours are alike, so that neighbour heads form early."""
    frequencies = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(positions)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1) * 2**0.5


class Batches:
    """Rows ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]`` where B follows A, is a stranger or repeats A."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> None:
        split = [rows for rows in map(common.sentences, texts) if rows]
        flat = [sentence for rows in split for sentence in rows]
        ids = iter(tokenizer(flat, add_special_tokens=False, verbose=False)["input_ids"])
        self.documents = [[next(ids) for _ in rows] for rows in split]
        self.weights = list(accumulate(len(rows) for rows in split))
        self.cls, self.sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.mask = tokenizer.mask_token_id
        self.vocabulary = len(tokenizer)

    def passage(self, room: int) -> tuple[list[int], list[int]]:
        """Consecutive sentences that fill about ``room`` tokens, and the sentences that come after them."""
        parts: list[list[int]] = []
        while sum(map(len, parts)) < 2 * room:
            document = random.choices(self.documents, cum_weights=self.weights)[0]
            parts += document[random.randrange(len(document)) :]
        cut = 1
        while cut < len(parts) and sum(map(len, parts[: cut + 1])) <= room:
            cut += 1
        return list(chain(*parts[:cut]))[:room], list(chain(*parts[cut:]))[:room]

    def row(self, length: int) -> tuple[list[int], list[int]]:
        """Token ids and segment ids of one row."""
        kind = random.choices(("single", "next", "stranger", "again"), (35, 25, 15, 25))[0]
        if kind == "single":
            first, _ = self.passage(length - 2)
            return [self.cls, *first, self.sep], [0] * (len(first) + 2)
        first, following = self.passage((length - 3) // 2)
        second = {"next": following, "again": first, "stranger": self.passage((length - 3) // 2)[0]}[kind]
        ids = [self.cls, *first, self.sep, *second, self.sep]
        return ids, [0] * (len(first) + 2) + [1] * (len(second) + 1)

    def batch(self, short: bool) -> dict[str, torch.Tensor]:
        """Padded ids, segments, attention mask and labels (-100 where nothing is asked)."""
        length = SHORT if short else random.choices(LENGTHS, LENGTH_WEIGHTS)[0]
        rows = [self.row(length) for _ in range(TOKENS_PER_STEP // length)]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in rows])
        segments = torch.tensor([row + [0] * (width - len(row)) for _, row in rows])
        inputs, labels = self.masked(ids)
        present = (ids != 0).long()
        return {"input_ids": inputs, "token_type_ids": segments, "attention_mask": present, "labels": labels}

    def masked(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """BERT's masking: of the chosen tokens 80 % are hidden, 10 % replaced, 10 % left as they are."""
        chosen = (torch.rand(ids.shape) < MASKED_SHARE) & (ids >= len(SPECIAL))
        labels = ids.masked_fill(~chosen, -100)
        draw = torch.rand(ids.shape)
        inputs = ids.masked_fill(chosen & (draw < 0.8), self.mask)
        swapped = chosen & (draw >= 0.9)
        random_ids = torch.randint(len(SPECIAL), self.vocabulary, ids.shape)
        return torch.where(swapped, random_ids, inputs), labels


def masked_loss(model: BertForMaskedLM, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy at the asked positions; the vocabulary head runs on those alone."""
    labels = batch.pop("labels")
    hidden = model.bert(**batch).last_hidden_state
    asked = labels != -100
    return torch.nn.functional.cross_entropy(model.cls(hidden[asked]), labels[asked])


def main() -> None:
    options = common.arguments(str(__doc__), steps=6000)
    training, held_out = map(marked_unknown, common.corpus(options.data))
    tokenizer = train_tokenizer(training)
    model = new_model(tokenizer)
    batches = Batches(tokenizer, training)
    common.say(f"{len(training):,} paragraphs, {model.num_parameters():,} parameters")

    def report() -> str:
        return str(scores.encoder_scores(model, tokenizer, held_out[::10]))

    def loss_of(step: int) -> torch.Tensor:
        return masked_loss(model, batches.batch(short=step < options.steps * 3 // 10))

    common.train(model, loss_of, common.Schedule(options.steps, peak=1.5e-3, warmup=300), report)
    common.save(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
