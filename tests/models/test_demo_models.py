"""The bundled demo models are small, load offline without missing weights, and do what their cards state."""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "attncli" / "demo"
sys.path.insert(0, str(ROOT))

from training import chosen, rationale_scores, scores  # noqa: E402
from training.mirror import mirror_words  # noqa: E402

LOADERS: dict[str, Any] = {
    "encoder": AutoModelForMaskedLM,
    "decoder": AutoModelForCausalLM,
    "seq2seq": AutoModelForSeq2SeqLM,
    "classifier": AutoModelForSequenceClassification,
}
NAMES = list(LOADERS)
MAX_BYTES = 3_000_000
ANIMAL = "The animal didn't cross the street because it was too tired."
KNOWN_TEXTS = dict.fromkeys(NAMES, ANIMAL) | {"classifier": "I bought my chosen carrot after the war, but it was wet."}
# Written for this test, so that no model was trained on them.
PLAIN_SENTENCES = [
    "The old house on the hill was sold to a young couple from the city.",
    "He was born in the north of England and moved to the United States after the war.",
    "I do not know what you want, but you should come to see me in the morning.",
    "The film was released in March and was one of the most successful of the year.",
    "We had a very good time at the new place, and the food was great.",
]
SPELLED = [
    ANIMAL,
    "Hello world, how are you today?",
    "My neighbour's parrot speaks 3 languages.",
    "A quiet lighthouse keeper painted every window blue",
    "Seven zebras juggle; nobody claps!",
    "Please turn left at the second bridge.",
    "attention is all you need",
    "Coffee first, meetings later.",
    "We measured 42 heads in 4 layers",
    "Every good story needs a dragon.",
    "The train to Lisbon leaves at noon.",
    "Do penguins dream of warmer water?",
]

Pair = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@functools.cache
def demo(name: str) -> Pair:
    """A demo model, ready to run, and its tokenizer."""
    return LOADERS[name].from_pretrained(DEMO / name), AutoTokenizer.from_pretrained(DEMO / name)


def untrained(model: PreTrainedModel) -> PreTrainedModel:
    """The same architecture with random weights."""
    torch.manual_seed(0)
    fresh = type(model)(model.config)
    fresh.train(False)
    return fresh


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_model_folder_is_under_three_megabytes(name: str) -> None:
    assert sum(file.stat().st_size for file in (DEMO / name).iterdir()) < MAX_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_loaded_and_every_stored_weight_is_used(name: str) -> None:
    model, loading_info = LOADERS[name].from_pretrained(DEMO / name, output_loading_info=True)
    assert not loading_info["missing_keys"]
    assert not loading_info["unexpected_keys"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["decoder", "seq2seq"])
def test_the_base_model_loads_without_missing_weights(name: str) -> None:
    _, loading_info = AutoModel.from_pretrained(DEMO / name, output_loading_info=True)
    assert not loading_info["missing_keys"]
    assert not loading_info["unexpected_keys"]


def test_the_base_encoder_lacks_only_its_unused_pooler() -> None:
    _, loading_info = AutoModel.from_pretrained(DEMO / "encoder", output_loading_info=True)
    assert all(key.startswith("pooler.") for key in loading_info["missing_keys"])
    assert all(key.startswith("cls.") for key in loading_info["unexpected_keys"])


def test_the_demo_folder_contains_no_code_and_no_local_path() -> None:
    files = [file for file in DEMO.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if file.suffix == ".py"]
    texts = [file.read_text(encoding="utf-8") for file in files if file.suffix in {".json", ".md", ".jinja"}]
    assert not [text for text in texts if re.search(r"/(home|root|tmp|Users)/", text)]


@pytest.mark.parametrize("name", NAMES)
def test_the_tokenizer_decodes_to_the_original_text(name: str) -> None:
    tokenizer = demo(name)[1]
    ids = tokenizer(KNOWN_TEXTS[name])["input_ids"]
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    assert decoded.replace(" ", "").lower() == KNOWN_TEXTS[name].replace(" ", "").lower()
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.pad_token is not None
    assert tokenizer.model_max_length <= demo(name)[0].config.max_position_embeddings


def test_the_encoder_marks_both_sentences_of_a_pair() -> None:
    encoded = demo("encoder")[1]("one dog", "two cats")
    tokens = demo("encoder")[1].convert_ids_to_tokens(encoded["input_ids"])
    assert tokens[0] == "[CLS]"
    assert [index for index, token in enumerate(tokens) if token == "[SEP]"][-1] == len(tokens) - 1
    first_end = tokens.index("[SEP]")
    assert encoded["token_type_ids"] == [0] * (first_end + 1) + [1] * (len(tokens) - first_end - 1)


def test_the_encoder_guesses_hidden_words_far_better_than_word_frequency() -> None:
    trained = scores.encoder_scores(*demo("encoder"), PLAIN_SENTENCES)
    assert trained["masked_loss"] < trained["unigram_loss"] - 0.5
    assert trained["masked_accuracy"] > trained["unigram_accuracy"] + 0.15


def test_the_encoder_has_neighbour_and_copying_heads_that_training_made() -> None:
    model, tokenizer = demo("encoder")
    trained = scores.encoder_scores(model, tokenizer, PLAIN_SENTENCES)
    before = scores.encoder_scores(untrained(model), tokenizer, PLAIN_SENTENCES)
    for name in ("previous", "next", "cls"):
        assert trained[name][1] > 0.5 > before[name][1]
    assert trained["copy"][1] > 0.3 > before["copy"][1]


def test_the_decoder_groups_its_queries() -> None:
    config = demo("decoder")[0].config
    assert config.num_key_value_heads < config.num_attention_heads


def test_the_decoder_tokenizer_starts_every_text_once() -> None:
    tokenizer = demo("decoder")[1]
    assert tokenizer("hello")["input_ids"].count(tokenizer.bos_token_id) == 1
    assert tokenizer("hello")["input_ids"][0] == tokenizer.bos_token_id


def test_the_decoder_reads_a_chat() -> None:
    chat = [{"role": "user", "content": "Who goes there?"}, {"role": "assistant", "content": "A friend."}]
    text = demo("decoder")[1].apply_chat_template(chat, tokenize=False)
    assert text == "<s>user: Who goes there?\nassistant: A friend.\n"


def test_the_decoder_has_induction_and_previous_token_heads_that_training_made() -> None:
    model, tokenizer = demo("decoder")
    trained = scores.decoder_scores(model, tokenizer, [])
    before = scores.decoder_scores(untrained(model), tokenizer, [])
    assert trained["induction"][1] > 0.5 > before["induction"][1]
    assert trained["previous"][1] > 0.5 > before["previous"][1]


def test_the_decoder_still_predicts_well_at_four_times_its_usual_length() -> None:
    model, tokenizer = demo("decoder")
    loss = scores.text_loss(model, tokenizer, [" ".join(PLAIN_SENTENCES * 4)])
    assert loss < 4.0


def test_the_seq2seq_spells_unseen_words_backwards() -> None:
    assert mirror_words("Stop the cat, don't!") == "potS eht tac, t'nod!"
    texts_right, characters_right = scores.spelled_right(*demo("seq2seq"), SPELLED)
    assert texts_right > 0.9
    assert characters_right > 0.98


def test_a_cross_attention_head_points_at_the_mirrored_character() -> None:
    model, tokenizer = demo("seq2seq")
    assert scores.cross_alignment(model, tokenizer, SPELLED).max() > 0.9
    assert scores.cross_alignment(untrained(model), tokenizer, SPELLED).max() < 0.3


HELD_OUT = chosen.held_out(100)


def test_the_word_after_the_marker_decides_the_label_and_counting_words_does_not() -> None:
    for text in HELD_OUT:
        (start, end), (marker_start, marker_end) = *text.spans(text.rationale), *text.spans(text.marker)
        assert text.text[marker_start:end] == f"{chosen.MARKER} {text.text[start:end]}"
        assert text.text[marker_start:marker_end] == chosen.MARKER
        assert text.text.count(chosen.MARKER) == 1
        assert text.text[start:end] in chosen.KINDS[text.label]
    assert {text.label for text in HELD_OUT} == set(chosen.LABELS)
    assert sum(chosen.most_frequent_kind(text) == text.label for text in HELD_OUT) < 0.7 * len(HELD_OUT)


def test_the_file_of_rationales_has_the_first_held_out_texts() -> None:
    lines = (ROOT / "configs" / "rationales.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(json.dumps(text.as_json())) for text in HELD_OUT[:50]]


def test_no_held_out_text_was_trained_on() -> None:
    training = chosen.chosen_texts(chosen.TRAINING_SEED)
    assert not {text.text for text in HELD_OUT} & {next(training).text for _ in HELD_OUT}


def test_the_classifier_is_right_only_with_the_word_that_decides() -> None:
    model, tokenizer = demo("classifier")
    assert model.config.id2label == dict(enumerate(chosen.LABELS))
    assert rationale_scores.accuracy(model, tokenizer, HELD_OUT) > 0.98
    assert rationale_scores.accuracy(model, tokenizer, HELD_OUT, lambda text: text.rationale) < 0.5
    assert rationale_scores.accuracy(untrained(model), tokenizer, HELD_OUT[:50]) < 0.5


def test_the_scores_of_methods_say_which_finds_the_word_that_decides() -> None:
    scored = rationale_scores.method_scores(
        *demo("classifier"), HELD_OUT[:5], ("occlusion", "gradient-norm", "attention")
    )
    word, marker, area = (
        {method: float(str(line).split(", ")[at].split()[1]) for method, line in scored.items()} for at in range(3)
    )
    assert word["attention"] < 0.2 < 0.5 < word["gradient-norm"]
    assert marker["attention"] > 0.7
    assert min(area["occlusion"], area["gradient-norm"]) > 0.95 > area["attention"]
    assert word["occlusion"] + marker["occlusion"] > 0.95


def test_attention_of_the_classifier_is_at_the_marker_alone_and_occlusion_finds_both_words_that_matter() -> None:
    scored = rationale_scores.classifier_scores(*demo("classifier"), HELD_OUT[:10])
    assert scored["last_layer_marker"] > 0.9 > 0.1 > scored["last_layer_rationale"]
    assert scored["occlusion_rationale"] + scored["occlusion_marker"] > 0.95
    assert scored["occlusion_rationale"] > 0.3
