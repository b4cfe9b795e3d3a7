"""Rebuild the miniature corpora: `python samples/raw/build.py` writes the NIKL and AIHub containers from the texts in
written/.

Only containers are made here (ids, metadata, times, folders, zips); every sentence stands in written/ as a person wrote
it. The output is the same byte for byte everywhere: zip members have fixed dates and are stored, not compressed, as
compressors differ by version.

A dialogue (written/nikl_*/NN.txt): `topic:`, `relation:`, `1:` and `2:` (age | sex | occupation | birthplace |
principal residence | current residence | education), an empty line, then one utterance a line: `1 original form`, `1+
...` if it overlaps with the one before; a line `form: ...` gives the form of the utterance above it where the plain
rules do not. A conversation (written/aihub_*.txt, parted by empty lines): `1 text [=> origin text] [| TYPE,TYPE | five
votes]`.
"""

import argparse
import json
import re
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NIKL_2020, NIKL_2021 = "NIKL_DIALOGUE_2020_v1.3", "NIKL_DIALOGUE_2021_v1.1_JSON"
AIHUB = "aihub_558/147.텍스트 윤리검증 데이터/01.데이터"
AIHUB_TRAIN = f"{AIHUB}/1.Training/라벨링데이터/aihub/TL1_aihub/talksets-train-1/talksets-train-1_aihub.json"
AIHUB_VALIDATION = f"{AIHUB}/2.Validation/라벨링데이터/aihub/VL1_aihub.zip"
SPEAKER = ("age", "sex", "occupation", "birthplace", "principal_residence", "current_residence", "education")
UTTERANCE = re.compile(r"([12])(\+?) (.+)")
SENTENCE = re.compile(r"([12]) ([^|]+?)(?: => ([^|]+?))?(?: \| ([A-Z_,]+) \| ([0-3](?: [0-3]){4}))?")
FIXED_DATE = (2021, 1, 1, 0, 0, 0)
SECONDS_PER_CHARACTER, PAUSE, OVERLAP = 0.14, 0.3, 0.5


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def form_of(original: str) -> str:
    """Return the reading form of an original form: events and broken-off words gone, other marks bare."""
    text = re.sub(r"\{\w+\}", "", original)
    text = re.sub(r"(?:^|(?<=\s))-[^-\s]+-(?=\s|$)", "", text)
    text = re.sub(r"\(\((.*?)\)\)", r"\1", text)
    text = re.sub(r"&([a-z-]+\d*)&", r"\1", text)
    return " ".join(text.split())


def utterances(document: str, speakers: list[dict], lines: list[str]) -> list[dict]:
    """Return the utterances of a dialogue; times in seconds. Raises ValueError for another line."""
    said, clock = [], 0.0
    for line in lines:
        if line.startswith("form: "):
            said[-1]["form"] = line.removeprefix("form: ")
            continue
        match = UTTERANCE.fullmatch(line)
        if match is None:
            raise ValueError(f"{document}: {line!r} is no utterance")
        who, overlaps, original = match.groups()
        start = clock - OVERLAP if overlaps else clock + PAUSE
        end = start + SECONDS_PER_CHARACTER * len(original)
        clock = max(clock, end)
        said.append(
            {
                "id": f"{document}.1.{len(said) + 1}",
                "form": form_of(original),
                "original_form": original,
                "speaker_id": speakers[int(who) - 1]["id"],
                "start": round(start, 3),
                "end": round(end, 3),
                "note": "발화겹침" if overlaps else "",
            }
        )
    return said


def dialogue(path: Path, year: int) -> tuple[str, dict]:
    """Return the session's id and the JSON of its file."""
    number = int(path.stem)
    head, body = read(path).strip().split("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    session = f"SDRW{year % 100}{number:08d}"
    speakers = [
        {
            "id": f"SD{year % 100}{2 * number - 2 + place:05d}",
            **dict(zip(SPEAKER, fields[str(place)].split(" | "), strict=True)),
        }
        for place in (1, 2)
    ]
    heads = json.loads(read(HERE / "written" / "nikl_heads.json"))
    metadata = heads["document"] | {"title": f"형식 예시: 일상 대화 {session}", "date": f"{year}0901"}
    metadata |= {"topic": fields["topic"], "speaker": speakers, "setting": {"relation": fields["relation"]}}
    document = {"id": f"{session}.1", "metadata": metadata}
    document["utterance"] = utterances(f"{session}.1", speakers, body.splitlines())
    about = heads["session"] | {"year": str(year)}
    return session, {"id": session, "metadata": about, "document": [document]}


def sentence(identity: str, line: str) -> dict:
    """Return one utterance of an AIHub conversation. Raises ValueError for a line that is none."""
    match = SENTENCE.fullmatch(line)
    if match is None:
        raise ValueError(f"{identity}: {line!r} is no sentence")
    who, text, origin, types, votes = match.groups()
    votes = [int(vote) for vote in votes.split()] if votes else [0] * 5
    return {
        "id": identity,
        "speaker": int(who),
        "origin_text": origin or text,
        "text": text,
        "types": types.split(",") if types else ["IMMORAL_NONE"],
        "is_immoral": bool(types),
        "intensity": sum(votes) / len(votes),
        "intensity_sum": sum(votes),
        "votes": votes,
    }


def talksets(path: Path, prefix: str) -> list[dict]:
    talks = []
    for number, block in enumerate(read(path).strip().split("\n\n"), 1):
        identity = f"{prefix}-{number:03d}"
        said = [sentence(f"{identity}-{place}", line) for place, line in enumerate(block.splitlines(), 1)]
        talks.append({"id": identity, "sentences": said})
    return talks


def as_bytes(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, FIXED_DATE)
            info.create_system, info.external_attr = 3, 0o644 << 16  # else they tell the system that the script ran on
            archive.writestr(info, data)


def build(folder: Path) -> dict[str, int]:
    """Write everything below `folder`; return container -> dialogues or conversations in it."""
    first = dict(dialogue(path, 2020) for path in sorted((HERE / "written" / "nikl_2020").glob("*.txt")))
    second = dict(dialogue(path, 2021) for path in sorted((HERE / "written" / "nikl_2021").glob("*.txt")))
    train, validation = (
        talksets(HERE / "written" / "aihub_train.txt", "t1"),
        talksets(HERE / "written" / "aihub_validation.txt", "t6"),
    )
    for place in (NIKL_2020 + "/SDRW", AIHUB_TRAIN, AIHUB_VALIDATION):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
    for session, data in first.items():
        (folder / NIKL_2020 / f"{session}.json").write_bytes(as_bytes(data))
    write_zip(
        folder / f"{NIKL_2021}.zip", {f"{NIKL_2021}/{session}.json": as_bytes(data) for session, data in second.items()}
    )
    (folder / AIHUB_TRAIN).write_bytes(as_bytes(train))
    write_zip(folder / AIHUB_VALIDATION, {"talksets-train-6/talksets-train-6.json": as_bytes(validation)})
    return {
        NIKL_2020: len(first),
        f"{NIKL_2021}.zip": len(second),
        AIHUB_TRAIN: len(train),
        AIHUB_VALIDATION: len(validation),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the miniature NIKL and AIHub corpora from written/.")
    parser.add_argument("--output_dir", type=Path, default=HERE, help="folder to write them to")
    for name, count in build(parser.parse_args().output_dir).items():
        print(f"{count:4}  {name}")


if __name__ == "__main__":
    main()
