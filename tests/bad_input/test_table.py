"""The table: wrong files, rows, flags and folders, each answered with one line and the exit code 2, and nothing of a
result is written.
"""

from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent


def table(name):
    return yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))


FILES = table("files")
MADE = {"deep": '{"prompt": ' + "[" * 100_000 + "\n", "digits": '{"prompt": ' + "9" * 5000 + "}\n"}


@pytest.mark.parametrize("reader", FILES["readers"])
def test_files_that_cannot_be_read(refused, reader):
    failed = []
    for what, (file, content, says) in FILES["problems"].items():
        files = {} if content == "absent" else {file: MADE.get(content, content)}
        try:
            refused(reader.split(" (")[0], [FILES["readers"][reader], file], files, says)
        except (AssertionError, Exception) as error:
            failed.append(f"{what}: {type(error).__name__} {error}"[:600])
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("row", table("rows"), ids=lambda row: f"{row[0]} {row[1]}"[:90])
def test_rows_that_cannot_be_used(refused, row):
    (name, flag), line, says = row[0].split(), *row[1:]
    refused(name, [flag, "rows.jsonl"], {"rows.jsonl": line.replace("\n", "\\n") + "\n"}, says)


@pytest.mark.parametrize("row", table("flags"), ids=lambda row: f"{row[0]} {row[1]}"[:90])
def test_flags_that_cannot_work(refused, row):
    name, more, says = row
    refused(name, more, {}, says)
