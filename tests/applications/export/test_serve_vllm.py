"""`SERVER=vllm run_serve.sh` with a stand-in for vLLM: what it is started with. The real one: tests/vllm."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from free_port import free_port

SERVE = Path(__file__).resolve().parents[3] / "applications" / "export" / "run_serve.sh"


@pytest.fixture
def serve(tmp_path):
    """Function: (architecture, dtype; variables) -> the finished script, which prints what vLLM was given."""
    vllm, folder = tmp_path / "vllm", tmp_path / "내 모델@1"
    vllm.write_text('#!/bin/sh\nprintf "<%s>" "$@" "$HF_HUB_OFFLINE"\n', encoding="utf-8")
    vllm.chmod(0o755)
    folder.mkdir()

    def run(architecture, dtype, **variables):
        config = {"architectures": [architecture], **dtype}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        env = os.environ | {"SERVER": "vllm", "VLLM": str(vllm), "CUDA_VISIBLE_DEVICES": ""} | variables
        words = [str(folder), str(free_port()), "--max-model-len", "512"]
        return subprocess.run(["bash", str(SERVE), *words], env=env, capture_output=True, text=True, timeout=60), words

    return run


def started(words, *flags):
    own = ["serve", words[0], "--host", "127.0.0.1", "--port", words[1], *flags]
    return "".join(f"<{word}>" for word in [*own, *words[2:], "1"])


GEMMA = '{"architectures": ["Gemma3ForSequenceClassification"]}'
ON_A_CPU = ("--no-enable-chunked-prefill", "--enforce-eager")


def test_vllm_gets_the_folders_own_precision_and_the_users_flags_last(serve):
    done, words = serve("GPTNeoXForCausalLM", {"dtype": "float32"})
    told = f"talk to it: bash applications/chat/run_chat.sh 'openai:{words[0]}@http://127.0.0.1:{words[1]}/v1'"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [told, started(words, "--dtype", "float32", *ON_A_CPU)]


def test_a_reward_model_is_served_for_its_scores(serve):
    done, words = serve("LlamaForSequenceClassification", {"torch_dtype": "bfloat16"})
    told = f"score answers by it in step 3: --reward 'http://127.0.0.1:{words[1]}/classify'"
    flags = ("--dtype", "bfloat16", "--runner", "pooling", *ON_A_CPU)
    assert done.stdout.splitlines() == [told, started(words, *flags)]

    done, words = serve("Gemma3TextForSequenceClassification", {"dtype": "float32"})
    flags = ("--dtype", "float32", "--runner", "pooling", "--hf-overrides", GEMMA, *ON_A_CPU)
    assert done.stdout.splitlines()[1] == started(words, *flags)


def test_on_a_gpu_nothing_is_switched_off(serve, tmp_path):
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    shutil.copy2("/bin/true", smi)
    gpu = {"PATH": f"{smi.parent}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "0"}
    done, words = serve("GPTNeoXForCausalLM", {}, **gpu)
    assert done.stdout.splitlines()[1] == started(words, "--dtype", "auto")


@pytest.mark.parametrize(
    "variables, says",
    [
        ({"SERVER": "vLLM"}, "SERVER=vLLM: give transformers or vllm"),
        ({"VLLM": "", "KORLHF_VLLM_VENV": "/no/such"}, "SERVER=vllm: there is no /no/such/bin/vllm; run bash "),
        ({"SERVER": "transformers"}, "MODEL={folder}: transformers serve reads @"),
    ],
)
def test_what_cannot_be_is_one_line(serve, variables, says):
    done, words = serve("GPTNeoXForCausalLM", {}, **variables)
    assert done.returncode == 2 and done.stderr.startswith("error: " + says.format(folder=words[0]))
    assert done.stderr.count("\n") == 1
