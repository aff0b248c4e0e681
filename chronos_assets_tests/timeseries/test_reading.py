"""Files as they come: kinds of file, records with their lines, delimiters and headers."""

import gzip
import io
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chronos_assets.timeseries.dataset.csv_layout import CsvLayout, TrainSchema, csv_layout
from chronos_assets.timeseries.dataset.csv_records import (
    MAX_RECORD_BYTES,
    FileProblem,
    Flaw,
    is_parquet,
    plain_csv,
    scan_records,
)

SCHEMA = TrainSchema(("timestamp", "target_value", "item_id"), "item_id", (), "timestamp", "target_value")
GOOD = b"2024-01-01 00:00:00,1.5,a\n"


def records(data, delimiter=","):
    return list(scan_records(io.BytesIO(data), delimiter))


def fields(data, delimiter=","):
    return [record.fields for record in records(data, delimiter)]


class TestRecords:
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    def test_any_line_end_closes_a_record(self, end):
        found = records(b"a,b" + end + b"c,d" + end)
        assert [(record.line, record.fields) for record in found] == [(1, [b"a", b"b"]), (2, [b"c", b"d"])]

    def test_line_ends_may_be_mixed_and_the_last_may_be_missing(self):
        assert [record.line for record in records(b"a\r\nb\nc\rd")] == [1, 2, 3, 4]

    def test_a_byte_order_mark_is_no_part_of_the_data(self):
        assert fields(b"\xef\xbb\xbfa,b\n") == [[b"a", b"b"]]

    def test_empty_lines_are_skipped_but_counted(self):
        assert [record.line for record in records(b"\n\na\n  \n\nb\n")] == [3, 6]

    def test_quotes_protect_delimiters_line_ends_and_doubled_quotes(self):
        assert fields(b'"a,b","c""d","e\r\nf"\n') == [[b"a,b", b'c"d', b"e\r\nf"]]

    def test_spaces_around_quotes_do_not_count(self):
        assert fields(b'x,  "a" ,  b\n') == [[b"x", b"a", b"  b"]]

    def test_a_quote_inside_a_plain_field_is_a_character(self):
        assert fields(b'5" pipe,1\n') == [[b'5" pipe', b"1"]]

    def test_line_ends_inside_quotes_count_as_lines(self):
        found = records(b'a\n"b\n\nc",d\ne\n')
        assert [record.line for record in found] == [1, 2, 5]

    def test_a_quote_that_never_closes_costs_its_line_only(self):
        found = records(b'a,b\n"c,d\ne,f\ng,h\n')
        assert [(record.line, record.flaw) for record in found] == [(1, None), (2, Flaw.QUOTE), (3, None), (4, None)]
        assert found[1].raw == b'"c,d'

    def test_text_after_a_closing_quote_is_a_flaw(self):
        found = records(b'"a"b,c\nd,e\n')
        assert [(record.line, record.flaw) for record in found] == [(1, Flaw.QUOTE), (2, None)]

    def test_an_endless_line_is_a_flaw_and_does_not_stay_in_memory(self):
        found = records(b"a,b\n" + b"x" * (3 * MAX_RECORD_BYTES) + b"\nc,d\n")
        assert [(record.line, record.flaw) for record in found] == [(1, None), (2, Flaw.TOO_LONG), (3, None)]
        assert len(found[1].raw) <= MAX_RECORD_BYTES + 1

    def test_a_carriage_return_and_line_feed_split_between_reads_is_one_line_end(self):
        data = b"x" * (MAX_RECORD_BYTES - 1) + b"\r\nb\n"
        assert [record.line for record in records(data)] == [1, 2]

    @given(st.lists(st.lists(st.text(alphabet='a1 ,;"\r\n', max_size=6), min_size=2, max_size=4), max_size=8))
    def test_reads_back_whatever_was_written_with_quotes(self, rows):
        lines, expected, line = [], [], 1
        for row in rows:
            text = ",".join('"' + value.replace('"', '""') + '"' for value in row) + "\n"
            lines.append(text)
            expected.append((line, [value.encode() for value in row]))
            line += len(text.encode().splitlines())
        found = records("".join(lines).encode())
        assert [(record.line, record.fields) for record in found] == expected

    @given(st.text(alphabet='ab," \r\n', max_size=60))
    @example('"')
    @example('" "\n"')
    @example('a,""b\n"')
    @example('"a\n\n",""\r\n"b')
    def test_equals_a_reader_that_goes_character_by_character(self, text):
        found = [(record.line, record.fields) for record in records(text.encode())]
        assert found == slow_records(text.encode().splitlines(keepends=True))


def slow_records(lines):
    """The rules of `reading` without regular expressions: each record as its line and its fields, None for a flaw."""
    found, at = [], 0
    while at < len(lines):
        following = at + 1
        if lines[at].strip(b" ,\r\n"):
            for end in range(at + 1, len(lines) + 1):
                answer = slow_split(b"".join(lines[at:end]).decode())
                if answer != "open":
                    following = end if answer is not None else at + 1
                    break
            found.append((at + 1, None if answer == "open" else answer))
        at = following
    return found


def slow_split(text):
    text = text[:-2] if text.endswith("\r\n") else text[:-1] if text.endswith(("\r", "\n")) else text
    fields, at = [], 0
    while True:
        start = at
        while text[at : at + 1] == " ":
            at += 1
        if text[at : at + 1] == '"':
            value, at = "", at + 1
            while text[at : at + 1] != '"' or text[at : at + 2] == '""':
                if at >= len(text):
                    return "open"
                at += text[at] == '"'
                value += text[at]
                at += 1
            at += 1
            while text[at : at + 1] == " ":
                at += 1
            if text[at : at + 1] not in {"", ","}:
                return None
        else:
            at = text.find(",", start)
            at = len(text) if at < 0 else at
            value = text[start:at]
        fields.append(value.encode())
        if at == len(text):
            return fields
        at += 1


class TestKinds:
    def kind(self, tmp_path, data, name="x.csv"):
        path = tmp_path / name
        path.write_bytes(data)
        return is_parquet(path, f"train/{name}")

    def test_the_content_decides(self, tmp_path):
        assert self.kind(tmp_path, b"PAR1....", "x.csv")
        assert not self.kind(tmp_path, GOOD)

    @pytest.mark.parametrize(
        ("data", "name", "reason"),
        [
            (b"", "x.csv", "is empty"),
            (GOOD, "x.parquet", "the name says Parquet but the content is not"),
            (b"PK\x03\x04....", "x.csv", "zip archive"),
            ("a,b".encode("utf-16"), "x.csv", "UTF-16"),
            (b"BZh9....", "x.csv", "bzip2"),
        ],
    )
    def test_what_is_neither_csv_nor_parquet_is_refused_by_name(self, tmp_path, data, name, reason):
        with pytest.raises(FileProblem, match=f"^train/{name}: .*{reason}"):
            self.kind(tmp_path, data, name)

    def test_gzip_is_unpacked_whatever_its_name(self, tmp_path):
        path = tmp_path / "x.csv"
        path.write_bytes(gzip.compress(GOOD) + gzip.compress(GOOD))
        assert plain_csv(path, "x.csv", tmp_path).read_bytes() == GOOD * 2

    def test_a_gzip_that_was_cut_short_is_refused(self, tmp_path):
        path = tmp_path / "x.csv.gz"
        path.write_bytes(gzip.compress(GOOD * 1000)[:-9])
        with pytest.raises(FileProblem, match="cut short"):
            plain_csv(path, "train/x.csv.gz", tmp_path)

    def test_a_damaged_gzip_is_refused(self, tmp_path):
        data = bytearray(gzip.compress(GOOD * 1000))
        data[-8] ^= 0xFF  # the checksum
        path = tmp_path / "x.csv.gz"
        path.write_bytes(data)
        with pytest.raises(FileProblem, match="damaged"):
            plain_csv(path, "train/x.csv.gz", tmp_path)

    def test_a_problem_survives_pickling(self):
        problem = pickle.loads(pickle.dumps(FileProblem("train/x.csv", "is empty", "fill it")))  # noqa: S301
        assert str(problem) == "train/x.csv: is empty; fill it"


class TestLayout:
    def layout(self, tmp_path, data, schema=SCHEMA):
        path = tmp_path / "x.csv"
        path.write_bytes(data)
        return csv_layout(
            path,
            "train/x.csv",
            schema,
            lambda text: text.startswith("20"),
            lambda text: text.replace(".", "").isdigit(),
        )

    def test_without_a_header_columns_are_those_of_the_schema(self, tmp_path):
        assert self.layout(tmp_path, GOOD) == CsvLayout({"timestamp": 0, "target_value": 1, "item_id": 2}, 3)

    def test_a_header_is_found_by_its_names_in_any_order_and_case(self, tmp_path):
        found = self.layout(tmp_path, b"\n Item_ID ,price,TIMESTAMP,target_value\n" + GOOD)
        assert found.positions == {"item_id": 0, "timestamp": 2, "target_value": 3}
        assert (found.header_line, found.columns, found.ignored) == (2, 4, ("price",))

    @pytest.mark.parametrize(("delimiter"), [";", "\t", "|"])
    def test_other_delimiters_are_found(self, tmp_path, delimiter):
        assert self.layout(tmp_path, GOOD.replace(b",", delimiter.encode())).delimiter == delimiter
        header = b"item_id,timestamp,target_value\n".replace(b",", delimiter.encode())
        assert self.layout(tmp_path, header).delimiter == delimiter

    def test_a_missing_column_is_an_error_that_names_file_and_column(self, tmp_path):
        with pytest.raises(
            FileProblem, match=r"^train/x.csv: there is no column 'target_value'; the file has 'timestamp'"
        ):
            self.layout(tmp_path, b"timestamp,item_id,demand\n" + GOOD)

    def test_a_header_of_other_names_over_a_different_order_is_an_error_and_no_data(self, tmp_path):
        with pytest.raises(FileProblem, match="'item_id' or 'timestamp' or 'target_value'"):
            self.layout(tmp_path, b"who,when,how much\na,2024-01-01,1.5\n")

    def test_a_bad_first_row_is_no_header(self, tmp_path):
        assert self.layout(tmp_path, b"yesterday,1.5,a\n" + GOOD).header_line is None
        assert self.layout(tmp_path, b"garbage\n" + GOOD).header_line is None

    def test_a_column_that_is_there_twice_is_refused(self, tmp_path):
        with pytest.raises(FileProblem, match="'item_id' is there more than once"):
            self.layout(tmp_path, b"timestamp,item_id,target_value,item_id\n")

    def test_only_empty_lines_are_no_rows(self, tmp_path):
        with pytest.raises(FileProblem, match="only empty lines"):
            self.layout(tmp_path, b"\n \r\n")
