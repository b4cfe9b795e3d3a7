"""What is found in folders, zips and zips within zips, and what is wrong with a file."""

import io
import zipfile

import pytest

from korlhf.core.errors import InputError
from korlhf.data.corpora import archive


def zipped(members, raw_names=None):
    """Bytes of a zip; raw_names: an encoding for names that are written without saying that they are UTF-8."""

    class Info(zipfile.ZipInfo):
        def _encodeFilenameFlags(self):
            raw = self.filename.encode(raw_names or "utf-8")
            return (raw, self.flag_bits & ~0x800) if raw_names else super()._encodeFilenameFlags()

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in members.items():
            file.writestr(Info(name), data)
    return out.getvalue()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def found_in(path):
    found = archive.walk(path, "talksets*.json", "labelled files")
    return [(place.replace(str(path), "P"), text) for place, text in found]


def test_files_are_found_in_subfolders_zips_and_zips_within_zips(tmp_path):
    inner = zipped({"talksets-train-6/talksets-train-6.json": b"6"})
    write(tmp_path / "1.Training/라벨링데이터/talksets-train-1_aihub.json", b"\xef\xbb\xbf1")
    write(tmp_path / "1.Training/원천데이터/talksets-train-1.txt", b"-")
    members = {"aihub/VL1_aihub.ZIP": inner, "__MACOSX/talksets.json": b"-", "TALKSETS-2.json": b"2", "빈 폴더/": b""}
    zip_file = write(tmp_path / "2.Validation/VL1.zip", zipped(members))
    assert found_in(tmp_path) == [
        ("P/1.Training/라벨링데이터/talksets-train-1_aihub.json", "1"),
        ("P/2.Validation/VL1.zip!TALKSETS-2.json", "2"),
        ("P/2.Validation/VL1.zip!aihub/VL1_aihub.ZIP!talksets-train-6/talksets-train-6.json", "6"),
    ]
    assert found_in(zip_file)[0] == ("P!TALKSETS-2.json", "2")
    assert found_in(write(tmp_path / "내 파일.json", b"own")) == [("P", "own")]  # one file may have any name


@pytest.mark.parametrize("encoding", ["cp949", "utf-8"])
@pytest.mark.parametrize("folder", ["147.텍스트 윤리검증", "발화 문서"])  # the second's UTF-8 bytes are CP949 as well
def test_korean_names_of_zips_that_do_not_tell_their_encoding(tmp_path, encoding, folder):
    path = write(tmp_path / "a.zip", zipped({f"{folder}/talksets-1.json": b"1"}, encoding))
    assert found_in(path) == [(f"P!{folder}/talksets-1.json", "1")]


def test_a_zip_within_a_zip_that_is_too_large_for_memory_is_read_from_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_IN_MEMORY", 10)
    path = write(tmp_path / "a.zip", zipped({"b.zip": zipped({"talksets.json": b"x" * 1000})}))
    assert found_in(path) == [("P!b.zip!talksets.json", "x" * 1000)]


def encrypted():
    data = bytearray(zipped({"talksets.json": b"1"}))
    data[6] |= 1  # the flag in the file's own header, and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("readme.txt", b"1", r"no files talksets\*\.json in it; expected labelled files; found 1 \.txt"),
        ("a.zip", b"nothing", r"a\.zip: not a readable zip"),
        ("a.zip", zipped({"b.zip": b"?"}), r"a\.zip!b\.zip: not a readable zip"),
        ("a.zip", encrypted(), r"a\.zip: .*encrypted.*; unpack it"),
        ("a.zip", zipped({"x/a.wav": b"", "x/b.wav": b"", "c": b""}), r"found 2 \.wav, 1 files without a suffix"),
        ("talksets.json", "{}\n한글".encode("cp949"), r"talksets\.json:2: not UTF-8"),
        ("talksets.json", b'{"document":\n ["\\ud800"]}', r"talksets\.json:2: \\ud800 is half a surrogate pair"),
        ("talksets.json", b'["\\ude00"]', r"\\ude00 is half"),
    ],
)
def test_what_is_not_the_corpus_is_refused_with_what_was_found(tmp_path, name, data, message):
    write(tmp_path / name, data)
    with pytest.raises(InputError, match=message):
        found_in(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        found_in(tmp_path / "nothing")
