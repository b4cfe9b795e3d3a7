#!/usr/bin/env bash
# What reward models are worth on pairs that they were not trained on, beside trivial rules and a bag-of-words classifier on the same pairs.
# Machine: any; a GPU is used if there is one.
#
#   bash run_reward_accuracy.sh [MODELS] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (DATA_PATH=mine.jsonl bash ...); flags after the positional words win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../training/launch.sh"
positional MODELS OUTPUT -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose model is meant by default
MODELS="${MODELS:-$RUN/reward}"                                   # reward models, one a line (or in one line): [NAME=]FOLDER or hub name
OUTPUT="${OUTPUT:-$RUN/eval}"                                     # folder of the results
DATA_PATH="${DATA_PATH:-sample/heldout_reward}"                   # pairs: names or files
TRAIN_DATA_PATH="${TRAIN_DATA_PATH:-}"                            # what MODELS were trained on; empty: as settings.json in their folders says
MAX_PAIRS="${MAX_PAIRS:-0}"                                       # 0 = all
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens of prompt and answer
BATCH="${BATCH:-16}"                                              # answers in a forward pass
TEMPLATE="${TEMPLATE:-auto}"                                      # auto: the template in the model's folder
SEED="${SEED:-1234}"

words REWARD_MODELS "$MODELS"
words DATA "$DATA_PATH"
TRAIN=()
[[ -z "$TRAIN_DATA_PATH" ]] || words TRAIN "$TRAIN_DATA_PATH"
evaluate reward_accuracy --model_name_or_path "${REWARD_MODELS[@]}" --data_path "${DATA[@]}" ${TRAIN[@]+--train_data_path "${TRAIN[@]}"} \
    --max_pairs "$MAX_PAIRS" --max_seq_len "$MAX_SEQ_LEN" --batch_size "$BATCH" --prompt_template "$TEMPLATE" --seed "$SEED" --output_dir "$OUTPUT" "$@"
