#!/usr/bin/env bash
# Step 2 on the embedded sample: a reward model from the tiny model of step 1, which knows the template.
# Machine: any; 2 CPU cores are enough.
#
#   bash run_tiny.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every variable sets the flag of main.py of that name; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../../launch.sh"
positional OUTPUT_DIR ZERO_STAGE -- "$@"
shift "$TAKEN"

MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/quickstart/sft}"  # the tiny model of step 1
OUTPUT_DIR="${OUTPUT_DIR:-$KORLHF_ROOT/output/quickstart/reward}"  # finished model, checkpoints and training.log
DATA_PATH="${DATA_PATH:-sample/reward}"                           # the embedded sample
DATA_SPLIT="${DATA_SPLIT:-0,10,0}"                                # all of it belongs to this step
EVAL_DATA_PATH="${EVAL_DATA_PATH:-sample/heldout_reward}"         # held-out part of the sample
PER_DEVICE_TRAIN_BATCH_SIZE="${PER_DEVICE_TRAIN_BATCH_SIZE:-4}"   # prompts per process and optimizer step
PER_DEVICE_EVAL_BATCH_SIZE="${PER_DEVICE_EVAL_BATCH_SIZE:-$PER_DEVICE_TRAIN_BATCH_SIZE}"
LEARNING_RATE="${LEARNING_RATE:-4e-4}"                            # peak learning rate
NUM_WARMUP_STEPS="${NUM_WARMUP_STEPS:-40}"                        # optimizer steps of linear warm-up
NUM_TRAIN_EPOCHS="${NUM_TRAIN_EPOCHS:-4}"                         # passes over the data
DROPOUT="${DROPOUT:-0.1}"                                         # of the model, while it is trained
MAX_SEQ_LEN="${MAX_SEQ_LEN:-192}"                                 # tokens of prompt and answer
EVAL_INTERVAL="${EVAL_INTERVAL:-620}"                             # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-80}"                                    # steps between resumable checkpoints
ZERO_STAGE="${ZERO_STAGE:-0}"                                     # ZeRO stage
NUM_PROCESSES="${NUM_PROCESSES:-1}"                               # processes
DTYPE="${DTYPE:-fp32}"                                            # also on a GPU: the model is tiny
SEED="${SEED:-1234}"                                              # seed of the shuffle and the new weights

launch step2 MODEL_NAME_OR_PATH OUTPUT_DIR DATA_PATH... DATA_SPLIT EVAL_DATA_PATH... PER_DEVICE_TRAIN_BATCH_SIZE \
    PER_DEVICE_EVAL_BATCH_SIZE LEARNING_RATE NUM_WARMUP_STEPS NUM_TRAIN_EPOCHS DROPOUT MAX_SEQ_LEN ZERO_STAGE DTYPE \
    SEED EVAL_INTERVAL SAVE_STEPS -- "$@"
