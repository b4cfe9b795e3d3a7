#!/usr/bin/env bash
# How often models go along with harmful requests, and how often they refuse harmless ones that only look harmful.
# Machine: any; a GPU is used if there is one.
#
#   bash run_harmlessness.sh [MODELS] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (JUDGE="rules openai:gpt-4o" bash ...); flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional RESPONDER OUTPUT_DIR -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
RESPONDER="${RESPONDER:-sft=$RUN/sft
ppo=$RUN/ppo}"  # who answers, one a line (or in one line): [NAME=]FOLDER, openai:MODEL@URL or FILE
OUTPUT_DIR="${OUTPUT_DIR:-$RUN/eval}"                             # folder of the results
DATA_PATH="${DATA_PATH:-sample/safety}"  # also sample/pressure, or NAME=FILE or the hub name of a published corpus
MAX_PROMPTS="${MAX_PROMPTS:-0}"                                   # 0 = all
JUDGE="${JUDGE:-rules}"  # who gives verdicts: rules openai:MODEL@URL checkpoint:FOLDER reward_model:FOLDER
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # of the answers; 0 = greedy
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-128}"                           # longest answer
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
SEED="${SEED:-1234}"

start eval/harmlessness.py RESPONDER... DATA_PATH... MAX_PROMPTS JUDGE... TEMPERATURE MAX_NEW_TOKENS ROLLOUT VLLM_ARGS \
    SEED OUTPUT_DIR -- "$@"
