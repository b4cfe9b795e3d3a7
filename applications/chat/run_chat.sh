#!/usr/bin/env bash
# Talk to a model in the terminal. Machine: any; a GPU is used if there is one.
#
#   bash run_chat.sh [MODEL] [REWARD] [--flag value ...]
#   bash run_chat.sh openai:MODEL@http://127.0.0.1:8000/v1
#   echo 안녕 | bash run_chat.sh output/quickstart/ppo
#
# MODEL: a model folder, a LoRA folder, a hub name or a server. Every setting can also be given in the environment;
# flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../launch.sh"
positional MODEL_NAME_OR_PATH REWARD_MODEL -- "$@"
shift "$TAKEN"

MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/quickstart/ppo}"  # who answers
REWARD_MODEL="${REWARD_MODEL:-}"  # a reward model whose score of each answer is shown; empty: none
RATINGS="${RATINGS-$KORLHF_ROOT/output/chat/ratings.jsonl}"       # /good and /bad add answers to it; empty: none
SYSTEM="${SYSTEM:-}"                                              # system message, a text or a file
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # 0: greedy
TOP_P="${TOP_P:-1.0}"                                             # nucleus sampling; 1: off
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-256}"                           # longest answer in tokens
SEED="${SEED:-1234}"                                              # of the answers
AI_NOTICE="${AI_NOTICE:-auto}"  # what is told before the talk; off: nothing, see ../COMPLIANCE.md
GUARD="${GUARD:-rules:crisis}"  # what looks for a crisis in messages, to show helplines; off: nothing does

start applications/chat/chat.py MODEL_NAME_OR_PATH REWARD_MODEL SYSTEM RATINGS TEMPERATURE TOP_P MAX_NEW_TOKENS \
    SEED AI_NOTICE GUARD -- "$@"
