#!/usr/bin/env bash
# Step 3 on the embedded sample: PPO of the tiny model of step 1 against the tiny reward model of step 2.
# Machine: any; 2 CPU cores are enough.
#
#   bash run_tiny.sh [ACTOR] [CRITIC] [ACTOR_ZERO_STAGE] [CRITIC_ZERO_STAGE] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (SEED=1 bash ...); flags after the positional words go to main.py and win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../launch.sh"
positional ACTOR CRITIC ACTOR_ZERO_STAGE CRITIC_ZERO_STAGE OUTPUT -- "$@"
shift "$TAKEN"

ACTOR="${ACTOR:-$KORLHF_ROOT/output/quickstart/sft}"              # model of step 1
CRITIC="${CRITIC:-$KORLHF_ROOT/output/quickstart/reward}"         # reward model of step 2; the critic starts from it
OUTPUT="${OUTPUT:-$KORLHF_ROOT/output/quickstart/ppo}"            # the finished model, the checkpoints and training.log
DATA_PATH="${DATA_PATH:-sample/prompts}"                          # the embedded sample
DATA_SPLIT="${DATA_SPLIT:-0,0,10}"                                # all of it belongs to this step
EVAL_DATA_PATH="${EVAL_DATA_PATH:-sample/heldout_prompts}"        # held-out part of the sample
BATCH="${BATCH:-64}"                                              # prompts per process and PPO step
TRAINING_BATCH="${TRAINING_BATCH:-32}"                            # answers per process and gradient step
EPOCHS="${EPOCHS:-7}"                                             # passes over the prompts
ACTOR_LEARNING_RATE="${ACTOR_LEARNING_RATE:-7e-4}"                # peak learning rates
CRITIC_LEARNING_RATE="${CRITIC_LEARNING_RATE:-1e-3}"
KL_COEF="${KL_COEF:-0.1}"                                         # weight of the per-token KL penalty at the start
KL_TARGET="${KL_TARGET:-10}"                                      # the weight is steered to this KL per answer (nats); 0 = it stays
MAX_PROMPT_SEQ_LEN="${MAX_PROMPT_SEQ_LEN:-128}"                   # tokens
MAX_ANSWER_SEQ_LEN="${MAX_ANSWER_SEQ_LEN:-64}"                    # tokens, EOS included
EVAL_STEPS="${EVAL_STEPS:-14}"                                    # PPO steps between scorings of the held-out prompts
SAVE_STEPS="${SAVE_STEPS:-7}"                                     # PPO steps between resumable checkpoints
ACTOR_ZERO_STAGE="${ACTOR_ZERO_STAGE:-0}"                         # ZeRO stages
CRITIC_ZERO_STAGE="${CRITIC_ZERO_STAGE:-0}"
export NUM_PROCESSES="${NUM_PROCESSES:-1}"                        # processes
DTYPE="${DTYPE:-fp32}"                                            # also on a GPU: the model is tiny
SEED="${SEED:-1234}"                                              # seed of the shuffle and the sampler

words DATA "$DATA_PATH"
words EVAL_DATA "$EVAL_DATA_PATH"
launch "$KORLHF_ROOT/training/step3_rlhf_finetuning" "$OUTPUT" \
    --actor_model_name_or_path "$ACTOR" \
    --critic_model_name_or_path "$CRITIC" \
    --data_path "${DATA[@]}" \
    --data_split "$DATA_SPLIT" \
    --eval_data_path "${EVAL_DATA[@]}" \
    --per_device_generation_batch_size "$BATCH" \
    --per_device_training_batch_size "$TRAINING_BATCH" \
    --num_train_epochs "$EPOCHS" \
    --actor_learning_rate "$ACTOR_LEARNING_RATE" \
    --critic_learning_rate "$CRITIC_LEARNING_RATE" \
    --kl_coef "$KL_COEF" \
    --kl_target "$KL_TARGET" \
    --max_prompt_seq_len "$MAX_PROMPT_SEQ_LEN" \
    --max_answer_seq_len "$MAX_ANSWER_SEQ_LEN" \
    --actor_zero_stage "$ACTOR_ZERO_STAGE" \
    --critic_zero_stage "$CRITIC_ZERO_STAGE" \
    --dtype "$DTYPE" \
    --seed "$SEED" \
    --eval_steps "$EVAL_STEPS" \
    --save_steps "$SAVE_STEPS" \
    "$@"
