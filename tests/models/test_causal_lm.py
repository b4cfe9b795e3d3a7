"""Log-probabilities against transformers' own loss; LoRA; saving; refusals."""

import copy
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, CohereConfig, GraniteConfig, StableLmConfig

from korlhf.core.errors import InputError
from korlhf.data import packing
from korlhf.models import causal_lm as models
from korlhf.models import save
from korlhf.models.folders import check_folder, lora_base
from korlhf.models.lora import add_lora, without_adapter
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training.flags import ModelFlags

ARCHITECTURES = ["gpt_neox", "llama", "qwen2", "gemma2", "gpt2"]


def random_sequences(vocab, lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocab, (n,), generator=generator).tolist() for n in lengths]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_token_logps_are_the_labelled_loss_of_transformers(load_lm, name):
    lm = load_lm(name)
    sequences = random_sequences(300, [9, 4, 14, 5])
    masks = [[0] * 4 + [1] * 5, [1, 0, 1, 1], [0] * 7 + [1, 1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]
    packed = packing.pack(sequences)
    with torch.no_grad():
        logps, entropy = models.TokenLogps(lm)(packed, *packing.targets(packed, masks), with_entropy=True)
        plain = models.TokenLogps(lm)(packed, *packing.targets(packed, masks))
        assert torch.allclose(plain, logps, atol=1e-5)
        at = 0
        for ids, mask in zip(sequences, masks):
            n = sum(mask[1:])
            labels = [i if m else -100 for i, m in zip(ids, mask)]
            out = lm(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]), use_cache=False)
            assert -float(logps[at : at + n].mean()) == pytest.approx(float(out.loss), abs=1e-5)
            p = out.logits[0, [j - 1 for j in range(1, len(ids)) if mask[j]]].softmax(-1)
            assert torch.allclose(entropy[at : at + n], torch.special.entr(p).sum(-1), atol=1e-4)
            at += n
    assert at == len(logps)


@pytest.mark.parametrize(
    "config", [CohereConfig(logit_scale=0.3), GraniteConfig(logits_scaling=3.0)], ids=["cohere", "granite"]
)
def test_scaled_logits_are_those_of_transformers(config):
    for key, value in {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 16,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.4,
    }.items():
        setattr(config, key, value)
    config.head_dim = 8
    lm = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        hidden = lm.base_model(input_ids=ids, use_cache=False).last_hidden_state
        assert torch.allclose(
            models.head_logits(lm, hidden[0]), lm(input_ids=ids, use_cache=False).logits[0].float(), atol=1e-5
        )


def lora_flags(**kwargs):
    return ModelFlags(model_name_or_path="x", **{"lora_dim": 2, **kwargs})


@pytest.mark.parametrize(
    "name, expected",
    [
        ("gpt_neox", {"query_key_value"}),
        ("llama", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("gemma2", {"q_proj", "k_proj", "v_proj", "o_proj"}),
    ],
)
def test_lora_reaches_the_modules_of_the_table(load_lm, name, expected):
    model = add_lora(load_lm(name), lora_flags(), "CAUSAL_LM")
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert {n.split(".lora_")[0].split(".")[-1] for n in trained} == expected
    assert len(trained) == 2 * 2 * len(expected)  # A and B, two layers
    layer = next(m for n, m in model.named_modules() if n.endswith(next(iter(expected))))
    assert layer.scaling["default"] == 2.0  # --lora_alpha 0 = twice the rank
    assert without_adapter(model) is model.get_base_model()


def test_lora_alpha_and_names_can_be_given(load_lm):
    model = add_lora(load_lm("gpt_neox"), lora_flags(lora_alpha=1, lora_module_name="dense_h_to_4h,dense"), "CAUSAL_LM")
    hit = {n.split(".")[-1]: m.scaling["default"] for n, m in model.named_modules() if hasattr(m, "lora_A")}
    assert hit == {"dense_h_to_4h": 0.5, "dense": 0.5}


def test_lora_on_an_unknown_architecture_names_its_modules():
    lm = AutoModelForCausalLM.from_config(
        StableLmConfig(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=16,
        )
    )
    with pytest.raises(
        InputError, match=r"--lora_module_name auto: no table entry for architecture 'stablelm'.*k_proj.*q_proj.*v_proj"
    ):
        add_lora(lm, lora_flags(), "CAUSAL_LM")


def test_lora_with_names_of_another_architecture_names_the_right_ones(load_lm):
    with pytest.raises(
        InputError,
        match=r"--lora_module_name decoder.layers.: matches no module of this gpt_neox model.*query_key_value",
    ):
        add_lora(load_lm("gpt_neox"), lora_flags(lora_module_name="decoder.layers."), "CAUSAL_LM")


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_lora_is_saved_merged_and_the_training_weights_stay(load_lm, folders, tokenizer, tmp_path, name):
    lm = add_lora(load_lm(name), lora_flags(), "CAUSAL_LM").eval()
    torch.manual_seed(0)
    for n, p in lm.named_parameters():
        if "lora_B" in n:
            torch.nn.init.normal_(p, std=0.3)
    weights = {n: p.detach().clone() for n, p in lm.named_parameters()}
    save.save_model(lm, weights, tokenizer, tmp_path, folders[name], eos_token_id=tokenizer.eos_token_id)
    ids = torch.tensor([random_sequences(300, [12])[0]])
    saved, base = AutoModelForCausalLM.from_pretrained(tmp_path), load_lm(name)
    with torch.no_grad():
        trained = lm(input_ids=ids).logits
        assert torch.allclose(saved(input_ids=ids).logits, trained, atol=1e-4)
        assert float((base(input_ids=ids).logits - trained).abs().max()) > 0.1
    assert all(torch.equal(weights[n], p) for n, p in lm.named_parameters())
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists() and not list(tmp_path.rglob("*.bin"))


@pytest.fixture
def lora(load_lm, folders, tokenizer, tmp_path):
    """Function: architecture, dtype -> (folder of a finished LoRA training, the model as trained)."""

    def make(name, dtype=None, **flags):
        lm = add_lora(load_lm(name), lora_flags(**flags), "CAUSAL_LM").eval()
        torch.manual_seed(0)
        for n, p in lm.named_parameters():
            if "lora_B" in n:
                torch.nn.init.normal_(p, std=0.3)
        weights = {n: p.detach() for n, p in lm.named_parameters()}
        save.save_model(lm, weights, tokenizer, tmp_path, folders[name], dtype, tokenizer.eos_token_id)
        return tmp_path, lm

    return make


IDS = torch.tensor([random_sequences(300, [12])[0]])


@pytest.mark.parametrize("name, use_dora", [("gpt_neox", False), ("llama", False), ("gpt2", False), ("llama", True)])
def test_a_lora_folder_loads_as_the_model_that_was_trained(lora, load_lm, tokenizer, name, use_dora):
    folder, trained = lora(name, use_dora=use_dora)
    assert any("magnitude" in n for n, p in trained.named_parameters() if p.requires_grad) == use_dora
    path = str(folder / "adapter")
    assert lora_base(path) and lora_base(str(folder)) is None
    merged = models.load_causal_lm(path, tokenizer)
    apart = models.load_causal_lm(path, tokenizer, merge_lora=False)
    assert type(merged) is type(load_lm(name)) and isinstance(apart, PeftModel)
    with torch.no_grad():
        expected = trained(input_ids=IDS).logits
        assert torch.equal(apart(input_ids=IDS).logits, expected)
        assert torch.allclose(merged(input_ids=IDS).logits, expected, atol=1e-4)
        assert torch.equal(
            merged(input_ids=IDS).logits, AutoModelForCausalLM.from_pretrained(folder)(input_ids=IDS).logits
        )
        assert float((load_lm(name)(input_ids=IDS).logits - expected).abs().max()) > 0.1


def test_a_lora_folder_in_another_dtype_is_the_finished_model_of_that_dtype(lora, tokenizer):
    folder, _ = lora("llama", torch.bfloat16)
    loaded = models.load_causal_lm(str(folder / "adapter"), tokenizer, dtype=torch.bfloat16)
    finished = models.load_causal_lm(str(folder), tokenizer, dtype=torch.bfloat16)
    assert loaded.dtype == loaded.config.dtype == torch.bfloat16
    assert {n: b.dtype for n, b in loaded.named_buffers()} == {n: b.dtype for n, b in finished.named_buffers()}
    assert torch.equal(loaded(input_ids=IDS).logits, finished(input_ids=IDS).logits)


def test_the_tokenizer_of_a_lora_folder_is_its_own_or_its_bases(lora, chat_templates, tokenizer):
    folder, _ = lora("gpt_neox")
    adapter = folder / "adapter"
    assert "### 명령어:" in load_tokenizer(str(adapter)).chat_template
    tokenizer.chat_template = chat_templates["chatml"]
    tokenizer.save_pretrained(adapter)
    assert load_tokenizer(str(adapter)).chat_template == chat_templates["chatml"]
    for file in [*adapter.glob("tokenizer*"), *adapter.glob("chat_template*")]:
        file.unlink()
    assert "### 명령어:" in load_tokenizer(str(adapter)).chat_template


@pytest.mark.parametrize(
    "config, words",
    [
        (
            '{"task_type": "SEQ_CLS", "base_model_name_or_path": "a/b"}',
            "an adapter for SEQ_CLS, not for a language model",
        ),
        ('{"task_type": "CAUSAL_LM"}', "names no base model"),
        (
            '{"base_model_name_or_path": "./gone"}',
            r"adapter_config.json says base_model_name_or_path ./gone: no such folder",
        ),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_lora_folder_that_cannot_work_is_refused(tmp_path, config, words):
    (tmp_path / "adapter_config.json").write_text(config, encoding="utf-8")
    for load in (load_tokenizer, lambda path, what: models.load_causal_lm(path, None, what)):
        with pytest.raises(InputError, match=f"--x {tmp_path}: .*{words}") as error:
            load(str(tmp_path), what="--x")
        assert "\n" not in str(error.value)


def test_a_damaged_adapter_is_refused(lora, folders, tokenizer, tmp_path):
    adapter = lora("gpt_neox")[0] / "adapter"
    weights = load_file(adapter / "adapter_model.safetensors")
    cut = dict(list(weights.items())[1:])
    whole = (adapter / "adapter_model.safetensors").read_bytes()
    save_file(cut, adapter / "adapter_model.safetensors")
    with pytest.raises(InputError, match="could not be laid over .*missing adapter keys"):
        models.load_causal_lm(str(adapter), tokenizer)
    (adapter / "adapter_model.safetensors").write_bytes(whole[:-10])
    with pytest.raises(InputError, match="could not be laid over"):
        models.load_causal_lm(str(adapter), tokenizer)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights") as error:
        models.load_causal_lm(str(adapter), tokenizer)
    assert "\n" not in str(error.value)


def test_a_cut_weight_file_is_one_line(folders, tokenizer, tmp_path):
    shutil.copytree(folders["gpt_neox"], tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="--model_name_or_path .*could not be loaded") as error:
        models.load_causal_lm(str(tmp_path / "cut"), tokenizer)
    assert "\n" not in str(error.value)


def test_lora_of_an_architecture_with_word_embeddings_is_saved(tokenizer, tmp_path):
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=len(tokenizer), hidden_size=16, n_layer=1, n_head=2))
    base.save_pretrained(tmp_path / "base")
    lm = add_lora(copy.deepcopy(base), lora_flags(), "CAUSAL_LM")
    weights = {n: p.detach() for n, p in lm.named_parameters()}
    save.save_model(lm, weights, tokenizer, tmp_path / "out", str(tmp_path / "base"))
    ids, saved = torch.tensor([[5, 6, 7]]), AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.allclose(saved(input_ids=ids).logits, base.eval()(input_ids=ids).logits, atol=1e-5)


def test_saved_model_has_template_dtype_and_stop(load_lm, tokenizer, tmp_path):
    lm = load_lm("llama")
    weights = {n: p.detach() for n, p in lm.named_parameters()}
    save.save_model(lm, weights, tokenizer, tmp_path, "", torch.bfloat16, eos_token_id=7)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert saved.dtype == torch.bfloat16 and saved.generation_config.eos_token_id == 7
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == tokenizer.chat_template
    assert load_tokenizer(str(tmp_path), "auto").chat_template == tokenizer.chat_template


def test_templates_by_flag(folders, tmp_path, chat_templates, new_tokenizer):
    assert "### 명령어:" in load_tokenizer(folders["llama"], "auto").chat_template
    assert "Human: " in load_tokenizer(folders["llama"], "human_assistant").chat_template
    with pytest.raises(InputError, match="--prompt_template chat: .* has no chat template"):
        load_tokenizer(folders["llama"], "chat")
    own = new_tokenizer()
    own.chat_template = chat_templates["chatml"]
    own.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    assert load_tokenizer(str(tmp_path), "auto").chat_template == chat_templates["chatml"]
    assert load_tokenizer(str(tmp_path), "chat").chat_template == chat_templates["chatml"]
    assert "### 명령어:" in load_tokenizer(str(tmp_path), "kullm").chat_template


def test_dropout_is_set_everywhere(folders):
    lm = models.load(AutoModelForCausalLM, folders["gpt_neox"], dropout=0.25)
    assert (lm.config.hidden_dropout, lm.config.attention_dropout) == (0.25, 0.25)
    found = [m.p for m in lm.modules() if isinstance(m, torch.nn.Dropout)]
    assert found and set(found) == {0.25}


def test_folders_that_hold_no_model(tmp_path, folders, tokenizer):
    with pytest.raises(InputError, match="--model_name_or_path .*no such folder"):
        load_tokenizer(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="no config.json"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=f"e.g. {tmp_path / 'run'}"):
        check_folder(str(tmp_path), "--x")
    tokenizer.add_tokens([f"새{i}" for i in range(9)])
    with pytest.raises(
        InputError, match=f"the tokenizer has {len(tokenizer)} tokens, the model rows for {len(tokenizer) - 9}"
    ):
        models.load_causal_lm(folders["llama"], tokenizer)
