#!/usr/bin/env bash
# Serve a model folder over the OpenAI protocol with `transformers serve`, on this machine only. Stop it with Ctrl-C.
#
#   bash run_serve.sh [MODEL] [PORT] [--flag value ...]      flags: those of `transformers serve`
#
# The server's name for the model is MODEL as written here. Special tokens that a client sends stay text
# (sanitize_control_tokens). Every setting can also be given in the environment.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
positional MODEL PORT -- "$@"
shift "$TAKEN"

MODEL="${MODEL:-$KORLHF_ROOT/output/export}"                      # a folder that run_export.sh or a training wrote
HOST="${HOST:-127.0.0.1}"  # 0.0.0.0: everyone in the network can ask; the server knows no keys
PORT="${PORT:-8000}"

need_python
[[ -f "$MODEL/config.json" ]] \
    || fail "MODEL=$MODEL: no config.json there; give the folder of a whole model (export a LoRA folder first)"
! grep -q ForSequenceClassification "$MODEL/config.json" \
    || fail "MODEL=$MODEL: a reward model, which writes no answers; give a folder of step 1 or 3"
[[ "$MODEL" != *[@:]* ]] \
    || fail "MODEL=$MODEL: transformers serve reads @ and : as a revision or a file; give a path without them"
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
mkdir -p "${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub}"  # without it the list of models is an error
echo "talk to it: bash applications/chat/run_chat.sh 'openai:$MODEL@http://$HOST:$PORT/v1'"
exec python -m transformers.cli.transformers serve "$MODEL" --host "$HOST" --port "$PORT" \
    --chat-template-kwargs '{"sanitize_control_tokens": true}' "$@"
