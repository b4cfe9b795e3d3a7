#!/usr/bin/env bash
# Step 2, DPO: Polyglot-Ko 12.8B, all weights, on several machines.
# Machine: two or more of 8 GPUs of 40 GB or more. The project, its virtual environment, the model, the data and OUTPUT
# must lie at the same path on all of them (a shared disk). With a HOSTFILE this one must reach the others by ssh without
# a password, and pdsh must be installed here. Inside of torchrun or srun, which start this script once for each GPU,
# the HOSTFILE is not needed:
#
#   torchrun --no_python --nnodes 2 --node_rank K --nproc_per_node 8 --master_addr HOST --master_port 29500 \
#       bash run_12.8b.sh
#   srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 bash run_12.8b.sh
#
#   bash run_12.8b.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every variable sets the flag of main.py of that name; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../../launch.sh"
positional OUTPUT_DIR ZERO_STAGE -- "$@"
shift "$TAKEN"

MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/sft_polyglot_12.8b_full}"  # model of step 1
# finished model, checkpoints and training.log
OUTPUT_DIR="${OUTPUT_DIR:-$KORLHF_ROOT/output/dpo_polyglot_12.8b_full}"
HOSTFILE="${HOSTFILE:-hostfile}"                                  # one line per machine: NAME slots=GPUS
DATA_PATH="${DATA_PATH:-maywell/ko_Ultrafeedback_binarized heegyu/PKU-SafeRLHF-ko}"  # datasets, separated by spaces
DATA_SPLIT="${DATA_SPLIT:-2,4,4}"                                 # shares of steps 1, 2 and 3; the same in all three
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-kullm}"                       # how a conversation is written; saved with the model
LOSS="${LOSS:-dpo}"                                               # dpo, ipo, simpo, orpo or kto
BETA="${BETA:-}"                                                  # empty: 2 for simpo, else 0.1
PER_DEVICE_TRAIN_BATCH_SIZE="${PER_DEVICE_TRAIN_BATCH_SIZE:-4}"   # prompts per process and forward pass
PER_DEVICE_EVAL_BATCH_SIZE="${PER_DEVICE_EVAL_BATCH_SIZE:-$PER_DEVICE_TRAIN_BATCH_SIZE}"
GRADIENT_ACCUMULATION_STEPS="${GRADIENT_ACCUMULATION_STEPS:-1}"   # forward passes per optimizer step
NUM_TRAIN_EPOCHS="${NUM_TRAIN_EPOCHS:-1}"                         # passes over the data; more than one overfits
LEARNING_RATE="${LEARNING_RATE:-1e-6}"                            # peak learning rate
NUM_WARMUP_STEPS="${NUM_WARMUP_STEPS:-50}"                        # optimizer steps of linear warm-up
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens, prompt and answer; longer ones are left out
ZERO_STAGE="${ZERO_STAGE:-3}"                                     # 3: spread everything over all GPUs
DROPOUT="${DROPOUT:-0}"                                           # dropout probability of the model
DTYPE="${DTYPE:-auto}"                                            # auto: bf16 where the hardware has it
SEED="${SEED:-1234}"                                              # seed of the split, the shuffle and sampled answers
EVAL_INTERVAL="${EVAL_INTERVAL:-200}"                             # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-200}"                                   # steps between resumable checkpoints
GRADIENT_CHECKPOINTING="${GRADIENT_CHECKPOINTING:-true}"          # less memory, about 30 % slower

launch step2_dpo MODEL_NAME_OR_PATH OUTPUT_DIR DATA_PATH... DATA_SPLIT PROMPT_TEMPLATE LOSS BETA \
    PER_DEVICE_TRAIN_BATCH_SIZE PER_DEVICE_EVAL_BATCH_SIZE GRADIENT_ACCUMULATION_STEPS NUM_TRAIN_EPOCHS LEARNING_RATE \
    NUM_WARMUP_STEPS MAX_SEQ_LEN ZERO_STAGE DTYPE SEED EVAL_INTERVAL SAVE_STEPS GRADIENT_CHECKPOINTING? DROPOUT \
    -- "$@"
