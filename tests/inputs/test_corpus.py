"""A corpus is read in one order, in shards that any process can read, and says where its records stand."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import zstandard
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from attncli.data import Text
from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.parquet_rows import ParquetRows
from attncli.inputs.texts import read_texts

ROWS = [f"text {number}, é" + ("\nin two lines" if number % 7 == 0 else "") for number in range(600)]
PARTS = {
    "a.jsonl": slice(0, 100),
    "b.csv": slice(100, 200),
    "c.jsonl.gz": slice(200, 300),
    "d.tsv.zst": slice(300, 400),
    "sub/e.parquet": slice(400, 600),
}


def compressed(name: str, data: bytes) -> bytes:
    """Return bytes compressed as the suffix of a name says, .zst in two frames."""
    if name.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    if name.endswith(".zst"):
        half = len(data) // 2
        return b"".join(zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:]))
    return data


def save(path: Path, rows: list[str]) -> None:
    """Write texts with pandas, in the format of the suffix."""
    frame = pd.DataFrame({"id": range(len(rows)), "text": rows})
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".parquet" in path.name:
        frame.to_parquet(path, row_group_size=30)
        return
    if ".jsonl" in path.name:
        content = frame.to_json(orient="records", lines=True, force_ascii=False)
    else:
        content = frame.to_csv(index=False, sep="\t" if ".tsv" in path.name else ",")
    path.write_bytes(compressed(path.name, content.encode()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each format, and a file that is none."""
    made = tmp_path_factory.mktemp("corpora") / "corpus"
    for name, part in PARTS.items():
        save(made / name, ROWS[part])
    (made / "README.md").write_text("no text")
    return made


def texts(corpus: Corpus) -> list[str]:
    return [record.text for record in corpus]


def refusal(path: Path | str, column: str | None = None, on_error: str = "stop") -> str:
    with pytest.raises(UsageError) as refused:
        Corpus.of_files(path, column, on_error).survey()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(compressed(path.name, data))
    return path


# ------------------------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize("pattern", ["", "/**/*", "/**"])
def test_all_formats_are_read_in_the_order_of_their_names(folder: Path, pattern: str) -> None:
    corpus = Corpus.of_files(f"{folder}{pattern}")
    assert [file.name for file in corpus.files] == list(PARTS)
    assert texts(corpus) == ROWS == [text.text for text in corpus.texts()]
    assert corpus.notes == ("ignored README.md: expected .txt, .jsonl, .csv, .tsv, .parquet, and .gz or .zst of them",)


def test_each_file_is_read_as_it_is_read_alone(folder: Path) -> None:
    for name, part in PARTS.items():
        path = folder / name
        assert list(read_texts(path)) == [Text(text) for text in ROWS[part]] == Corpus.of_files(path).texts()
        if ".csv" in name or ".tsv" in name:
            assert texts(Corpus.of_files(path, "id")) == [str(number) for number in range(100)]


def test_records_say_where_they_stand(folder: Path) -> None:
    records = list(Corpus.of_files(folder))
    assert records[99].where == f"{folder}/a.jsonl, line 100"
    lines_before = 1 + sum(text.count("\n") + 1 for text in ROWS[100:150])
    assert (records[150].text, records[150].where) == (ROWS[150], f"{folder}/b.csv, line {lines_before + 1}")
    assert records[477].where == f"{folder}/sub/e.parquet, row 78"


@pytest.mark.parametrize("size", [1, 64, 512, 1000])
def test_shards_hold_all_texts_in_any_order_and_process(folder: Path, size: int) -> None:
    corpus = Corpus.of_files(folder)
    shards = list(corpus.shards(size))
    assert [shard.texts for shard in shards[:-1]] == [size] * (len(shards) - 1)
    assert [(shard.index, shard.first) for shard in shards] == [(n, n * size) for n in range(-(-len(ROWS) // size))]
    elsewhere = Corpus.from_arguments(json.loads(json.dumps(corpus.arguments())))
    random.Random(size).shuffle(shards)
    for shard in shards[:40]:
        expected = ROWS[shard.first : shard.first + shard.texts]
        assert [record.text for record in elsewhere.read(shard)] == expected
        framed = b"".join(len(text.encode()).to_bytes(8, "little") + text.encode() for text in expected)
        assert shard.digest == hashlib.sha256(framed).hexdigest()


@given(st.lists(st.sampled_from(HOSTILE), min_size=1), st.integers(1, 5), st.sampled_from([".jsonl", ".csv"]))
def test_any_texts_come_back_from_shards(folder: Path, rows: list[str], size: int, suffix: str) -> None:
    path, frame = folder.with_name(f"any{suffix}"), pd.DataFrame({"text": rows})
    if suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, quoting=csv.QUOTE_ALL, lineterminator="\n")
    expected = [row for row in rows if row.strip()]
    if not expected:
        assert refusal(path).endswith("contains no text: expected at least one that is not blank")
        return
    corpus = Corpus.of_files(path)
    assert [record.text for shard in corpus.shards(size)[::-1] for record in corpus.read(shard)[::-1]] == expected[::-1]


def test_a_shard_is_read_without_what_comes_before(tmp_path: Path) -> None:
    for name in ("a.txt", "b.csv", "c.jsonl"):
        path = tmp_path / name
        save(path, ROWS[:90]) if name != "a.txt" else write(path, "\n".join(f"line {n}" for n in range(90)))
        corpus = Corpus.of_files(path)
        last = corpus.shards(40)[-1]
        before = [record.text for record in corpus.read(last)]
        data = bytearray(path.read_bytes())
        data[20 : last.start.offset] = b"\xff" * (last.start.offset - 20)
        path.write_bytes(data)
        assert [record.text for record in corpus.read(last)] == before
        with pytest.raises(UsageError, match=r"is not UTF-8|is broken CSV"):
            corpus.read(corpus.shards(40)[0])


def test_parquet_is_not_read_again_for_the_next_shard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = ParquetRows._rows_from
    monkeypatch.setattr(ParquetRows, "_rows_from", lambda self, start: begun.append(start) or begin(self, start))
    corpus = Corpus.of_files(folder / "sub" / "e.parquet")
    shards = corpus.shards(7)
    assert [record.text for shard in shards for record in corpus.read(shard)] == ROWS[400:]
    assert len(begun) < 10  # once for each row group at most, not once for each of 29 shards
    begun.clear()
    corpus.read(shards[20])
    assert begun == [120]  # the row group with row 140


def test_shards_can_be_read_while_the_corpus_is_iterated(folder: Path) -> None:
    for name, part in PARTS.items():
        corpus = Corpus.of_files(folder / name)
        shards, read = corpus.shards(30), []
        for number, record in enumerate(corpus):
            read.append(record.text)
            if number % 40 == 0:
                assert [record.text for record in corpus.read(shards[2])] == ROWS[part][60:90]
        assert read == ROWS[part]


def test_a_corpus_that_changes_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\nsix\n")
    corpus = Corpus.of_files(path)
    first, second = corpus.shards(2)
    path.write_text("one\ntwo\nten\n")
    assert [record.text for record in corpus.read(first)] == ["one", "two"]
    with pytest.raises(UsageError, match=rf"^{path} has changed since the run began \(from {path}, line 3 on\)"):
        corpus.read(second)
    path.write_text("one\n")
    with pytest.raises(UsageError, match="has changed since the run began: start the run again"):
        corpus.read(second)


def test_the_digest_is_that_of_names_and_contents(folder: Path, tmp_path: Path) -> None:
    digest = Corpus.of_files(folder).survey().digest
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert Corpus.of_files(copy).survey(64).digest == Corpus.of_files(f"{copy}/**/*").survey().digest == digest
    assert Corpus.of_files(copy / "b.csv", "id").survey().digest != Corpus.of_files(copy / "b.csv").survey().digest
    (copy / "a.jsonl").rename(copy / "a2.jsonl")
    renamed = Corpus.of_files(copy).survey().digest
    with (copy / "a2.jsonl").open("a") as file:
        file.write("\n")
    assert len({digest, renamed, Corpus.of_files(copy).survey().digest}) == 3


def test_files_that_were_read_are_counted(folder: Path) -> None:
    done: list[float] = []
    corpus = Corpus.of_files(folder)
    corpus.survey(advance=done.append)
    assert (sum(done), corpus.sources) == (5, 5)


# ------------------------------------------------------------------------------------------------ wrong records

BAD: list[tuple[str, str | bytes, list[str], list[str]]] = [
    (
        "a.jsonl",
        '{"text": "one"}\n{"text": \n\n{"text": "two"}\n',
        ["one", "two"],
        [", line 2 is not JSON: Expecting value"],
    ),
    (
        "a.jsonl",
        '{"text": null}\n[1]\n{"id": 1}\n{"text": "one"}\n{"text": 3}\n',
        ["one"],
        [
            ", line 1: expected a text in column 'text', got null",
            ", line 2: expected a JSON object with 'text', got a list",
            ", line 3 has no column 'text': known are: id; choose one with --column",
            ", line 5: expected a text",
        ],
    ),
    (
        "a.jsonl",
        '{"text": "\\ud800"}\n{"text": " "}\n{"text": "one"}\n',
        ["one"],
        [", line 1: expected characters, got U+D800"],
    ),
    ("a.txt", b"one\nd\xff\n \ntwo", ["one", "two"], [" is not UTF-8 (0xff at byte 5, line 2)"]),
    ("a.txt.gz", b"one\nd\xff\ntwo", ["one", "two"], [" is not UTF-8 (0xff at byte 5, line 2)"]),
    (
        "a.csv.zst",
        "text,more\none,1\nx\ntwo,2\n",
        ["one", "two"],
        [", line 3 is broken CSV: expected 2 cells as in the header, got 1"],
    ),
    ("a.csv", b'text,more\none,1\n"d\xff\n",2\ntwo,2\n', ["one", "two"], [" is not UTF-8 (0xff at byte 18, line 3)"]),
]


@pytest.mark.parametrize(("name", "content", "good", "errors"), BAD)
def test_wrong_records_stop_or_are_skipped(
    tmp_path: Path, name: str, content: str | bytes, good: list[str], errors: list[str]
) -> None:
    path = write(tmp_path / name, content)
    assert refusal(path).startswith(f"{path}{errors[0]}")
    corpus = Corpus.of_files(path, on_error="skip")
    survey = corpus.survey(1)
    assert texts(corpus) == good == [record.text for shard in survey.shards for record in corpus.read(shard)]
    assert (survey.texts, survey.skipped, len(survey.errors)) == (len(good), len(errors), min(len(errors), 3))
    assert all(error.startswith(f"{path}{start}") for error, start in zip(survey.errors, errors, strict=False))
    (note,) = survey.notes
    assert note.startswith(f"left out {len(errors)} record{'s' if len(errors) > 1 else ''}: {path}{errors[0]}")
    assert note.endswith("; and 1 more") == (len(errors) > 3)


def test_wrong_parquet_cells_are_skipped_one_by_one(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = pa.array([b"one", b"\xff", b"two", None]).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    corpus = Corpus.of_files(tmp_path / "a.parquet", on_error="skip")
    assert texts(corpus) == ["one", "two"]
    path = tmp_path / "a.parquet"
    assert corpus.survey().errors == (
        f"{path}, row 2 is not UTF-8 (invalid start byte): repair the text",
        f"{path}, row 4: expected a text in column 'text', got null",
    )
    assert refusal(path) == corpus.survey().errors[0]


@pytest.mark.parametrize("name", ["b.csv", "b.parquet"])
def test_a_column_that_one_file_lacks_stops_or_leaves_the_file_out(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.jsonl", '{"text": "one"}\n')
    frame = pd.DataFrame({"sentence": ["x", "y"]})
    frame.to_csv(tmp_path / name, index=False) if name == "b.csv" else frame.to_parquet(tmp_path / name)
    write(tmp_path / "c.jsonl", '{"text": "two"}\n')
    missing = f"{tmp_path / name} has no column 'text': known are: sentence; choose one with --column"
    assert refusal(tmp_path) == missing
    corpus = Corpus.of_files(tmp_path, on_error="skip")
    assert (texts(corpus), corpus.survey().errors, corpus.survey().skipped) == (["one", "two"], (missing,), 1)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize(
    "name", ["a.jsonl.gz", "a.tsv.zst", "a.parquet", "cut.zst", "text.gz", "text.zst", "quote.csv"]
)
def test_damaged_files_are_never_skipped(folder: Path, tmp_path: Path, name: str, on_error: str) -> None:
    path = tmp_path / name
    whole = {"a.jsonl.gz": "c.jsonl.gz", "a.tsv.zst": "d.tsv.zst", "a.parquet": "sub/e.parquet"}.get(name)
    data = (folder / whole).read_bytes()[:-20] if whole else b"no such data"
    path.write_bytes({"cut.zst": b"", "quote.csv": b'text\none\n"two\nsix\n'}.get(name, data))
    said = refusal(path, on_error=on_error)
    expected = {
        "a.jsonl.gz": f"{path} is cut off, its .gz data has no end: copy or compress it again",
        "a.tsv.zst": f"{path} is cut off, its .zst data has no end: copy or compress it again",
        "cut.zst": f"{path} is cut off, its .zst data has no end: copy or compress it again",
        "a.parquet": f"cannot read {path} as Parquet: ",
        "text.gz": f"{path} is damaged or not .gz data (Not a gzipped file",
        "text.zst": f"{path} is damaged or not .zst data (",
        "quote.csv": f"{path}, line 4 is broken CSV: unexpected end of data",
    }[name]
    assert said.startswith(expected)


def test_reading_is_a_stream(folder: Path, tmp_path: Path) -> None:
    for name, whole in (("a.jsonl.gz", "c.jsonl.gz"), ("a.tsv.zst", "d.tsv.zst")):
        (tmp_path / name).write_bytes((folder / whole).read_bytes()[:-20])
        assert next(iter(Corpus.of_files(tmp_path / name))).text == ROWS[PARTS[whole]][0]


def test_zst_without_its_package_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    path = folder / "d.tsv.zst"
    assert refusal(path) == f'{path} needs zstandard: pip install "attncli[zst]"'


def test_zst_is_read_by_python_itself_where_it_can(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = SimpleNamespace(ZstdDecompressor=zstandard.ZstdDecompressor().decompressobj, ZstdError=zstandard.ZstdError)
    monkeypatch.setitem(sys.modules, "compression.zstd", own)  # from Python 3.14 on
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert texts(Corpus.of_files(folder / "d.tsv.zst")) == ROWS[300:400]


# ------------------------------------------------------------------------------------------------ which files


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with some files, hidden ones, folders and links."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "corpus/b.txt",
        "corpus/a.jsonl",
        "corpus/x/c.txt",
        "corpus/.hidden/d.txt",
        "corpus/.e.txt",
        "notes.md",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text('{"text": "x"}\n')
    Path("corpus/loop").symlink_to(Path("corpus").resolve(), target_is_directory=True)
    Path("corpus/linked.txt").symlink_to(Path("notes.md").resolve())
    return tmp_path


@pytest.mark.parametrize(
    ("path", "found", "ignored"),
    [
        ("corpus", ["a.jsonl", "b.txt", "linked.txt", "x/c.txt"], "loop/"),
        ("corpus/*.txt", ["b.txt", "linked.txt"], ""),
        ("corpus/**/*.txt", ["b.txt", "linked.txt", "x/c.txt"], ""),
        ("c*/x/?.txt", ["corpus/x/c.txt"], ""),
        ("corpus/*", ["a.jsonl", "b.txt", "linked.txt"], "loop/, x/"),
        ("*.md", ["notes.md"], ""),
        ("corpus/.e*", [".e.txt"], ""),
        ("notes.md", ["notes.md"], ""),
    ],
)
def test_files_are_found_in_one_order(names: Path, path: str, found: list[str], ignored: str) -> None:
    corpus = Corpus.of_files(path)
    assert [file.name for file in corpus.files] == found
    assert [note.partition(":")[0] for note in corpus.notes] == ([f"ignored {ignored}"] if ignored else [])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("corpus/*.jsnl", "no file matches corpus/*.jsnl: did you mean 'a.jsonl'?"),
        ("corpus/*.csv", "no file matches corpus/*.csv: known are: a.jsonl, b.txt, linked.txt"),
        ("corpsu/*.txt", "no file matches corpsu/*.txt: there is no folder corpsu; did you mean 'corpus'?"),
        ("corpus/**x", "corpus/**x is no pattern: ** stands for folders, so it is a part of its own"),
        (
            "~nobody-of-that-name/*.txt",
            "no file matches ~nobody-of-that-name/*.txt: the user whose home folder it names is unknown",
        ),
        ("nots*.md", "no file matches nots*.md: did you mean 'notes.md'?"),
        ("corpus/x/*/*.txt", "no file matches corpus/x/*/*.txt: did you mean 'c.txt'?"),
        ("corpus[x]", "no such file: corpus[x]; did you mean 'corpus'?"),
        ("corpis", "no such file: corpis; did you mean 'corpus'?"),
        ("empty", "empty has no file with texts: expected .txt, .jsonl, .csv, .tsv, .parquet, and .gz or .zst of them"),
        ("empty/*", "no file matches empty/*: empty has no files"),
        ("a.parquet.gz", "cannot read a.parquet.gz: Parquet is compressed inside; decompress the file"),
        ("\0*", "cannot read \0*: no path contains such a character; give another path"),
    ],
)
def test_what_is_not_found_is_said_with_close_names(names: Path, path: str, message: str) -> None:
    Path("empty").mkdir()
    Path("a.parquet.gz").touch()
    assert refusal(path) == message


def test_names_with_any_characters_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "cor[p]us*"
    folder.mkdir()
    for number, name in enumerate(["a[1].txt", "b\nc.txt", "é $\\foo$.txt", "\u202e.txt", os.fsdecode(b"\xff.txt")]):
        (folder / name).write_text(f"text {number}\n")
    corpus = Corpus.of_files(folder)
    assert sorted(texts(corpus)) == [f"text {number}" for number in range(5)]
    assert texts(Corpus.of_files(folder / "a[1].txt")) == ["text 0"]
    assert len(corpus.survey().digest) == 64
    (folder / "x\ny.md").touch()
    assert Corpus.of_files(folder).notes[0].startswith("ignored x y.md: expected .txt")
    elsewhere = Corpus.from_arguments(json.loads(json.dumps(corpus.arguments())))
    assert [record.text for record in elsewhere.read(corpus.shards()[0])] == texts(corpus)


def test_links_that_lead_nowhere_and_columns_of_plain_files_are_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"text": "x"}\n')
    (tmp_path / "b.txt").symlink_to("gone.txt")
    with pytest.raises(UsageError, match=rf"^no such file: {tmp_path}/b\.txt"):
        Corpus.of_files(tmp_path)
    (tmp_path / "b.txt").unlink()
    write(tmp_path / "b.txt", "x")
    with pytest.raises(UsageError, match=r"b\.txt has no columns: --column 'text' goes with"):
        Corpus.of_files(tmp_path, "text")


def test_a_corpus_without_texts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", " \n")
    write(tmp_path / "b.jsonl", '{"id": 1}\n')
    empty = f"{tmp_path} contains no text: expected at least one that is not blank; left out 1 record: "
    assert refusal(tmp_path, on_error="skip").startswith(f"{empty}{tmp_path}/b.jsonl, line 1 has no column 'text'")
    with pytest.raises(UsageError, match="unknown --on-error 'ignore': expected stop or skip"):
        Corpus.of_files(tmp_path, on_error="ignore")
