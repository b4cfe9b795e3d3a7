#!/usr/bin/env bash
# What a reward model is worth: its accuracy on pairs that it was not trained on, next to the best trivial rules.
# Machine: any; a GPU is used if there is one.
#
#   bash run_rw_eval.sh [MODEL] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (DATA_PATH=mine.jsonl bash ...); flags at the end win.
# Answers to a single prompt:   python rw_eval.py --model_name_or_path MODEL --prompt "안녕?" --answer "네, 안녕하세요!" "몰라."
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional MODEL_NAME_OR_PATH OUTPUT -- "$@"
shift "$TAKEN"

MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/quickstart/reward}"  # step 2's or DeepSpeed-Chat's
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/rw_eval/rw_eval.json}"      # figures; scores of every pair go next to it
DATA_PATH="${DATA_PATH:-sample/heldout_reward}"                   # pairs to score: names or files
TRAIN_DATA_PATH="${TRAIN_DATA_PATH:-}"  # its training data, where trivial rules are chosen; empty: a random half
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens of prompt and answer
PER_DEVICE_EVAL_BATCH_SIZE="${PER_DEVICE_EVAL_BATCH_SIZE:-16}"    # prompts in a forward pass
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-auto}"                        # auto: the template in the model's folder

start training/step2_reward_model_finetuning/rw_eval.py \
    MODEL_NAME_OR_PATH DATA_PATH... TRAIN_DATA_PATH... MAX_SEQ_LEN PER_DEVICE_EVAL_BATCH_SIZE \
    \
    PROMPT_TEMPLATE OUTPUT -- "$@"
