#!/usr/bin/env bash
# Step 3, PPO: KULLM-Polyglot 12.8B v2 with LoRA, with a Polyglot-Ko 5.8B reward model.
# Machine: one GPU of 80 GB, or several.
# KULLM's tokenizer is Polyglot-Ko's, so the critic reads the actor's tokens as they are.
#
#   bash run_12.8b_lora.sh [ACTOR] [CRITIC] [ACTOR_ZERO_STAGE] [CRITIC_ZERO_STAGE] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (SEED=1 bash ...); flags after the positional words go to main.py and win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional ACTOR CRITIC ACTOR_ZERO_STAGE CRITIC_ZERO_STAGE OUTPUT -- "$@"
shift "$TAKEN"

ACTOR="${ACTOR:-nlpai-lab/kullm-polyglot-12.8b-v2}"               # hub name or folder; or the model of step 1: output/sft_kullm_12.8b
CRITIC="${CRITIC:-$KORLHF_ROOT/output/reward_polyglot_5.8b}"      # reward model of step 2; the critic starts from it
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/ppo_kullm_12.8b}"           # the finished model, the checkpoints and training.log
DATA_PATH="${DATA_PATH:-maywell/ko_Ultrafeedback_binarized heegyu/PKU-SafeRLHF-ko}"  # datasets whose prompts are used
DATA_SPLIT="${DATA_SPLIT:-2,4,4}"                                 # shares of steps 1, 2 and 3; the same in all three
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-kullm}"                       # how a conversation is written; saved with the model
GENERATION_BATCH="${GENERATION_BATCH:-32}"                        # prompts per process sampled at once
GENERATION_BATCHES="${GENERATION_BATCHES:-1}"                     # sampled batches per PPO step
TRAINING_BATCH="${TRAINING_BATCH:-4}"                             # answers per process and forward pass of an update
ACCUMULATION="${ACCUMULATION:-8}"                                 # forward passes per optimizer step
EPOCHS="${EPOCHS:-1}"                                             # passes over the prompts
PPO_EPOCHS="${PPO_EPOCHS:-1}"                                     # passes over each step's answers
ACTOR_LORA_DIM="${ACTOR_LORA_DIM:-128}"                           # LoRA rank of the actor; the reference is the actor with its adapter off
ACTOR_LORA_LEARNING_RATE="${ACTOR_LORA_LEARNING_RATE:-2e-5}"      # peak learning rate of its LoRA weights
CRITIC_LORA_DIM="${CRITIC_LORA_DIM:-16}"                          # LoRA rank of the critic
CRITIC_LORA_LEARNING_RATE="${CRITIC_LORA_LEARNING_RATE:-9e-5}"    # peak learning rate of its LoRA weights
WARMUP_STEPS="${WARMUP_STEPS:-20}"                                # optimizer steps of linear warm-up
KL_COEF="${KL_COEF:-0.05}"                                        # weight of the per-token KL penalty
MAX_PROMPT_SEQ_LEN="${MAX_PROMPT_SEQ_LEN:-256}"                   # tokens; longer prompts are left out
MAX_ANSWER_SEQ_LEN="${MAX_ANSWER_SEQ_LEN:-256}"                   # tokens, EOS included
ACTOR_ZERO_STAGE="${ACTOR_ZERO_STAGE:-2}"                         # ZeRO stages: 2 spreads gradients and optimizer; 3 weights too
CRITIC_ZERO_STAGE="${CRITIC_ZERO_STAGE:-2}"
DTYPE="${DTYPE:-auto}"                                            # auto = bf16 where the hardware has it
SEED="${SEED:-1234}"                                              # seed of the split, the shuffle and the sampler
EVAL_STEPS="${EVAL_STEPS:-20}"                                    # PPO steps between scorings of the held-out prompts
MAX_EVAL_EXAMPLES="${MAX_EVAL_EXAMPLES:-512}"                     # held-out prompts at most
SAVE_STEPS="${SAVE_STEPS:-20}"                                    # PPO steps between resumable checkpoints

words DATA "$DATA_PATH"
launch "$KORLHF_ROOT/training/step3_rlhf_finetuning" "$OUTPUT" \
    --actor_model_name_or_path "$ACTOR" \
    --critic_model_name_or_path "$CRITIC" \
    --data_path "${DATA[@]}" \
    --data_split "$DATA_SPLIT" \
    --prompt_template "$PROMPT_TEMPLATE" \
    --per_device_generation_batch_size "$GENERATION_BATCH" \
    --generation_batches "$GENERATION_BATCHES" \
    --per_device_training_batch_size "$TRAINING_BATCH" \
    --gradient_accumulation_steps "$ACCUMULATION" \
    --num_train_epochs "$EPOCHS" \
    --ppo_epochs "$PPO_EPOCHS" \
    --actor_lora_dim "$ACTOR_LORA_DIM" \
    --actor_lora_learning_rate "$ACTOR_LORA_LEARNING_RATE" \
    --critic_lora_dim "$CRITIC_LORA_DIM" \
    --critic_lora_learning_rate "$CRITIC_LORA_LEARNING_RATE" \
    --num_warmup_steps "$WARMUP_STEPS" \
    --kl_coef "$KL_COEF" \
    --max_prompt_seq_len "$MAX_PROMPT_SEQ_LEN" \
    --max_answer_seq_len "$MAX_ANSWER_SEQ_LEN" \
    --actor_zero_stage "$ACTOR_ZERO_STAGE" \
    --critic_zero_stage "$CRITIC_ZERO_STAGE" \
    --dtype "$DTYPE" \
    --seed "$SEED" \
    --eval_steps "$EVAL_STEPS" \
    --max_eval_examples "$MAX_EVAL_EXAMPLES" \
    --save_steps "$SAVE_STEPS" \
    --actor_gradient_checkpointing \
    --critic_gradient_checkpointing \
    "$@"
