#!/usr/bin/env bash
# Serve a model folder over the OpenAI protocol on this machine only. Stop it with Ctrl-C.
#
#   bash run_serve.sh [MODEL] [PORT] [--flag value ...]                flags: those of `transformers serve`
#   SERVER=vllm bash run_serve.sh [MODEL] [PORT] [--flag value ...]    flags: those of `vllm serve`; bash setup_vllm.sh first
#
# The server's name for the model is MODEL as written here. `transformers serve` keeps special tokens that a client sends text
# (sanitize_control_tokens). vLLM serves a reward model too: --reward http://HOST:PORT/classify in step 3. Every setting can also be given
# in the environment.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
positional MODEL PORT -- "$@"
shift "$TAKEN"

MODEL="${MODEL:-$KORLHF_ROOT/output/export}"                      # a folder that run_export.sh or a training wrote
SERVER="${SERVER:-transformers}"                                  # or vllm
HOST="${HOST:-127.0.0.1}"  # 0.0.0.0: everyone in the network can ask; the server knows no keys
PORT="${PORT:-8000}"
VLLM="${VLLM:-${KORLHF_VLLM_VENV:-$KORLHF_ROOT/.venv-vllm}/bin/vllm}"

need_python
[[ "$SERVER" == transformers || "$SERVER" == vllm ]] || fail "SERVER=$SERVER: give transformers or vllm"
[[ "$SERVER" == transformers || -x "$VLLM" ]] || fail "SERVER=vllm: there is no $VLLM; run bash $KORLHF_ROOT/setup_vllm.sh"
[[ -f "$MODEL/config.json" ]] \
    || fail "MODEL=$MODEL: no config.json there; give the folder of a whole model (export a LoRA folder first)"
IS_REWARD=false
! grep -q ForSequenceClassification "$MODEL/config.json" || IS_REWARD=true
if [[ "$SERVER" == transformers ]]; then
    ! "$IS_REWARD" || fail "MODEL=$MODEL: a reward model, which writes no answers; give a folder of step 1 or 3, or SERVER=vllm for its scores"
    [[ "$MODEL" != *[@:]* ]] \
        || fail "MODEL=$MODEL: transformers serve reads @ and : as a revision or a file; give a path without them"
fi
[[ "$PORT" =~ ^[0-9]+$ && "$PORT" -ge 1 && "$PORT" -le 65535 ]] || fail "PORT=$PORT: give a port from 1 to 65535"
python - "$HOST" "$PORT" <<'PY' || fail "PORT=$PORT: taken, or not allowed on $HOST; give another"
import socket, sys
with socket.socket() as taken:
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((sys.argv[1], int(sys.argv[2])))
    except OSError:
        sys.exit(1)
PY
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(cores)}"
if "$IS_REWARD"; then
    echo "score answers by it in step 3: --reward 'http://$HOST:$PORT/classify'"
else
    echo "talk to it: bash applications/chat/run_chat.sh 'openai:$MODEL@http://$HOST:$PORT/v1'"
fi
if [[ "$SERVER" == vllm ]]; then
    export VLLM_LOGGING_LEVEL="${VLLM_LOGGING_LEVEL:-WARNING}"
    # In the folder's own precision: by itself vLLM makes bfloat16 of float32.
    dtype_of='import json, sys; c = json.load(open(sys.argv[1])); print(c.get("dtype") or c.get("torch_dtype") or "auto")'
    FLAGS=(--dtype "$(python -c "$dtype_of" "$MODEL/config.json")")
    ! "$IS_REWARD" || FLAGS+=(--runner pooling)
    # transformers' name for Gemma 3 without pictures: vLLM 0.32 takes it for a model that has no head.
    ! grep -q Gemma3TextForSequenceClassification "$MODEL/config.json" \
        || FLAGS+=(--hf-overrides '{"architectures": ["Gemma3ForSequenceClassification"]}')
    # On a CPU a seeded request whose prompt is read in pieces ends the server (vLLM 0.32: "CPU Generator does not use offset"), and
    # compiling takes a C++ compiler and half a minute and makes nothing faster.
    [[ "$(visible_gpus)" != 0 ]] || FLAGS+=(--no-enable-chunked-prefill --enforce-eager)
    exec "$VLLM" serve "$MODEL" --host "$HOST" --port "$PORT" "${FLAGS[@]}" "$@"
fi
mkdir -p "${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub}"  # without it the list of models is an error
exec python -m transformers.cli.transformers serve "$MODEL" --host "$HOST" --port "$PORT" \
    --chat-template-kwargs '{"sanitize_control_tokens": true}' "$@"
