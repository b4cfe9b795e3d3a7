#!/usr/bin/env bash
# Step 1, supervised fine-tuning: any causal language model of the hub or a folder (Llama, Qwen, Gemma ...), with LoRA.
# Machine: one GPU that holds the model in bf16 with room to spare, or several with ZERO_STAGE=3. A model that comes
# with its own Python code needs --trust_remote_code at the end of the command line.
#
#   bash run_any_model.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every variable sets the flag of main.py of that name; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../../launch.sh"
positional OUTPUT_DIR ZERO_STAGE -- "$@"
shift "$TAKEN"

RUN_NAME="${RUN_NAME:-any}"                                       # stands in the names of the folders
MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-Qwen/Qwen2.5-1.5B-Instruct}"  # hub name or folder
OUTPUT_DIR="${OUTPUT_DIR:-$KORLHF_ROOT/output/sft_$RUN_NAME}"  # finished model, checkpoints and training.log
DATA_PATH="${DATA_PATH:-nlpai-lab/kullm-v2 beomi/KoAlpaca-v1.1a}"  # datasets, separated by spaces
DATA_SPLIT="${DATA_SPLIT:-2,4,4}"                                 # shares of steps 1, 2 and 3; the same in all three
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-auto}"                        # auto: the model's own, else kullm
PER_DEVICE_TRAIN_BATCH_SIZE="${PER_DEVICE_TRAIN_BATCH_SIZE:-8}"   # examples per process and forward pass
PER_DEVICE_EVAL_BATCH_SIZE="${PER_DEVICE_EVAL_BATCH_SIZE:-$PER_DEVICE_TRAIN_BATCH_SIZE}"
GRADIENT_ACCUMULATION_STEPS="${GRADIENT_ACCUMULATION_STEPS:-4}"   # forward passes per optimizer step
NUM_TRAIN_EPOCHS="${NUM_TRAIN_EPOCHS:-3}"                         # passes over the data
LORA_DIM="${LORA_DIM:-16}"                                        # LoRA rank
LORA_LEARNING_RATE="${LORA_LEARNING_RATE:-2e-4}"                  # peak learning rate of the LoRA weights
NUM_WARMUP_STEPS="${NUM_WARMUP_STEPS:-50}"                        # optimizer steps of linear warm-up
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens, prompt and answer; longer ones are left out
ZERO_STAGE="${ZERO_STAGE:-2}"                                     # 2: spread gradients and optimizer; 3: weights too
DTYPE="${DTYPE:-auto}"                                            # auto: bf16 where the hardware has it
SEED="${SEED:-1234}"                                              # seed of the split, the shuffle and the new weights
EVAL_INTERVAL="${EVAL_INTERVAL:-200}"                             # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-200}"                                   # steps between resumable checkpoints
GRADIENT_CHECKPOINTING="${GRADIENT_CHECKPOINTING:-true}"          # less memory, about 30 % slower

launch step1 MODEL_NAME_OR_PATH OUTPUT_DIR DATA_PATH... DATA_SPLIT PROMPT_TEMPLATE PER_DEVICE_TRAIN_BATCH_SIZE \
    PER_DEVICE_EVAL_BATCH_SIZE GRADIENT_ACCUMULATION_STEPS NUM_TRAIN_EPOCHS LORA_DIM LORA_LEARNING_RATE \
    NUM_WARMUP_STEPS MAX_SEQ_LEN ZERO_STAGE DTYPE SEED EVAL_INTERVAL SAVE_STEPS GRADIENT_CHECKPOINTING? -- "$@"
