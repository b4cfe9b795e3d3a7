#!/usr/bin/env bash
# Step 1, supervised fine-tuning: Polyglot-Ko 12.8B with LoRA.
# Machine: one GPU of 80 GB, or several of 40 GB.
#
#   bash run_12.8b_lora.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every setting can also be given in the environment (SEED=1 bash ...); flags after the positional words go to main.py and win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional OUTPUT ZERO_STAGE -- "$@"
shift "$TAKEN"

MODEL="${MODEL:-EleutherAI/polyglot-ko-12.8b}"                    # hub name or folder
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/sft_polyglot_12.8b}"        # the finished model, the checkpoints and training.log
DATA_PATH="${DATA_PATH:-nlpai-lab/kullm-v2 beomi/KoAlpaca-v1.1a}"  # datasets, separated by spaces
DATA_SPLIT="${DATA_SPLIT:-2,4,4}"                                 # shares of steps 1, 2 and 3; the same in all three
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-kullm}"                       # how a conversation is written; saved with the model
BATCH="${BATCH:-4}"                                               # examples per process and forward pass
ACCUMULATION="${ACCUMULATION:-8}"                                 # forward passes per optimizer step
EPOCHS="${EPOCHS:-3}"                                             # passes over the data
LORA_DIM="${LORA_DIM:-16}"                                        # LoRA rank
LORA_LEARNING_RATE="${LORA_LEARNING_RATE:-1e-4}"                  # peak learning rate of the LoRA weights
WARMUP_STEPS="${WARMUP_STEPS:-50}"                                # optimizer steps of linear warm-up
MAX_SEQ_LEN="${MAX_SEQ_LEN:-512}"                                 # tokens of prompt and answer; longer ones are left out
ZERO_STAGE="${ZERO_STAGE:-2}"                                     # ZeRO stage: 2 spreads gradients and optimizer; 3 weights too
DTYPE="${DTYPE:-auto}"                                            # auto = bf16 where the hardware has it
SEED="${SEED:-1234}"                                              # seed of the split, the shuffle and the new weights
EVAL_INTERVAL="${EVAL_INTERVAL:-200}"                             # steps between evaluations
SAVE_STEPS="${SAVE_STEPS:-200}"                                   # steps between resumable checkpoints

words DATA "$DATA_PATH"
launch "$KORLHF_ROOT/training/step1_supervised_finetuning" "$OUTPUT" \
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
    --num_warmup_steps "$WARMUP_STEPS" \
    --max_seq_len "$MAX_SEQ_LEN" \
    --zero_stage "$ZERO_STAGE" \
    --dtype "$DTYPE" \
    --seed "$SEED" \
    --eval_interval "$EVAL_INTERVAL" \
    --save_steps "$SAVE_STEPS" \
    --gradient_checkpointing \
    "$@"
