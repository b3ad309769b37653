"""CSV as archives and people write it, and as nobody should."""

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skimstream.cli.csvfile import ROWS, is_csv, read_csv
from skimstream.cli.train import train
from skimstream.producer.simulate.observations import simulate_observations
from skimstream.schemas.columns import Columns, Wanted, concatenate
from skimstream.schemas.errors import DecodeError

WANTED = Wanted(numbers=("x", "absent"), integers=("n",), texts=("name",))


def read(data: bytes, most: int = 1 << 20) -> Columns:
    return concatenate(list(read_csv(data, WANTED, most)))


def test_cells_are_known_by_their_columns_name_and_empty_ones_are_null() -> None:
    found = read(b'\xef\xbb\xbfname,other,x,n\n"a,b",1,1.5,7\n,,NaN,\n"line\nbreak",,-1e3,-2\n')
    assert found.number("x").tolist()[::2] == [1.5, -1000.0]
    assert found.null("x").tolist() == [False, True, False]
    assert found.null("absent").all()
    assert found.integer("n").tolist() == [7, 0, -2]
    assert [found.text("name").at(row) for row in range(3)] == ["a,b", None, "line\nbreak"]


def test_gzip_and_many_rows() -> None:
    text = "x\n" + "\n".join(map(str, range(2 * ROWS + 5)))
    assert read(gzip.compress(text.encode())).number("x").tolist() == list(range(2 * ROWS + 5))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"a,b\n1,2\n", "first line"),
        (b"", "first line"),
        (b"x\nfar\n", "'far'"),
        (b"n\n1.5\n", "n is '1.5'"),
        (b"x\n\xff\n", "UTF-8"),
        (gzip.compress(b"x\n1\n", mtime=0)[:-9], "gzip"),
        (b'name\n"a"b\n', "after line 1"),
        (gzip.compress(b"x\n" + b"1\n" * (1 << 20), mtime=0), "more than"),
    ],
)
def test_what_is_no_such_file_says_why(data: bytes, word: str) -> None:
    with pytest.raises(DecodeError, match=word):
        read(data)


def test_names() -> None:
    assert [is_csv(name) for name in ("a.csv", "A.CSV.GZ", "a.avro", "csv")] == [True, True, False, False]


def test_a_model_is_trained_from_csv(tmp_path: Path) -> None:
    import typer

    records = [one.record for one in simulate_observations(3, datetime(2026, 1, 1, tzinfo=UTC), 2_500, 0.02)]
    with gzip.open(tmp_path / "records.csv.gz", "wt", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)
    app = typer.Typer()
    app.command()(train)
    for flags, rows in (([], 2_500), (["--images-only"], sum(r["dataproduct_type"] == "image" for r in records))):
        arguments = ["observation", str(tmp_path / "records.csv.gz"), "--trees", "5", "-o", str(tmp_path / "m"), *flags]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        training = json.loads((tmp_path / "m" / "manifest.json").read_text())["training"]
        assert training["rows"] + training["rule_breaking_rows"] == rows
        assert training["rule_breaking_rows"] > 0
