#!/usr/bin/env bash
# Step 2, reward model: any causal language model of the hub or of a folder (Llama, Qwen, Gemma, GPT-NeoX, ...), with LoRA.
# Machine: one GPU that holds the model in bf16 with room to spare, or several with ZERO_STAGE=3.
# A model that comes with its own Python code needs --trust_remote_code at the end of the command line.
#
#   bash run_any_model.sh [OUTPUT] [ZERO_STAGE] [--flag value ...]
#
# Every setting can also be given in the environment (SEED=1 bash ...); flags after the positional words go to main.py and win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional OUTPUT ZERO_STAGE -- "$@"
shift "$TAKEN"

MODEL="${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}"                      # hub name or folder
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/reward_any}"                # the finished model, the checkpoints and training.log
DATA_PATH="${DATA_PATH:-maywell/ko_Ultrafeedback_binarized heegyu/PKU-SafeRLHF-ko}"  # datasets, separated by spaces
DATA_SPLIT="${DATA_SPLIT:-2,4,4}"                                 # shares of steps 1, 2 and 3; the same in all three
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-auto}"                        # auto: the model's own, else kullm; or chat, human_assistant
BATCH="${BATCH:-8}"                                               # prompts per process and forward pass
ACCUMULATION="${ACCUMULATION:-4}"                                 # forward passes per optimizer step
EPOCHS="${EPOCHS:-1}"                                             # passes over the data; more than one overfits a reward model
LORA_DIM="${LORA_DIM:-16}"                                        # LoRA rank
LORA_LEARNING_RATE="${LORA_LEARNING_RATE:-9e-5}"                  # peak learning rate of the LoRA weights
LEARNING_RATE="${LEARNING_RATE:-9e-6}"                            # peak learning rate of the new score head
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
