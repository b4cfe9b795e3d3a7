#!/usr/bin/env bash
# Step 1 on the embedded sample: supervised fine-tuning of the tiny base model that run_base.sh made.
# Machine: any; 2 CPU cores are enough.
#
#   bash run_tiny.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every setting can also be given in the environment (SEED=1 bash ...); flags after the positional words go to main.py and win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional OUTPUT ZERO_STAGE -- "$@"
shift "$TAKEN"

MODEL="${MODEL:-$KORLHF_ROOT/output/quickstart/base}"             # the pretrained tiny model
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/quickstart/sft}"            # the finished model, the checkpoints and training.log
DATA_PATH="${DATA_PATH:-sample/sft}"                              # the embedded sample
DATA_SPLIT="${DATA_SPLIT:-10,0,0}"                                # all of it belongs to this step
EVAL_DATA_PATH="${EVAL_DATA_PATH:-sample/heldout_sft}"            # held-out part of the sample
BATCH="${BATCH:-16}"                                              # examples per process and optimizer step
LEARNING_RATE="${LEARNING_RATE:-5e-4}"                            # peak learning rate
EPOCHS="${EPOCHS:-1}"                                             # passes over the data
MAX_SEQ_LEN="${MAX_SEQ_LEN:-192}"                                 # tokens of prompt and answer
EVAL_INTERVAL="${EVAL_INTERVAL:-30}"                              # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-25}"                                    # steps between resumable checkpoints
ZERO_STAGE="${ZERO_STAGE:-0}"                                     # ZeRO stage
export NUM_PROCESSES="${NUM_PROCESSES:-1}"                        # processes
DTYPE="${DTYPE:-fp32}"                                            # also on a GPU: the model is tiny
SEED="${SEED:-1234}"                                              # seed of the shuffle and the new weights

words DATA "$DATA_PATH"
words EVAL_DATA "$EVAL_DATA_PATH"
launch "$KORLHF_ROOT/training/step1_supervised_finetuning" "$OUTPUT" \
    --model_name_or_path "$MODEL" \
    --data_path "${DATA[@]}" \
    --data_split "$DATA_SPLIT" \
    --eval_data_path "${EVAL_DATA[@]}" \
    --per_device_train_batch_size "$BATCH" \
    --per_device_eval_batch_size "$BATCH" \
    --learning_rate "$LEARNING_RATE" \
    --num_train_epochs "$EPOCHS" \
    --max_seq_len "$MAX_SEQ_LEN" \
    --zero_stage "$ZERO_STAGE" \
    --dtype "$DTYPE" \
    --seed "$SEED" \
    --eval_interval "$EVAL_INTERVAL" \
    --save_steps "$SAVE_STEPS" \
    "$@"
