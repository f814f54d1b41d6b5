"""Datasets of Hugging Face are read as a corpus: saved ones, folders of files, and streams; never their code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
import pytest

from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus

ROWS = [f"text {number}" for number in range(1200)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved dataset, one with two splits, and a folder of files."""
    folder = tmp_path_factory.mktemp("datasets")
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_dict({"text": ROWS, "id": list(range(len(ROWS)))})
    whole.save_to_disk(folder / "whole")
    parts = {"train": whole.select(range(5)), "test": whole.select(range(5, 8))}
    datasets.DatasetDict(parts).save_to_disk(folder / "splits")
    (folder / "files").mkdir()
    for name, start in (("train", 0), ("test", 3)):
        lines = [json.dumps({"sentence": text}) for text in ROWS[start : start + 3]]
        (folder / "files" / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def refusal(name: object, split: str | None = None, column: str | None = None, **more: bool) -> str:
    with pytest.raises(UsageError) as refused:
        Corpus.of_dataset(str(name), split, column, **more).survey()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_saved_dataset_is_read_from_any_row_on(saved: Path) -> None:
    corpus = Corpus.of_dataset(str(saved / "whole"))
    assert [record.text for record in corpus] == ROWS
    assert next(iter(corpus)).where == f"{saved}/whole, row 1"
    elsewhere = Corpus.from_arguments(json.loads(json.dumps(corpus.arguments())))
    read = [record.text for shard in corpus.shards(500)[::-1] for record in elsewhere.read(shard)]
    assert read == ROWS[1000:] + ROWS[500:1000] + ROWS[:500]


def test_the_digest_of_a_dataset_is_that_of_its_texts(saved: Path) -> None:
    first = Corpus.of_dataset(str(saved / "splits"), "train").survey()
    assert first.texts == 5
    assert Corpus.of_dataset(str(saved / "splits"), "test").survey().digest != first.digest
    lines = saved / "train.jsonl"
    lines.write_text("\n".join(json.dumps({"text": text}) for text in ROWS[:5]))
    other = datasets.load_dataset("json", data_files=str(lines), split="train", cache_dir=str(saved / "cache"))
    other.save_to_disk(saved / "again")
    assert Corpus.of_dataset(str(saved / "again")).survey(2).digest == first.digest


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_of_files_has_splits(
    saved: Path, streaming: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    corpus = Corpus.of_dataset(str(saved / "files"), "test", "sentence", streaming=streaming)
    assert [text.text for text in corpus.texts()] == ROWS[3:6]
    shards = corpus.shards(1)
    assert [corpus.read(shards[number])[0].text for number in (1, 2, 0)] == [ROWS[4], ROWS[5], ROWS[3]]
    assert refusal(saved / "files", streaming=streaming).endswith("has the splits train, test: choose one with --split")
    said = refusal(saved / "files", "train", "sentense", streaming=streaming)
    hint = "did you mean 'sentence'? (columns: sentence); choose one with --column"
    assert said == f"{saved}/files has no column 'sentense': {hint}"


def test_code_of_a_dataset_never_runs(tmp_path: Path) -> None:
    (tmp_path / "coded").mkdir()
    (tmp_path / "coded" / "coded.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    said = f"cannot read the dataset {tmp_path}/coded: Dataset scripts are no longer supported, but found coded.py"
    assert refusal(tmp_path / "coded") == refusal(tmp_path / "coded", "train") == said
    assert not (tmp_path / "ran").exists()


def test_cells_that_are_no_text_stop_or_are_skipped(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["one", None, " ", "two"]}).save_to_disk(tmp_path / "nulls")
    name = str(tmp_path / "nulls")
    error = f"{name}, row 2: expected a text in column 'text', got null"
    assert refusal(name) == error
    survey = Corpus.of_dataset(name, on_error="skip").survey()
    assert (survey.texts, survey.skipped, survey.errors) == (2, 1, (error,))


def test_what_cannot_be_read_is_said_in_one_line(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, splits = saved / "whole", saved / "splits"
    assert refusal(whole, "train") == f"{whole} is saved without splits: leave out --split train"
    assert refusal(splits) == f"{splits} has the splits train, test: choose one with --split"
    assert refusal(splits, "tset") == f"{splits} has no split 'tset': did you mean 'test'?"
    assert refusal(whole, column="id").endswith("row 1: expected a text in column 'id', got a number")
    assert refusal(saved / "gone").startswith(f"no such folder: {saved}/gone; expected a folder, or a dataset")
    assert refusal(whole / "state.json").endswith("state.json is a file: read it with --file")
    assert refusal("nobody/nothing", "train").startswith("cannot read the dataset nobody/nothing: ")
    monkeypatch.chdir(saved)
    assert refusal("wholle", "train").endswith("; did you mean 'whole'?")
    (whole / "data-00000-of-00001.arrow").rename(whole / "other.arrow")
    assert refusal(whole).startswith(f"cannot read the dataset {whole}: ")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refusal(whole) == '--dataset needs the package datasets: pip install "attncli[datasets]"'
