#!/usr/bin/env bash
# Step 2, reward model: recipe v3 of the original project. As v2 without the harmful prompts, because
# after PPO the v2 bot took harmless talk for hate.
# Its data is made by data_prep/run_v3.sh.
# LoRA rank 8, 16 prompts x 4 forward passes a step, 1 epoch.
# Machine: one GPU of 24 GB or more (MODEL=EleutherAI/polyglot-ko-5.8b: of 40 GB).
#
#   bash run_v3.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every setting can also be given in the environment (SEED=1 bash ...); flags after the positional words go to main.py and win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional OUTPUT ZERO_STAGE -- "$@"
shift "$TAKEN"

MODEL="${MODEL:-EleutherAI/polyglot-ko-1.3b}"                     # hub name or folder
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/reward_v3}"                 # the finished model, the checkpoints and training.log
DATA_PATH="${DATA_PATH:-v3/reward}"                               # datasets, separated by spaces; this one has its own test pairs
DATA_SPLIT="${DATA_SPLIT:-0,10,0}"                                # all of it belongs to this step
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-kullm}"                       # how a conversation is written; saved with the model
BATCH="${BATCH:-16}"                                              # prompts per process and forward pass
ACCUMULATION="${ACCUMULATION:-4}"                                 # forward passes per optimizer step
EPOCHS="${EPOCHS:-1}"                                             # passes over the data; more than one overfits a reward model
LORA_DIM="${LORA_DIM:-8}"                                         # LoRA rank
LORA_LEARNING_RATE="${LORA_LEARNING_RATE:-5e-4}"                  # peak learning rate of the LoRA weights
LEARNING_RATE="${LEARNING_RATE:-9.65e-6}"                         # peak learning rate of the new score head
WARMUP_STEPS="${WARMUP_STEPS:-0}"                                 # optimizer steps of linear warm-up
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens of prompt and answer; longer ones are left out
ZERO_STAGE="${ZERO_STAGE:-0}"                                     # ZeRO stage: 2 spreads gradients and optimizer; 3 weights too
DROPOUT="${DROPOUT:-0}"                                           # dropout probability of the model
DTYPE="${DTYPE:-auto}"                                            # auto = bf16 where the hardware has it
SEED="${SEED:-1234}"                                              # seed of the split, the shuffle and the new weights
EVAL_INTERVAL="${EVAL_INTERVAL:-10}"                              # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-10}"                                    # steps between resumable checkpoints

words DATA "$DATA_PATH"
launch "$KORLHF_ROOT/training/step2_reward_model_finetuning" "$OUTPUT" \
    --model_name_or_path "$MODEL" \
    --data_path "${DATA[@]}" \
    --data_split "$DATA_SPLIT" \
    --prompt_template "$PROMPT_TEMPLATE" \
    --per_device_train_batch_size "$BATCH" \
    --per_device_eval_batch_size "$BATCH" \
    --gradient_accumulation_steps "$ACCUMULATION" \
    --num_train_epochs "$EPOCHS" \
    --lora_dim "$LORA_DIM" \
    --lora_learning_rate "$LORA_LEARNING_RATE" \
    --learning_rate "$LEARNING_RATE" \
    --num_warmup_steps "$WARMUP_STEPS" \
    --max_seq_len "$MAX_SEQ_LEN" \
    --zero_stage "$ZERO_STAGE" \
    --dtype "$DTYPE" \
    --seed "$SEED" \
    --eval_interval "$EVAL_INTERVAL" \
    --save_steps "$SAVE_STEPS" \
    --gradient_checkpointing \
    --dropout "$DROPOUT" \
    "$@"
