"""Model folders that cannot be trained or asked: one line that names the flag and the folder, before anything is
written.
"""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
# How a folder is damaged -> what is said besides flag and folder.
DAMAGE = {}


def damage(*says):
    def add(function):
        DAMAGE[function.__name__] = function, says
        return function

    return add


def change(folder, name, **values):
    """Set keys of a JSON file."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


@damage("no config.json", "finished model")
def no_config(folder):
    (folder / "config.json").unlink()


@damage("config.json cannot be read", "save the model again")
def cut_config(folder):
    (folder / "config.json").write_text('{"model_type": "gpt')


@damage("config.json cannot be read", "no JSON object", "save the model again")
def config_of_a_list(folder):
    (folder / "config.json").write_text("[]")


@damage("config.json cannot be read", "save the model again")
def config_that_is_no_text(folder):
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")


@damage("config.json cannot be read", "save the model again")
def config_that_is_a_folder(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


@damage("be loaded")
def unknown_architecture(folder):
    change(folder, "config.json", model_type="gpt_of_next_year")


@damage("Python code of its own", "--trust_remote_code")
def code_of_its_own(folder):
    code = {"AutoConfig": "configuration_next.Config", "AutoModelForCausalLM": "modeling_next.Model"}
    change(folder, "config.json", model_type="gpt_of_next_year", auto_map=code)


@damage("quantised (gptq)", "--load_in_4bit")
def quantised(folder):
    change(folder, "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


@damage("quantised (bitsandbytes)", "--load_in_4bit")
def saved_in_four_bits(folder):
    change(folder, "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


@damage("could not be loaded")
def weights_of_another_width(folder):
    change(folder, "config.json", hidden_size=32)


@damage("missing")
def weights_of_fewer_layers(folder):
    change(folder, "config.json", num_hidden_layers=3)


@damage("could not be loaded")
def cut_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


@damage("could not be loaded")
def empty_weights(folder):
    (folder / "model.safetensors").write_bytes(b"")


@damage("could not be loaded")
def weights_that_are_text(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n" * 3)


@damage("missing")
def weights_without_a_tensor(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(dict(sorted(weights.items())[:-1][1:]), folder / "model.safetensors", {"format": "pt"})


@damage("no weights", "finished model")
def no_weights(folder):
    (folder / "model.safetensors").unlink()


@damage("pickles", "safetensors")
def pickled_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@damage("tokenizer")
def no_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


@damage("no tokenizer could be loaded", "copy the tokenizer files")
def cut_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model":')


@damage("no tokenizer could be loaded", "copy the tokenizer files")
def tokenizer_of_another_kind(folder):
    (folder / "tokenizer.json").write_text('{"hello": 1}')


@damage("no EOS token", "eos_token")
def no_end_of_answers(folder):
    change(folder, "tokenizer_config.json", eos_token=None)


@damage("chat template", "--prompt_template kullm")
def template_with_a_syntax_error(folder):
    change(folder, "tokenizer_config.json", chat_template="{% for m in messages %}{{ m.content }")


@damage("chat template", "--prompt_template kullm")
def template_that_raises(folder):
    change(folder, "tokenizer_config.json", chat_template="{{ raise_exception('user and model only') }}")


@damage("chat template", "--prompt_template kullm")
def template_with_an_unknown_function(folder):
    change(folder, "tokenizer_config.json", chat_template="{% for m in messages %}{{ shout(m.content) }}{% endfor %}")


@damage("chat template", "leaves out or changes", "--prompt_template kullm")
def template_that_leaves_answers_out(folder):
    source = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    change(folder, "tokenizer_config.json", chat_template=source)


@damage("does not end an answer", "--prompt_template kullm")
def template_without_ends(folder):
    change(folder, "tokenizer_config.json", chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")


@damage("tokens", "rows for", "tokenizer it was trained with")
def fewer_rows_than_tokens(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(100)
    model.save_pretrained(folder)


@damage("no causal language model", "decoder")
def an_encoder(folder):
    vocabulary = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    BertForMaskedLM(BertConfig(vocab_size=vocabulary, **SMALL)).save_pretrained(folder)


@damage("no causal language model", "decoder")
def an_encoder_and_a_decoder(folder):
    T5ForConditionalGeneration(
        T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    ).save_pretrained(folder)


READS = {  # program -> the flag of its model
    "sft": "--model_name_or_path",
    "reward": "--model_name_or_path",
    "ppo": "--actor_model_name_or_path",
    "prompt_eval": "--model_name_or_path",
    "respond": "--responder",
    "chat": "--model_name_or_path",
}


@pytest.fixture(scope="module")
def damaged(folders, tmp_path_factory):
    """{how: folder}"""
    out = {}
    for how, (function, _) in DAMAGE.items():
        folder = tmp_path_factory.mktemp("damaged") / how
        shutil.copytree(folders["gpt_neox"], folder)
        function(folder)
        out[how] = folder
    return out


@pytest.mark.parametrize("program", READS)
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_model_folder(refused, damaged, program, how):
    short = ["--max_new_tokens", "8"] if program == "respond" else []
    refused(program, [READS[program], str(damaged[how]), *short], {}, [how, *DAMAGE[how][1]])


@pytest.mark.parametrize(
    ("program", "flags", "says"),
    [
        ("sft", "--max_seq_len 200", ["--max_seq_len: 200 tokens", "128 positions", "lower --max_seq_len"]),
        ("reward", "--max_seq_len 200", ["--max_seq_len: 200 tokens", "128 positions", "lower --max_seq_len"]),
        ("ppo", "--max_answer_seq_len 70", ["--max_answer_seq_len", "134 tokens", "128 positions", "lower"]),
    ],
)
def test_more_tokens_than_learned_positions(refused, folders, program, flags, says):
    refused(program, [*flags.split(), READS[program], folders["gpt2"]], {}, says)


def test_more_tokens_than_rotary_positions_are_warned_of(folders, capsys):
    from korlhf.models.checks import check_model

    check_model(folders["llama"], "--model_name_or_path", 128, "--max_seq_len")
    assert capsys.readouterr().out == ""
    check_model(folders["llama"], "--model_name_or_path", 129, "--max_seq_len")
    assert "WARNING: --max_seq_len: 129 tokens are more than the 128 positions" in capsys.readouterr().out


class Bomb:
    """Unpickled, it would make a file."""

    def __reduce__(self):
        return open, ("pickle_was_run", "w")


@pytest.mark.parametrize(
    ("program", "flag"), [("rw_eval", "--model_name_or_path"), ("ppo", "--critic_model_name_or_path")]
)
@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(Bomb())], ids=["empty", "text", "code"])
def test_a_pickle_that_is_no_reward_model_of_deepspeed_chat(refused, folders, tmp_path_factory, program, flag, content):
    folder = tmp_path_factory.mktemp("pickle") / "model"
    shutil.copytree(folders["gpt_neox"], folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pytorch_model.bin").write_bytes(content)
    refused(program, [flag, str(folder)], {}, [str(folder), "safetensors"])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", ["adapter_config.json cannot be read", "save the model again"]),
        ("[]", ["adapter_config.json cannot be read", "no JSON object"]),
        ("{}", ["names no base model"]),
        ('{"base_model_name_or_path": "/no/such/base"}', ["its adapter_config.json says", "/no/such/base"]),
        ('{"base_model_name_or_path": "neox", "task_type": "SEQ_CLS"}', ["SEQ_CLS", "step 1 or 3"]),
        ('{"base_model_name_or_path": "neox"}', ["no weights"]),
    ],
)
@pytest.mark.parametrize("program", ["sft", "prompt_eval", "chat"])
def test_adapters_that_cannot_be_laid_over_a_model(refused, program, config, says):
    refused(program, [READS[program], "adapter"], {"adapter/adapter_config.json": config}, ["adapter", *says])


def test_a_pickled_adapter(refused):
    files = {"adapter/adapter_config.json": '{"base_model_name_or_path": "neox"}', "adapter/adapter_model.bin": b"x"}
    refused(
        "sft", ["--model_name_or_path", "adapter"], files, ["--model_name_or_path adapter", "pickles", "safetensors"]
    )
