#!/usr/bin/env bash
# Best of N: how often the answer that a reward model picks of N wins against one answer, by another judge.
# Machine: any; a GPU is used if there is one.
#
#   bash run_best_of_n.sh [MODELS] [REWARD_MODEL] [JUDGE] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (JUDGE=openai:gpt-4o bash ...); flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional RESPONDER REWARD_MODEL JUDGE OUTPUT_DIR -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
RESPONDER="${RESPONDER:-sft=$RUN/sft}"  # who answers, one a line: [NAME=]FOLDER, openai:MODEL@URL or FILE
REWARD_MODEL="${REWARD_MODEL:-$RUN/reward}"                       # what picks
JUDGE="${JUDGE:-rules:friendly}"  # another one: openai:MODEL@URL, checkpoint:FOLDER, reward_model:FOLDER or rules:NAME
OUTPUT_DIR="${OUTPUT_DIR:-$RUN/eval}"                             # folder of the results
DATA_PATH="${DATA_PATH:-sample/prompts}"  # prompts: names or files; of a set with an evaluation split, that split
MAX_PROMPTS="${MAX_PROMPTS:-100}"                                 # 0 = all
NUM_ANSWERS="${NUM_ANSWERS:-65}"                                  # answers per prompt: N is at most one less
TEMPERATURE="${TEMPERATURE:-1.0}"                                 # of the answers
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-128}"                           # longest answer
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
SEED="${SEED:-1234}"

start eval/best_of_n.py RESPONDER... REWARD_MODEL JUDGE DATA_PATH... MAX_PROMPTS NUM_ANSWERS TEMPERATURE \
    MAX_NEW_TOKENS ROLLOUT VLLM_ARGS SEED OUTPUT_DIR -- "$@"
