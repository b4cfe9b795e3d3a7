"""A GGUF file that the `gguf` package writes -> a model folder."""

import importlib
import json

import gguf
import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from korlhf.applications.export.gguf import check_files
from korlhf.core import program
from korlhf.core.errors import InputError

LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def write(source, file, template=None):
    """The Qwen 2 model in the folder `source` as GGUF, with the names that llama.cpp gives its weights."""
    lm, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    config, weights = lm.config, lm.state_dict()
    out = gguf.GGUFWriter(str(file), "qwen2")
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = set(tokenizer.all_special_tokens) | {"<|unused0|>", "<|unused1|>"}
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    out.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    out.add_eos_token_id(tokenizer.eos_token_id)
    out.add_bos_token_id(tokenizer.eos_token_id)
    out.add_pad_token_id(tokenizer.eos_token_id)
    if template:
        out.add_chat_template(template)
    names = {**ENDS, **{f"blk.{i}.{k}": f"model.layers.{i}.{v}" for i in (0, 1) for k, v in LAYER.items()}}
    for short, name in names.items():
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in weights:
                out.add_tensor(f"{short}.{kind}", weights[f"{name}.{kind}"].numpy().astype(numpy.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def run(*words):
    """Exit code of import_gguf.py."""
    main = importlib.import_module("applications.export.import_gguf").main
    with pytest.raises(SystemExit) as stop:
        program.run(lambda: main(list(map(str, words))))
    return stop.value.code


@pytest.fixture(scope="module")
def file(folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "작은 모델.gguf"
    write(folders["qwen2"], path)
    return path


def test_pieces_become_the_model_and_the_tokenizer_that_they_were_made_of(folders, file, tmp_path, capsys):
    whole, pieces = file.read_bytes(), []
    for number, (start, end) in enumerate([(0, 1000), (1000, 40_000), (40_000, len(whole))]):
        pieces.append(tmp_path / f"piece.{number}")
        pieces[-1].write_bytes(whole[start:end])
    out = tmp_path / "모델 폴더"
    assert run("--gguf", *pieces, "--output_dir", out) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "qwen2" in told and "end '<|endoftext|>'" in told and "no chat template: a base model" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["piece.0", "piece.1", "piece.2", "모델 폴더"]
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config

    ids = torch.arange(3, 40)[None]
    models = [AutoModelForCausalLM.from_pretrained(path).eval() for path in (folders["qwen2"], out)]
    with torch.no_grad():
        before, after = (lm(input_ids=ids).logits for lm in models)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    text = "오늘 날씨가 참 좋네요! 산책하러 갈까요? 1234 Hello"
    tokenizers = [AutoTokenizer.from_pretrained(path) for path in (folders["qwen2"], out)]
    assert tokenizers[1].decode(tokenizers[1](text).input_ids) == text
    assert tokenizers[1].eos_token_id == tokenizers[0].eos_token_id and len(tokenizers[1]) == len(tokenizers[0])


def test_a_template_of_the_file_stays(folders, chat_templates, tmp_path, capsys):
    write(folders["qwen2"], tmp_path / "chat.gguf", chat_templates["chatml"])
    assert run("--gguf", tmp_path / "chat.gguf", "--output_dir", tmp_path / "out", "--dtype", "bf16") == 0
    assert "with the file's own chat template" in capsys.readouterr().out
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == chat_templates["chatml"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


def test_what_is_no_gguf_is_one_line_and_leaves_nothing(file, tmp_path, capsys):
    (tmp_path / "zip.gguf").write_bytes(b"PK\x03\x04 and more")
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:3000])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").touch()
    out = ["--output_dir", tmp_path / "out"]
    for words, said in [
        (["--gguf", tmp_path / "zip.gguf", *out], "zip.gguf: is no GGUF file (it begins with b'PK\\x03\\x04')"),
        (["--gguf", tmp_path / "none.gguf", *out], "none.gguf: no such file"),
        (["--gguf", tmp_path, *out], "is a folder; give the file in it"),
        (["--gguf", tmp_path / "cut.gguf", *out], "cut.gguf: cannot be read: "),
        (["--gguf", file, file, *out], "is a GGUF file itself, not the next piece"),
        (["--gguf", file, "--output_dir", tmp_path / "full"], "full: is not empty; give a new folder"),
    ]:
        assert run(*words) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert len(lines) == 1 and lines[0].startswith("error: --") and said in lines[0], lines
    assert not (tmp_path / "out").exists()


def test_pieces_in_the_wrong_order_are_told(file, tmp_path):
    for name, part in (("a", file.read_bytes()[:1000]), ("b", file.read_bytes()[1000:])):
        (tmp_path / name).write_bytes(part)
    with pytest.raises(InputError, match="is no GGUF file .* or pieces of one in their order"):
        check_files([str(tmp_path / "b"), str(tmp_path / "a")])
