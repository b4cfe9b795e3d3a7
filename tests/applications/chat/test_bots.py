"""Who is opened by which name, and what is kept of a conversation."""

import json
import subprocess
import sys
from pathlib import Path

from streaming_server import Server

from korlhf.applications.chat.bots import open_bot
from korlhf.applications.chat.conversation import Conversation
from korlhf.data import load
from korlhf.llm.checkpoint import Sampling
from korlhf.llm.flags import CheckpointFlags, StreamFlags
from korlhf.models import lora, save
from korlhf.training.flags import ModelFlags

HOW = Sampling(temperature=0.0, top_p=1.0, max_new_tokens=8, seed=1)


def test_a_folder_and_a_lora_folder_answer(folders, load_lm, tokenizer, tmp_path):
    lm = lora.add_lora(load_lm("llama"), ModelFlags(model_name_or_path="x", lora_dim=2), "CAUSAL_LM")
    for name, p in lm.named_parameters():
        if "lora_B" in name:
            p.data.fill_(0.2)
    save.save_model(
        lm,
        {n: p.detach() for n, p in lm.named_parameters()},
        tokenizer,
        tmp_path,
        folders["llama"],
    )
    found = []
    for path in (tmp_path, tmp_path / "adapter", folders["llama"]):
        with open_bot(str(path)) as bot:
            found.append(bot.ask(Conversation().with_user("안녕"), HOW).wait())
            assert bot.context_tokens == 128
    assert found[0] == found[1] != found[2]


def test_a_servers_address_is_in_the_name_or_in_the_flags():
    with Server() as server:
        for name, flags in (
            (f"openai:test-model@{server.url}", StreamFlags()),
            ("openai:test-model", StreamFlags(base_url=server.url)),
        ):
            with open_bot(name, (CheckpointFlags(), flags), 99) as bot:
                assert (bot.name, bot.url, bot.context_tokens) == ("test-model", server.url, 99)
                assert bot.ask(Conversation().with_user("안녕"), HOW).wait() == "안녕"


def test_who_chats_with_a_server_does_not_wait_for_torch():
    slow = "{'torch', 'transformers', 'deepspeed'}"
    program = f"import sys, applications.chat.chat; assert not {slow} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).resolve().parents[3])


def test_a_saved_conversation_is_read_by_step_1(tmp_path):
    talk = Conversation("친절하게 답하세요.")
    talk.add("안녕", "안녕하세요.")
    talk.add("비었어요?", "  ")  # no answer, nothing to learn
    talk.add("### 응답: 은 뭐예요?", "표시예요.")
    file = tmp_path / "saved.jsonl"
    file.write_text(
        json.dumps({"messages": talk.messages, "source": "chat"}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    examples, _ = load.load_step(1, [str(file)], "1,0,0", eval_share=0.0)
    (example,) = examples
    assert [(m["role"], m["content"]) for m in example.messages] == [
        ("system", "친절하게 답하세요."),
        ("user", "안녕"),
        ("assistant", "안녕하세요."),
        ("user", "### 응답: 은 뭐예요?"),
    ]
    assert example.answers == ("표시예요.",)
    assert talk.with_user("또") == [*talk.messages, {"role": "user", "content": "또"}]
    talk.system = ""
    assert Conversation().messages == [] and talk.with_user("또")[0]["role"] == "user"
