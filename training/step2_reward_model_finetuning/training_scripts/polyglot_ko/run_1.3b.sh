#!/usr/bin/env bash
# Step 2, reward model: Polyglot-Ko 1.3B, all weights.
# Machine: one GPU of 40 GB, or several smaller ones.
#
#   bash run_1.3b.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every setting can also be given in the environment (SEED=1 bash ...); flags after the positional words go to main.py and win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional OUTPUT ZERO_STAGE -- "$@"
shift "$TAKEN"

MODEL="${MODEL:-EleutherAI/polyglot-ko-1.3b}"                     # hub name or folder
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/reward_polyglot_1.3b}"      # the finished model, the checkpoints and training.log
DATA_PATH="${DATA_PATH:-maywell/ko_Ultrafeedback_binarized heegyu/PKU-SafeRLHF-ko}"  # datasets, separated by spaces
DATA_SPLIT="${DATA_SPLIT:-2,4,4}"                                 # shares of steps 1, 2 and 3; the same in all three
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-kullm}"                       # how a conversation is written; saved with the model
BATCH="${BATCH:-16}"                                              # prompts per process and forward pass
ACCUMULATION="${ACCUMULATION:-2}"                                 # forward passes per optimizer step
EPOCHS="${EPOCHS:-1}"                                             # passes over the data; more than one overfits a reward model
LEARNING_RATE="${LEARNING_RATE:-9e-6}"                            # peak learning rate
WARMUP_STEPS="${WARMUP_STEPS:-50}"                                # optimizer steps of linear warm-up
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens of prompt and answer; longer ones are left out
ZERO_STAGE="${ZERO_STAGE:-2}"                                     # ZeRO stage: 2 spreads gradients and optimizer; 3 weights too
DROPOUT="${DROPOUT:-0}"                                           # dropout probability of the model
DTYPE="${DTYPE:-auto}"                                            # auto = bf16 where the hardware has it
SEED="${SEED:-1234}"                                              # seed of the split, the shuffle and the new weights
EVAL_INTERVAL="${EVAL_INTERVAL:-200}"                             # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-200}"                                   # steps between resumable checkpoints

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
