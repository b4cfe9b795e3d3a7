"""Reward models on disk: the same score in plain transformers, DeepSpeed-Chat's format, and what is refused."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from korlhf.core.errors import InputError
from korlhf.data import packing
from korlhf.data.tokenize import Codec
from korlhf.models import lora, reward_model, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import pairs
from korlhf.training.flags import ModelFlags

CPU = torch.device("cpu")
ANSWERS = ["네, 좋아요. 같이 가요.", "싫어요", "", "<|endoftext|> 좋아요 <|pad|>"]


def new_reward(folders, name, tokenizer, eos_token_id):
    torch.manual_seed(1)
    model = reward_model.load_reward_model(folders[name], new_head=True)
    reward_model.set_padding(model, tokenizer, eos_token_id)
    return model.eval()


def saved_scores(folder, batched):
    """Scores of ANSWERS in plain transformers, from the folder alone."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = [Codec(tokenizer).with_answer([{"role": "user", "content": "산책하러 갈까요?"}], a).ids for a in ANSWERS]
    assert model.config.num_labels == 1 and model.config.pad_token_id == tokenizer.pad_token_id
    with torch.no_grad():
        if not batched:
            return [float(model(input_ids=torch.tensor([r])).logits) for r in rows]
        batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        assert batch["input_ids"].shape[1] > min(map(len, rows))
        return model(**batch).logits.flatten().tolist()


def our_scores(model, codec):
    group = [codec.with_answer([{"role": "user", "content": "산책하러 갈까요?"}], a) for a in ANSWERS]
    with torch.no_grad():
        return pairs.forward(reward_model.TokenValues(model), group, CPU).tolist()


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma2"])
def test_a_saved_reward_model_scores_the_same_in_transformers(folders, codec, tokenizer, tmp_path, name):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id  # as in Polyglot-Ko
    model = new_reward(folders, name, tokenizer, codec.eos_token_id)
    expected = our_scores(model, codec)
    assert len({round(s, 3) for s in expected}) == len(ANSWERS)
    save.save_model(model, model.state_dict(), tokenizer, tmp_path, folders[name])
    assert saved_scores(tmp_path, batched=False) == pytest.approx(expected, abs=1e-4)
    assert saved_scores(tmp_path, batched=True) == pytest.approx(expected, abs=1e-4)
    again = reward_model.load_reward_model(str(tmp_path)).eval()
    assert our_scores(again, codec) == pytest.approx(expected, abs=1e-5)
    assert reward_model.has_head(tmp_path) and not reward_model.has_head(folders[name])


def test_a_lora_reward_model_is_saved_merged_with_its_head(folders, codec, tokenizer, tmp_path):
    model = new_reward(folders, "llama", tokenizer, codec.eos_token_id)
    model = lora.add_lora(model, ModelFlags(model_name_or_path="x", lora_dim=2), "SEQ_CLS").eval()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert any("score" in n for n in trained) and any("lora_B" in n for n in trained)
    for p in trained.values():
        torch.nn.init.normal_(p, std=0.3)
    expected = our_scores(model, codec)
    save.save_model(model, {n: p.detach() for n, p in model.named_parameters()}, tokenizer, tmp_path, folders["llama"])
    assert saved_scores(tmp_path, batched=True) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("vocab, rows", [(390, 400), (400, 401)])
def test_padding_of_a_tokenizer_whose_only_special_token_is_eos(folders, new_tokenizer, tmp_path, vocab, rows):
    tokenizer = new_tokenizer((), vocab)
    tokenizer.save_pretrained(tmp_path / "t")
    (tmp_path / "t" / "config.json").write_text('{"model_type": "gpt_neox"}', encoding="utf-8")
    tokenizer = load_tokenizer(str(tmp_path / "t"))
    codec = Codec(tokenizer)
    model = new_reward(folders, "gpt_neox", tokenizer, codec.eos_token_id)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|pad|>", vocab)  # a new token, not another name of EOS
    assert model.get_input_embeddings().weight.size(0) == rows  # a spare row is used where there is one
    expected = our_scores(model, codec)
    save.save_model(model, model.state_dict(), tokenizer, tmp_path / "out", folders["gpt_neox"])
    assert saved_scores(tmp_path / "out", batched=True) == pytest.approx(expected, abs=1e-4)


def test_a_pad_token_that_is_not_the_end_is_kept(folders, new_tokenizer):
    tokenizer = new_tokenizer()
    tokenizer.pad_token = "<|unused1|>"
    model = new_reward(folders, "llama", tokenizer, tokenizer.eos_token_id)
    assert (tokenizer.pad_token, model.config.pad_token_id, tokenizer.padding_side) == ("<|unused1|>", 1, "right")


def test_a_language_model_is_no_reward_model(folders):
    with pytest.raises(
        InputError, match=r"--reward_model_name_or_path .*: not a reward model \(it has no score head\)"
    ):
        reward_model.load_reward_model(folders["llama"], "--reward_model_name_or_path")


def test_a_new_head_is_small_and_seeded(folders):
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(
            reward_model.scalar_head(reward_model.load_reward_model(folders["llama"], new_head=True)).weight.detach()
        )
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2]) and heads[0].shape == (1, 16)
    assert float(heads[0].std()) == pytest.approx(17**-0.5, rel=0.5)


def deepspeed_chat_folder(folders, tokenizer, path, name="gpt_neox", dropout=0.0):
    """A step-2 checkpoint as DeepSpeed-Chat writes it, and the sequence-classification model it stands for."""
    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_pretrained(folders[name], num_labels=1).eval()
    weights = {"rwtransformer." + k: v.clone() for k, v in model.base_model.state_dict().items()}
    for i in range(2):
        weights[f"rwtransformer.layers.{i}.attention.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool).tril()
        weights[f"rwtransformer.layers.{i}.attention.masked_bias"] = torch.tensor(-1e9)
    weights["v_head.weight"] = model.score.weight.detach().clone()
    path.mkdir()
    torch.save(weights, path / "pytorch_model.bin")
    config = AutoModelForCausalLM.from_pretrained(folders[name]).config
    config.hidden_dropout = dropout
    config.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return model


def test_deepspeed_chat_checkpoints_are_read(folders, codec, tokenizer, tmp_path):
    model = deepspeed_chat_folder(folders, tokenizer, tmp_path / "rm", dropout=0.1)
    assert reward_model.has_head(tmp_path / "rm")
    read = reward_model.load_reward_model(str(tmp_path / "rm"), dropout=0.0)
    assert our_scores(read.train(), codec) == pytest.approx(
        our_scores(model, codec), abs=1e-5
    )  # train: dropout=0.0 is obeyed


def test_deepspeed_chat_checkpoints_that_do_not_fit_are_refused(folders, tokenizer, tmp_path):
    deepspeed_chat_folder(folders, tokenizer, tmp_path / "rm")
    weights = torch.load(tmp_path / "rm" / "pytorch_model.bin", weights_only=True)
    torch.save({k: v for k, v in weights.items() if k != "v_head.weight"}, tmp_path / "rm" / "pytorch_model.bin")
    with pytest.raises(InputError, match="1 weights missing, 0 unknown, e.g. score.weight"):
        reward_model.load_reward_model(str(tmp_path / "rm"), "--x")
    torch.save(weights, tmp_path / "rm" / "pytorch_model.bin")
    config = json.loads((tmp_path / "rm" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "rm" / "config.json").write_text(json.dumps({**config, "hidden_size": 32}), encoding="utf-8")
    with pytest.raises(InputError, match="does not fit its config.json"):
        reward_model.load_reward_model(str(tmp_path / "rm"), "--x")


def test_values_of_packed_rows_are_those_of_each_sequence(folders, codec):
    torch.manual_seed(2)
    model = reward_model.load_reward_model(folders["qwen2"], new_head=True).eval()
    sequences = [codec.answer("네, 좋아요. 같이 가요."), codec.answer("네."), codec.answer("")]
    packed = packing.pack(sequences)
    with torch.no_grad():
        values = reward_model.TokenValues(model)(packed)
        for s, start in zip(sequences, packed.bounds):
            alone = model.score(
                model.base_model(input_ids=torch.tensor([s]), use_cache=False).last_hidden_state
            ).flatten()
            assert torch.allclose(values[start : start + len(s)], alone, atol=1e-5)
