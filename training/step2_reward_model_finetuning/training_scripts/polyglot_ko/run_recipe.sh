#!/usr/bin/env bash
# Step 2, reward model: the recipes of the original project, each on the data that data_prep/run_recipe.sh makes for it.
#   v1   two answers of the SFT model per prompt, a judge chooses one: everyday, harmful and translated prompts
#   v2   two models answer: ChatGPT's answer is chosen over the SFT model's for translated and evol prompts; people
#        chose for everyday and harmful prompts
#   v3   as v2 without the harmful prompts, because after PPO the v2 bot took harmless talk for hate
# LoRA rank 8, 16 prompts x 4 forward passes per step, 1 epoch.
# Machine: one GPU of 24 GB or more (MODEL_NAME_OR_PATH=EleutherAI/polyglot-ko-5.8b: of 40 GB).
#
#   bash run_recipe.sh v1|v2|v3 [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every variable sets the flag of main.py of that name; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../../launch.sh"
positional RECIPE OUTPUT_DIR ZERO_STAGE -- "$@"
shift "$TAKEN"
[[ "${RECIPE:-}" =~ ^v[123]$ ]] || fail "${RECIPE:-no recipe}: give v1, v2 or v3 as the first word"

MODEL_NAME_OR_PATH="${MODEL_NAME_OR_PATH:-EleutherAI/polyglot-ko-1.3b}"  # hub name or folder
OUTPUT_DIR="${OUTPUT_DIR:-$KORLHF_ROOT/output/reward_$RECIPE}"    # finished model, checkpoints and training.log
DATA_PATH="${DATA_PATH:-$RECIPE/reward}"                          # has its own test pairs
DATA_SPLIT="${DATA_SPLIT:-0,10,0}"                                # all of it belongs to this step
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-kullm}"                       # how a conversation is written; saved with the model
PER_DEVICE_TRAIN_BATCH_SIZE="${PER_DEVICE_TRAIN_BATCH_SIZE:-16}"  # prompts per process and forward pass
PER_DEVICE_EVAL_BATCH_SIZE="${PER_DEVICE_EVAL_BATCH_SIZE:-$PER_DEVICE_TRAIN_BATCH_SIZE}"
GRADIENT_ACCUMULATION_STEPS="${GRADIENT_ACCUMULATION_STEPS:-4}"   # forward passes per optimizer step
NUM_TRAIN_EPOCHS="${NUM_TRAIN_EPOCHS:-1}"                         # passes over the data; more than one overfits
LORA_DIM="${LORA_DIM:-8}"                                         # LoRA rank
LORA_LEARNING_RATE="${LORA_LEARNING_RATE:-5e-4}"                  # peak learning rate of the LoRA weights
LEARNING_RATE="${LEARNING_RATE:-9.65e-6}"                         # peak learning rate of the new score head
NUM_WARMUP_STEPS="${NUM_WARMUP_STEPS:-0}"                         # optimizer steps of linear warm-up
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens, prompt and answer; longer ones are left out
ZERO_STAGE="${ZERO_STAGE:-0}"                                     # 2: spread gradients and optimizer; 3: weights too
DROPOUT="${DROPOUT:-0}"                                           # dropout probability of the model
DTYPE="${DTYPE:-auto}"                                            # auto: bf16 where the hardware has it
SEED="${SEED:-1234}"                                              # seed of the split, the shuffle and the new weights
EVAL_INTERVAL="${EVAL_INTERVAL:-10}"                              # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-10}"                                    # steps between resumable checkpoints
GRADIENT_CHECKPOINTING="${GRADIENT_CHECKPOINTING:-true}"          # less memory, about 30 % slower

launch step2 MODEL_NAME_OR_PATH OUTPUT_DIR DATA_PATH... DATA_SPLIT PROMPT_TEMPLATE PER_DEVICE_TRAIN_BATCH_SIZE \
    PER_DEVICE_EVAL_BATCH_SIZE GRADIENT_ACCUMULATION_STEPS NUM_TRAIN_EPOCHS LORA_DIM LORA_LEARNING_RATE \
    LEARNING_RATE NUM_WARMUP_STEPS MAX_SEQ_LEN ZERO_STAGE DTYPE SEED EVAL_INTERVAL SAVE_STEPS \
    GRADIENT_CHECKPOINTING? DROPOUT -- "$@"
