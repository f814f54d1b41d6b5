"""Tokens of tokenizers of all sorts: which are special, which belong to one word, and their text as written."""

from __future__ import annotations

import families
import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers import models as vocabularies
from transformers import PreTrainedTokenizerFast

import attncli
from attncli import models
from attncli.data import Text, Tokens
from attncli.data.surfaces import token_texts
from attncli.data.words import merged_words
from attncli.inputs.encode import encode
from attncli.inputs.repeated_inputs import _outer_tokens
from attncli.inputs.token_reader import TokenReader

END = "<|endoftext|>"
ROLES = ("bos", "eos", "pad")


def byte_level(*roles: str, suffix: str | None = None) -> PreTrainedTokenizerFast:
    """Return a tokenizer like that of GPT-2, or with a suffix CLIP, whose unknown token has further roles too."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [END, *alphabet, *([char + suffix for char in alphabet] if suffix else [])]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    more = {"end_of_word_suffix": suffix} if suffix else {}
    tokenizer = Tokenizer(vocabularies.BPE(numbers, [], unk_token=END, **more))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{END} $A {END}", special_tokens=[(END, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=END, **{f"{role}_token": END for role in roles}
    )


def words_with_unknown_end() -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words whose unknown token ends texts too, as that of OPT."""
    tokenizer = Tokenizer(vocabularies.WordLevel({"</s>": 0, "cat": 1, "a": 2}, "</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="</s>", bos_token="</s>", pad_token="</s>")


def sentence_pieces() -> PreTrainedTokenizerFast:
    """Return a tokenizer like those of SentencePiece, which does not split at white space other than the space."""
    pieces = [("<unk>", 0.0), ("▁", -3.0), ("▁one", -1.0), ("two", -1.0), ("▁two", -2.0), ("three", -1.0), ("\n", -4.0)]
    pieces += [(char, -5.0) for char in "abcdefghijklmnopqrstuvwxyz'.東京\t"]
    tokenizer = Tokenizer(vocabularies.Unigram(pieces, 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def read(tokenizer: PreTrainedTokenizerFast, text: str) -> Tokens:
    """Return the tokens of a text."""
    output = tokenizer([text])
    return TokenReader(tokenizer).tokens(output["input_ids"][0], output.encodings[0], text)


def _words_of(tokens: Tokens) -> tuple[list[str], list[int]]:
    merged = merged_words(tokens)
    return list(merged.pieces), merged.words.tolist()


# ------------------------------------------------------------------------------------------ special tokens


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("suffix", [None, "</w>"])
def test_a_special_token_is_special_though_unknown_words_get_it_too(role: str, suffix: str | None) -> None:
    tokens = read(byte_level(role, suffix=suffix), "a cat")
    assert tokens.special.tolist() == [True, *[False] * 5, True]
    assert tokens.words.tolist()[0] == tokens.words.tolist()[-1] == -1


def test_the_special_mass_and_dropping_find_such_tokens() -> None:
    family = families.FAMILIES["gpt2"]
    loaded = models.wrap_model(families.build(family), byte_level("eos"))
    loaded.model.resize_token_embeddings(257)
    model = attncli.Model(loaded)
    run = model.run("a cat")
    weights = run.attention("decoder").stack()
    found = run.stats("special_mass").heads["special_mass"].values
    np.testing.assert_allclose(found, weights[..., [0, 6]].sum(-1).mean(-1).ravel(), atol=1e-6)
    dropped = model.run("a cat", special="drop")
    assert dropped.inputs[0].source.pieces == ("a", "Ġ", "c", "a", "t")


def test_an_unknown_word_is_not_special_though_its_token_is() -> None:
    tokens = read(words_with_unknown_end(), "a dog </s>")
    assert tokens.pieces == ("</s>", "a", "</s>", "</s>")
    assert tokens.special.tolist() == [True, False, False, True]
    assert token_texts(tokens) == ["</s>", "a", "dog", "</s>"]


def test_an_unknown_token_without_another_role_is_not_special() -> None:
    tokens = read(sentence_pieces(), "one ы")
    assert tokens.pieces[-1] == "<unk>"
    assert not tokens.special.any()


def test_probes_of_random_tokens_keep_such_tokens_at_both_ends() -> None:
    assert _outer_tokens(byte_level("eos")) == ((0,), (0,))


# ------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize("space", ["\n", "\t", "\u00a0", "\u3000", "\u202f", "\u2028", "\u0085", "\r\n", " "])
@pytest.mark.parametrize("make", [sentence_pieces, lambda: byte_level("eos")])
def test_words_break_at_every_white_space(make: object, space: str) -> None:
    tokens = read(make(), f"one{space}two")  # type: ignore[operator]
    assert [word for word, number in zip(*_words_of(tokens), strict=True) if number >= 0] == ["one", "two"]


@pytest.mark.parametrize("text", ["I didn't go.", "It didn\u2019t (or did).", 'x = "U.S.A"; y_1 += 3.14'])
def test_words_are_the_same_for_all_tokenizers_and_in_targets(text: str) -> None:
    expected = {
        "I didn't go.": ["I", "didn't", "go", "."],
        "It didn\u2019t (or did).": ["It", "didn\u2019t", "(", "or", "did", ")", "."],
        'x = "U.S.A"; y_1 += 3.14': ["x", "=", '"', "U.S.A", '"', ";", "y_1", "+", "=", "3.14"],
    }[text]
    seq2seq = models.load("demo:seq2seq", device="cpu")
    (batch,) = encode(seq2seq, [Text("a", target=text)])
    assert batch.inputs[0].target is not None
    # no end token: the decoder reads its target shifted by one
    assert [*merged_words(batch.inputs[0].target).pieces][1:] == expected
    for tokenizer in (byte_level("eos"), byte_level("eos", suffix="</w>"), models.load("demo:encoder").tokenizer):
        assert [word for word in merged_words(read(tokenizer, text)).pieces if word.strip()][1:-1] == expected


def test_the_mark_of_a_word_belongs_to_the_word() -> None:
    tokens = read(sentence_pieces(), "xy x")
    assert tokens.pieces == ("▁", "x", "y", "▁", "x")
    assert tokens.words.tolist() == [0, 0, 0, 1, 1]


def test_words_of_which_a_token_has_a_part_are_one() -> None:
    from attncli.data.words import number_words

    spans = np.array([[0, 1], [1, 4], [4, 5], [5, 6], [6, 9], [9, 10], [10, 11]])
    assert number_words("ab!cd (x) y", spans, np.zeros(7, bool)).tolist() == [0, 0, 0, -1, 1, -1, 2]


def test_generated_tokens_have_words_by_the_same_rule() -> None:
    reader = TokenReader(byte_level("eos"))
    ids = byte_level("eos")("it didn't go.\nщит")["input_ids"]
    assert [*merged_words(reader.tokens(ids)).pieces] == [END, "it", "didn't", "go", ".", "\n", "щит", END]


# ------------------------------------------------------------------------------------------ text as written


def test_tokens_are_the_text_as_written() -> None:
    assert token_texts(read(byte_level("eos"), "Я"))[1:-1] == ["⟨D0⟩", "⟨AF⟩"]
    encoder = models.load("demo:encoder").tokenizer
    assert token_texts(read(encoder, "The animaL"))[:5] == ["[CLS]", "The", "an", "im", "aL"]
    reader = TokenReader(byte_level("eos", suffix="</w>"))
    assert token_texts(reader.tokens([reader._tokenizer.convert_tokens_to_ids("t</w>")])) == ["t"]


@pytest.mark.parametrize("name", ["ByT5Tokenizer", "PerceiverTokenizer"])
def test_tokenizers_of_bytes_give_words(name: str) -> None:
    tokenizer = getattr(transformers, name)()
    ids = tokenizer("naïve мир", add_special_tokens=False)["input_ids"]
    assert merged_words(TokenReader(tokenizer).tokens(ids)).pieces == ("naïve", " ", "мир")


def test_tokenizers_of_characters_give_words() -> None:
    class Canine:  # that of Transformers takes seconds to make
        vocab_size, all_special_ids = 0x110000, ()

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [*map(chr, ids)]

    found = TokenReader(Canine()).tokens([*map(ord, "naïve мир")])  # type: ignore[arg-type]
    assert merged_words(found).pieces == ("naïve", " ", "мир")
