"""export.py: what it writes is what was trained, to the token; what is broken does not get the folder's name."""

import functools
import io
import json
import shutil

import pytest
import torch
import yaml
from hub_server import Hub
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)

from applications.export import export as export_program
from korlhf.applications.export import model
from korlhf.core import program
from korlhf.models import save
from korlhf.models.lora import add_lora
from korlhf.training.flags import ModelFlags

LAYER = "gpt_neox.layers.0.attention.dense.weight"


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    texts = ("안녕", "오늘 뭐 해요?", "같이 가요", "네", "저녁은요?", "좋아요!")
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


@pytest.fixture
def export(prompts, capsys, tmp_path):
    """Function: model, flags... -> (exit code, stdout, stderr); in this process, to tmp_path/out."""

    def call(model, *words, licence="apache-2.0", output=tmp_path / "out"):
        words = ["--check_data_path", prompts, "--check_prompts", "5", "--max_new_tokens", "8", *words]
        words += ["--license", licence] if licence else []
        with pytest.raises(SystemExit) as end:
            argv = ["--model_name_or_path", str(model), "--output_dir", str(output), *words]
            program.run(lambda: export_program.main(argv))
        out = capsys.readouterr()
        return end.value.code, out.out, out.err

    return call


@pytest.fixture
def trained(folders, tmp_path):
    """A folder as step 1 leaves it."""
    path = tmp_path / "sft"
    shutil.copytree(folders["gpt_neox"], path)
    settings = {"model_name_or_path": "EleutherAI/polyglot-ko-1.3b", "data_path": ["sample/sft"], "processes": 1}
    (path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (path / "finished.json").write_text('{"heldout_after": {"loss": 1.5, "n": 9}}', encoding="utf-8")
    return path


@pytest.fixture
def lora(folders, load_lm, tokenizer, tmp_path):
    """(folder of a LoRA training of step 1, the model as trained)"""
    lm = add_lora(load_lm("llama"), ModelFlags(model_name_or_path="x", lora_dim=2), "CAUSAL_LM").eval()
    torch.manual_seed(0)
    for name, p in lm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    weights, path = {n: p.detach() for n, p in lm.named_parameters()}, tmp_path / "lora"
    save.save_model(lm, weights, tokenizer, path, folders["llama"])
    return path, lm


def logits(lm):
    with torch.no_grad():
        return lm.eval()(input_ids=torch.tensor([[5, 17, 40, 9, 100, 3]])).logits


def change(folder, edit):
    weights = load_file(folder / "model.safetensors")
    edit(weights[LAYER])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def after_writing(monkeypatch, spoil):
    """Something happens to the folder between the trained and the exported model."""
    write = model.write

    def spoiled(checkpoint, folder, dtype):
        write(checkpoint, folder, dtype)
        spoil(folder)

    monkeypatch.setattr(model, "write", spoiled)


def test_an_export_is_the_trained_model_with_all_that_it_needs(export, trained, tmp_path, monkeypatch, capsys):
    code, out, err = export(trained)
    assert code == 0 and "error" not in err
    assert "greedy answers equal to the trained model in fp32: 5 of 5" in out
    assert "equal to the trained model in fp32, with plain transformers: 5 of 5" in out
    folder = tmp_path / "out"
    exported, original = (logits(AutoModelForCausalLM.from_pretrained(path)) for path in (folder, trained))
    assert torch.equal(exported, original)
    assert "### 명령어:" in AutoTokenizer.from_pretrained(folder).chat_template
    how = GenerationConfig.from_pretrained(folder)
    assert (how.eos_token_id, how.do_sample, how.temperature, how.top_p, how.top_k) == (2, True, 1.0, 1.0, 0)
    text = (folder / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["license"], head["base_model"]) == ("apache-2.0", "EleutherAI/polyglot-ko-1.3b")
    trainings = json.loads((folder / "export.json").read_text(encoding="utf-8"))["trainings"]
    assert trainings == [{"name": "sft", "data": ["sample/sft"], "reward": ""}]
    assert "| loss |  | 1.5 |" in text and "`sft`: trained on sample/sft" in text and "| 5 of 5 |" in text
    assert (folder / "LICENSE").read_text(encoding="utf-8").startswith("These weights are published under: apache-2.0")
    assert not (tmp_path / "out.partial").exists()
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o444 == 0o444  # others can read it
        assert str(tmp_path).encode() not in file.read_bytes(), file  # a path says who made it
    monkeypatch.chdir(folder)
    exec(text.split("```python\n")[1].split("```")[0], {})  # the lines of the card that use the model
    assert capsys.readouterr().out.endswith("\n")


@pytest.mark.parametrize("path", ["lora/adapter", "lora"])
def test_lora_is_merged(export, lora, tmp_path, path):
    folder, lm = lora
    if path == "lora":  # a step's folder of which only the adapter was kept
        for file in ("config.json", "model.safetensors"):
            (folder / file).unlink()
    code, out, _ = export(tmp_path / path)
    assert code == 0 and "equal to the trained model in fp32: 5 of 5" in out
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.allclose(logits(merged), logits(lm), atol=1e-4) and not list((tmp_path / "out").rglob("adapter*"))


@pytest.mark.parametrize("dtype, torch_dtype", [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_is_compared_in_the_same_and_in_fp32(export, lora, tmp_path, dtype, torch_dtype):
    code, out, _ = export(lora[0] / "adapter", "--dtype", dtype)
    assert code == 0 and f"equal to the trained model in {dtype}: 5 of 5" in out
    assert f"equal to the trained model in {dtype}, with plain transformers: 5 of 5" in out
    assert "equal to the trained model in fp32: " in out
    assert {w.dtype for w in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch_dtype}
    assert AutoConfig.from_pretrained(tmp_path / "out").dtype == torch_dtype
    again, out, _ = export(tmp_path / "out", output=tmp_path / "again")  # auto: as the weights are saved
    assert again == 0 and f"equal to the trained model in {dtype}: 5 of 5" in out


def test_one_broken_weight_is_found(export, trained, tmp_path, monkeypatch):
    after_writing(monkeypatch, lambda folder: change(folder, lambda weight: weight.mul_(-1)))
    code, out, err = export(trained)
    assert code == 1 and "does not answer as the trained one does" in err and "out.partial" in err
    assert "equal to the trained model in fp32: 5 of 5" not in out
    assert "first difference to the trained model in fp32: prompt " in out
    assert not (tmp_path / "out").exists() and (tmp_path / "out.partial" / "config.json").exists()


def test_a_generation_setting_that_changes_answers_is_found(export, trained, monkeypatch):
    monkeypatch.setattr(model, "GenerationConfig", functools.partial(GenerationConfig, repetition_penalty=5.0))
    code, out, _ = export(trained)
    assert code == 1 and "equal to the trained model in fp32: 5 of 5" in out
    assert "with plain transformers: 5 of 5" not in out


def test_weights_too_large_for_fp16_are_told(export, trained):
    change(trained, lambda weight: weight[0].fill_(1e6))
    code, _, err = export(trained, "--dtype", "fp16")
    assert code == 2 and "attention.dense.weight holds NaN or infinity in fp16; use bf16" in err


def test_a_merged_adapter_too_large_for_fp16_is_told(export, lora):
    file = lora[0] / "adapter" / "adapter_model.safetensors"
    weights = {name: w * 1e8 if "lora_B" in name else w for name, w in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    code, _, err = export(lora[0] / "adapter", "--dtype", "fp16")
    assert code == 2 and f"{lora[0] / 'adapter'}: model.layers" in err  # when it is loaded: nothing broken is written
    assert "_proj.weight holds NaN or infinity in fp16; use bf16" in err


def test_a_folder_that_holds_something_is_not_overwritten(export, trained, tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    (mine / "thesis.txt").write_text("1", encoding="utf-8")
    code, _, err = export(trained, "--overwrite", output=mine)
    assert code == 2 and "is not empty, and no earlier export" in err and (mine / "thesis.txt").exists()
    assert export(trained)[0] == 0
    made = (out / "model.safetensors").stat().st_mtime_ns
    code, said, _ = export(trained)
    assert code == 0 and "is exported already" in said and (out / "model.safetensors").stat().st_mtime_ns == made
    code, _, err = export(trained, "--dtype", "bf16")
    assert code == 2 and "with other settings; give another folder, or --overwrite" in err
    assert export(trained, "--dtype", "bf16", "--overwrite")[0] == 0
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    for target, says in ((tmp_path, "is the model itself, or holds it"), (mine / "thesis.txt", "is a file")):
        code, _, err = export(trained, "--overwrite", output=target)
        assert code == 2 and says in err


def test_a_template_that_servers_tokenise_otherwise_is_told(export, trained):
    tokenizer = AutoTokenizer.from_pretrained(trained)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content + (eos_token if m.role == 'assistant' else '하세요\\n') }}{% endfor %}"
    )
    tokenizer.save_pretrained(trained)
    code, out, _ = export(trained)
    assert code == 0 and "tokenises as in training: 4 of 5" in out  # 안녕 and 하세요 are one token as one text
    assert "WARNING: this template and tokenizer join tokens" in out


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_one_line_and_nothing_is_left_on_it(export, trained, tmp_path, monkeypatch, error):
    def full(folder):
        raise error

    after_writing(monkeypatch, full)
    code, _, err = export(trained)
    assert code == 2 and f"--output_dir {tmp_path}: no room left on that disk" in err
    assert not list(tmp_path.glob("out*"))


def test_what_cannot_be_exported_is_one_line(export, folders, tmp_path, monkeypatch):
    monkeypatch.setattr("korlhf.applications.export.hub.get_token", lambda: None)
    AutoModelForSequenceClassification.from_pretrained(folders["llama"], num_labels=1).save_pretrained(tmp_path / "rm")
    good = folders["llama"]
    for source, words, says in (
        ("./none", (), "no such folder"),
        (tmp_path / "rm", (), "a reward model"),
        (good, ("--max_new_tokens", "500"), "positions"),
        (good, ("--push_to_hub", "x"), "give OWNER/NAME"),
        (good, ("--push_to_hub", "me/bot"), "no token for the hub"),
        (good, ("--public",), "give --push_to_hub"),
        (good, ("--output_dir", good + "/config.json/x"), "cannot be written"),
    ):
        code, _, err = export(source, *words)
        assert code == 2 and says in err and "Traceback" not in err, (source, words, err)
    assert not (tmp_path / "out").exists()


def test_an_export_is_uploaded_later_and_only_after_a_yes(export, trained, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    assert export(trained)[0] == 0
    with Hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        for typed in ("", "n\n"):
            monkeypatch.setattr("sys.stdin", io.StringIO(typed))
            code, out, _ = export(trained, "--push_to_hub", "me/bot")
            assert code == 0 and "is exported already" in out and "private, licence apache-2.0" in out
            assert "nothing was uploaded" in out and hub.repositories == {}
        code, out, _ = export(trained, "--push_to_hub", "me/bot", "--yes", "--public")
        assert code == 0 and hub.repositories["me/bot"] == {"private": False}
        assert "model.safetensors" in hub.files["me/bot"]


def test_a_folder_that_cannot_be_made_is_one_line(export, trained, tmp_path):
    (tmp_path / "out.partial").write_text("a file of somebody's", encoding="utf-8")
    code, _, err = export(trained)
    assert code == 2 and f"--output_dir {tmp_path / 'out'}: cannot be written: File exists; give another" in err
