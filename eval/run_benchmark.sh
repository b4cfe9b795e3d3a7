#!/usr/bin/env bash
# What models choose in tasks of lm-evaluation-harness (KoBEST, KMMLU, CLIcK, HAE-RAE, HRM8K ...), next to what guessing gets.
# Machine: any; a GPU is used if there is one.
#
#   bash run_benchmark.sh [TASKS] [MODELS] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (SEED=7 bash ...); flags at the end win.
# What was finished when a run was stopped is not measured again: start the same command once more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional TASKS MODEL_NAME_OR_PATH OUTPUT_DIR -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-base=$RUN/base
sft=$RUN/sft
ppo=$RUN/ppo}"  # [NAME=]FOLDER of steps 1 or 3, LoRA folder, hub name; one a line
OUTPUT_DIR="${OUTPUT_DIR:-$RUN/eval}"                             # folder of the results
DATA_DIR="${DATA_DIR-$KORLHF_ROOT/samples/kobest}"  # local files as the hub has them; empty: the hub's data
TASKS="${TASKS:-copa hellaswag}"  # KoBEST's, also boolq sentineg wic, or the harness's names: kmmlu haerae click hrm8k ...
NUM_FEWSHOT="${NUM_FEWSHOT:-0}"                                   # solved examples before each item
APPLY_CHAT_TEMPLATE="${APPLY_CHAT_TEMPLATE:-false}"               # true: ask in the model's chat template
LIMIT="${LIMIT:-0}"                                               # only the first so many items of each task; 0 = all
BATCH_SIZE="${BATCH_SIZE:-16}"                                    # options in a forward pass
SEED="${SEED:-1234}"

start eval/benchmark.py MODEL_NAME_OR_PATH... TASKS... DATA_DIR NUM_FEWSHOT APPLY_CHAT_TEMPLATE? \
    LIMIT BATCH_SIZE SEED OUTPUT_DIR -- "$@"
