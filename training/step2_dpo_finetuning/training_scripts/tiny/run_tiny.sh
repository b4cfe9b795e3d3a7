#!/usr/bin/env bash
# Step 2 on the embedded sample: DPO of the tiny model of step 1.
# Machine: any; 2 CPU cores are enough.
#
#   bash run_tiny.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every variable sets the flag of main.py of that name; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../../launch.sh"
positional OUTPUT_DIR ZERO_STAGE -- "$@"
shift "$TAKEN"

MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/quickstart/sft}"  # model of step 1
OUTPUT_DIR="${OUTPUT_DIR:-$KORLHF_ROOT/output/quickstart/dpo}"  # finished model, checkpoints and training.log
DATA_PATH="${DATA_PATH:-sample/reward}"                           # the embedded sample
DATA_SPLIT="${DATA_SPLIT:-0,10,0}"                                # all of it belongs to this step
EVAL_DATA_PATH="${EVAL_DATA_PATH:-sample/heldout_reward}"         # held-out part of the sample
LOSS="${LOSS:-dpo}"                                               # dpo, ipo, simpo, orpo or kto
BETA="${BETA:-}"                                                  # empty: 2 for simpo, else 0.1
PER_DEVICE_TRAIN_BATCH_SIZE="${PER_DEVICE_TRAIN_BATCH_SIZE:-16}"  # prompts per process and optimizer step
PER_DEVICE_EVAL_BATCH_SIZE="${PER_DEVICE_EVAL_BATCH_SIZE:-$PER_DEVICE_TRAIN_BATCH_SIZE}"
LEARNING_RATE="${LEARNING_RATE:-1e-4}"                            # peak learning rate
NUM_WARMUP_STEPS="${NUM_WARMUP_STEPS:-10}"                        # optimizer steps of linear warm-up
NUM_TRAIN_EPOCHS="${NUM_TRAIN_EPOCHS:-2}"                         # passes over the data
MAX_SEQ_LEN="${MAX_SEQ_LEN:-192}"                                 # tokens of prompt and answer
MAX_ANSWER_SEQ_LEN="${MAX_ANSWER_SEQ_LEN:-64}"                    # longest answer by which the drift is measured
EVAL_INTERVAL="${EVAL_INTERVAL:-78}"                              # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-20}"                                    # steps between resumable checkpoints
ZERO_STAGE="${ZERO_STAGE:-0}"                                     # ZeRO stage
NUM_PROCESSES="${NUM_PROCESSES:-1}"                               # processes
DTYPE="${DTYPE:-fp32}"                                            # also on a GPU: the model is tiny
SEED="${SEED:-1234}"                                              # seed of the shuffle and sampled answers

launch step2_dpo MODEL_NAME_OR_PATH OUTPUT_DIR DATA_PATH... DATA_SPLIT EVAL_DATA_PATH... LOSS BETA \
    PER_DEVICE_TRAIN_BATCH_SIZE PER_DEVICE_EVAL_BATCH_SIZE LEARNING_RATE NUM_WARMUP_STEPS NUM_TRAIN_EPOCHS MAX_SEQ_LEN \
    MAX_ANSWER_SEQ_LEN ZERO_STAGE DTYPE SEED EVAL_INTERVAL SAVE_STEPS -- "$@"
