#!/usr/bin/env bash
# Accuracy of reward models on pairs that they were not trained on, next to trivial rules and a bag of words.
# Machine: any; a GPU is used if there is one.
#
#   bash run_reward_accuracy.sh [MODELS] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (DATA_PATH=mine.jsonl bash ...); flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional MODEL_NAME_OR_PATH OUTPUT_DIR -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose model is meant by default
MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-$RUN/reward}"  # reward models, one per line: [NAME=]FOLDER or hub name
OUTPUT_DIR="${OUTPUT_DIR:-$RUN/eval}"                             # folder of the results
DATA_PATH="${DATA_PATH:-sample/heldout_reward}"                   # pairs: names or files
TRAIN_DATA_PATH="${TRAIN_DATA_PATH:-}"  # what they were trained on; empty: as settings.json in their folders says
MAX_PAIRS="${MAX_PAIRS:-0}"                                       # 0 = all
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens of prompt and answer
BATCH_SIZE="${BATCH_SIZE:-16}"                                    # answers in a forward pass
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-auto}"                        # auto: the template in the model's folder
SEED="${SEED:-1234}"

start eval/reward_accuracy.py MODEL_NAME_OR_PATH... DATA_PATH... TRAIN_DATA_PATH... MAX_PAIRS MAX_SEQ_LEN BATCH_SIZE \
    PROMPT_TEMPLATE SEED OUTPUT_DIR -- "$@"
