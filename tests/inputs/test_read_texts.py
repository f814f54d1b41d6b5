"""Texts are read unchanged; errors name the line, byte, row or column."""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from attncli.data import Text
from attncli.errors import UsageError
from attncli.inputs.texts import one_text_note, read_chat, read_texts, read_whole_text

VISIBLE = [text for text in HOSTILE if text.strip()]
PLAIN = st.text(st.characters(exclude_categories=["Cs"]))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(path: Path | str, column: str | None = None) -> list[str]:
    read = list(read_texts(path, column))
    assert all(text == Text(text.text) for text in read)
    return [text.text for text in read]


def refusal(path: Path | str, column: str | None = None) -> str:
    with pytest.raises(UsageError) as refused:
        list(read_texts(path, column))
    assert "\n" not in str(refused.value)
    return str(refused.value)


# ------------------------------------------------------------------------------------------------ plain files


@pytest.mark.parametrize("content", ["one\ntwo\n", "one\ntwo", "\n one\r\n \ntwo\r\n\r\n", "\ufeffone\ntwo"])
def test_a_plain_file_has_one_text_per_line(tmp_path: Path, content: str) -> None:
    assert [text.strip() for text in texts(write(tmp_path / "a.txt", content))] == ["one", "two"]


def test_lines_are_read_unchanged(tmp_path: Path) -> None:
    lines = [text for text in VISIBLE if "\n" not in text and text != "\ufeff"]
    assert texts(write(tmp_path / "a.txt", "\n".join(lines))) == lines


def test_a_huge_line_is_one_text(tmp_path: Path) -> None:
    assert [len(text) for text in texts(write(tmp_path / "a.txt", "x" * 3_000_000))] == [3_000_000]


@pytest.mark.parametrize("content", ["one\n\n two", "one\n\n two\n", "\ufeffone\n\n two\r\n\n"])
def test_a_whole_text_keeps_its_lines_but_not_the_ends_after_it(tmp_path: Path, content: str) -> None:
    assert read_whole_text(write(tmp_path / "text.txt", content)) == "one\n\n two"


@pytest.mark.parametrize("content", ["", "\n\r\n", " \n"])
def test_a_whole_text_without_a_word_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match=r"text\.txt contains no text: expected at least one word"):
        read_whole_text(write(tmp_path / "text.txt", content))
    with pytest.raises(UsageError, match=r"no such file: .*; did you mean 'text\.txt'"):
        read_whole_text(tmp_path / "texts.txt")


def test_many_short_lines_get_a_note_that_they_may_be_one_text() -> None:
    wrapped, few, long = [Text("word " * 15)] * 20, [Text("word")] * 19, [Text("word " * 21)] * 20
    note = "story.txt is read as 20 texts, one a line; --text-file reads it as one text"
    assert one_text_note("story.txt", wrapped) == note
    others = [("a.txt", few), ("a.txt", long), ("a.csv", wrapped), ("-", wrapped)]
    assert {one_text_note(path, texts) for path, texts in others} == {""}


def test_stdin_is_read_as_a_plain_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ein\nzwei é\n".encode())))
    assert texts("-") == ["ein", "zwei é"]
    assert refusal("-") == "stdin contains no text: expected at least one that is not blank"


def test_reading_is_a_stream(tmp_path: Path) -> None:
    reading = read_texts(write(tmp_path / "a.txt", b"good\n\xff\n"))
    assert next(reading) == Text("good")
    with pytest.raises(UsageError):
        next(reading)


@pytest.mark.parametrize("content", ["", "\n\n", " \t\r\n", "\ufeff"])
def test_a_file_without_text_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "a.txt", content)
    assert refusal(path) == f"{path} contains no text: expected at least one that is not blank"


@pytest.mark.parametrize(
    ("content", "what", "byte", "line"),
    [
        (b"abc\nd\xffe\n", "0xff", 5, 2),
        (b"\xef\xbb\xbfab\xff", "0xff", 5, 1),
        (b"ab\xc3", "0xc3", 2, 1),
        ("text".encode("utf-16"), "it looks like UTF-16", 0, 1),
        ("caf\u00e9\n".encode("latin-1"), "0xe9", 3, 1),
    ],
)
def test_bytes_that_are_not_utf8_are_named(tmp_path: Path, content: bytes, what: str, byte: int, line: int) -> None:
    path = write(tmp_path / "a.txt", content)
    assert refusal(path) == f"{path} is not UTF-8 ({what} at byte {byte}, line {line}): convert it to UTF-8"


def test_a_missing_file_is_refused_before_reading(tmp_path: Path) -> None:
    write(tmp_path / "texts.txt", "a")
    with pytest.raises(UsageError, match=r"^no such file: .*/text\.txt; did you mean 'texts\.txt'\?$"):
        read_texts(tmp_path / "text.txt")
    with pytest.raises(UsageError, match=r"^no such file: \S*$"):
        read_texts(tmp_path / "no" / "where")


def test_a_folder_is_refused_before_reading(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^expected a file, but {tmp_path} is a folder: name a file in it$"):
        read_texts(tmp_path)


def test_a_json_file_is_refused_rather_than_read_as_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", "[]")
    assert refusal(path).startswith(f"cannot tell what is a text in {path}: expected .jsonl, .csv, .tsv, .parquet")


def test_a_column_of_a_plain_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a")
    assert refusal(path, "text") == f"{path} has no columns: --column 'text' goes with .jsonl, .csv, .tsv, .parquet"


# ------------------------------------------------------------------------------------------------ tables


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as a table in the format of the suffix, with tools other than attncli."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            dialect = "excel-tab" if path.suffix == ".tsv" else "excel"
            writer = csv.DictWriter(file, list(rows[0]), dialect=dialect, quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    return path


TABLES = pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])


@TABLES
def test_a_table_has_one_text_per_row(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", [{"id": "1", "text": "one"}, {"id": "2", "text": "two"}])
    assert texts(path) == ["one", "two"]
    assert texts(path, "id") == ["1", "2"]


@TABLES
def test_hostile_cells_are_read_unchanged(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", [{"text": text, "more": "x"} for text in HOSTILE])
    assert texts(path) == VISIBLE


@TABLES
def test_a_huge_cell_is_one_text(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", [{"text": "x" * 1_000_000}])
    assert [len(text) for text in texts(path)] == [1_000_000]


@TABLES
def test_a_missing_column_offers_close_names(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", [{"id": "1", "sentence": "one"}])
    where = f"{path}, line 1" if suffix == ".jsonl" else str(path)
    hint = "did you mean 'sentence'? (columns: id, sentence); choose one with --column"
    assert refusal(path, "sentense") == f"{where} has no column 'sentense': {hint}"
    assert refusal(path) == f"{where} has no column 'text': known are: id, sentence; choose one with --column"


@TABLES
def test_a_table_of_blank_texts_is_refused(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", [{"text": " ", "more": "x"}])
    assert refusal(path) == f"{path} contains no text: expected at least one that is not blank"


@TABLES
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    assert str(tmp_path / f"a{suffix}") in refusal(write(tmp_path / f"a{suffix}", ""))


@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1))
def test_any_csv_that_python_writes_is_read_unchanged(rows: list[tuple[str, str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("text", "more"), *rows])
    expected = [text for text, _ in rows if text.strip()]
    assert read_bytes("a.csv", buffer.getvalue().encode()) == expected


@given(st.lists(PLAIN, min_size=1), st.booleans())
def test_any_json_lines_are_read_unchanged(rows: list[str], escaped: bool) -> None:
    lines = "".join(json.dumps({"text": text}, ensure_ascii=escaped) + "\r\n" for text in rows)
    assert read_bytes("a.jsonl", lines.encode()) == [text for text in rows if text.strip()]


@given(st.binary(), st.sampled_from(["a.txt", "a.jsonl", "a.csv", "a.parquet"]))
def test_any_bytes_are_read_or_refused(content: bytes, name: str) -> None:
    assert all(text.strip() for text in read_bytes(name, content))


def read_bytes(name: str, content: bytes) -> list[str]:
    """Return the texts of a file with this content; none if it is refused with a one-line error."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, name), content)
        try:
            return texts(path)
        except UsageError:
            refusal(path)
            return []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n\n{"text": ', ", line 3 is not JSON: Expecting value"),
        ('{"text": "a"}\n[1]\n', ", line 2: expected a JSON object with 'text', got a list"),
        ('"a"\n', ", line 1: expected a JSON object with 'text', got a text"),
        ('{"text": null}\n', ", line 1: expected a text in column 'text', got null"),
        ('{"text": 3}\n', ", line 1: expected a text in column 'text', got a number"),
        ('{"text": true}\n', ", line 1: expected a text in column 'text', got true or false"),
        ('{"text": []}\n', ", line 1: expected a text in column 'text', got an empty list"),
        ('{"text": {"a": 1}}\n', ", line 1: expected a text in column 'text', got an object"),
        ('{"text": "\\ud800"}\n', ", line 1: expected characters, got U+D800, half a surrogate pair: repair the text"),
        ("[" * 100_000, ", line 1 is not JSON: maximum recursion depth exceeded"),
        ("9" * 10_000, ", line 1 is not JSON: Exceeds the limit (4300 digits)"),
    ],
)
def test_broken_json_lines_are_named_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", content)
    assert refusal(path).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text\n"open\nend', ", line 3 is broken CSV: unexpected end of data"),
        ('text\n"a"b\n', ", line 2 is broken CSV: ',' expected after '\"'"),
        ("text,more\na,b\nc\n", ", line 3 is broken CSV: expected 2 cells as in the header, got 1"),
        ("text,more\na,b,c\n", ", line 2 is broken CSV: expected 2 cells as in the header, got 3"),
        ("text,text\na,b\n", " has 2 columns named 'text': rename all but one"),
        ("text\na\rb\n", ", line 2 is broken CSV: new-line character seen in unquoted field"),
    ],
)
def test_broken_csv_is_named_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "a.csv", content)
    assert refusal(path).startswith(f"{path}{message}")


def test_reading_csv_does_not_change_the_field_size_limit(tmp_path: Path) -> None:
    limit, long = csv.field_size_limit(), "a" * 200_000
    path = write(tmp_path / "a.csv", f"text\n{long}\n{long}\nb\n")
    first, second = (read_texts(path) for _ in range(2))
    assert next(first).text == next(second).text == long
    assert csv.field_size_limit() == limit
    assert [text.text for text in first] == [long, "b"]
    assert [text.text for text in second] == [long, "b"]
    assert csv.field_size_limit() == limit


def test_threads_read_long_csv_texts_at_the_same_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\n" + f"{'a' * 140_000}\n" * 20)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: len(list(read_texts(path))), range(8))) == [20] * 8


@pytest.mark.parametrize(
    ("column", "got"), [(pa.array([1, 2]), "a number"), (pa.array(["a", None]), "null"), (pa.array([["a"]]), "a list")]
)
def test_errors_name_the_row_of_parquet_cells_without_text(tmp_path: Path, column: Any, got: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": column}), path)
    row = 2 if got == "null" else 1
    assert refusal(path) == f"{path}, row {row}: expected a text in column 'text', got {got}"


def test_parquet_columns_of_any_kind_of_text_are_read(tmp_path: Path) -> None:
    for number, kind in enumerate((pa.large_string(), pa.dictionary(pa.int32(), pa.string()))):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"text": pa.array(["a", "b", "a"]).cast(kind)}), path)
        assert texts(path) == ["a", "b", "a"]


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", b"PAR1 and then nothing")
    assert refusal(path).startswith(f"cannot read {path} as Parquet: ")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(write(tmp_path / "a.parquet", "")) == 'Parquet needs pyarrow: pip install "attncli[parquet]"'


# ------------------------------------------------------------------------------------------------ chats

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi </s>\u2028"}]


@pytest.mark.parametrize("document", [TURNS, {"messages": TURNS, "model": "x"}])
def test_a_chat_is_read_turn_by_turn(tmp_path: Path, document: Any) -> None:
    text = read_chat(write(tmp_path / "a.json", "\ufeff" + json.dumps(document, ensure_ascii=False)))
    assert text == Text("Be brief.\nHi </s>\u2028", messages=tuple(TURNS))


def test_a_chat_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(TURNS).encode())))
    assert read_chat("-").messages == tuple(TURNS)


SHAPE = 'expected a list of {"role": …, "content": …}, got'
BROKEN_CHATS = [
    ('[{"role": "user",]', " is not JSON (line 1, column 18): Expecting property name"),
    ("[" * 100_000, " is not JSON that can be read: maximum recursion depth exceeded"),
    ("[]", f": {SHAPE} an empty list"),
    ("{}", f": {SHAPE} null"),
    ('"hi"', f": {SHAPE} a text"),
    ('{"messages": 3}', f": {SHAPE} a number"),
    ('["hi"]', ', message 1: expected {"role": …, "content": …}, got a text'),
    ('[{"role": "user", "text": "x"}]', ", message 1 has no 'content': known are: role, text"),
    ('[{"rolle": "user", "content": "x"}]', ", message 1 has no 'role': did you mean 'rolle'?"),
    ('[{"role": "user", "content": ["x"]}]', ", message 1: expected a text as 'content', got a list"),
    ('[{"role": "user", "content": "\\udfff"}]', ", message 1: expected characters, got U+DFFF"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN_CHATS)
def test_a_broken_chat_is_named_by_message(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "a.json", content)
    with pytest.raises(UsageError) as refused:
        read_chat(path)
    assert str(refused.value).startswith(f"{path}{message}")


def test_a_chat_that_is_not_utf8_is_named_by_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", b'[\n"\xff"]')
    with pytest.raises(UsageError, match=r"is not UTF-8 \(0xff at byte 3, line 2\)"):
        read_chat(path)
