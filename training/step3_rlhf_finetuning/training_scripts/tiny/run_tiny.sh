#!/usr/bin/env bash
# Step 3 on the embedded sample: PPO of the tiny model of step 1 against the tiny reward model of step 2.
# Machine: any; 2 CPU cores are enough.
#
#   bash run_tiny.sh [ACTOR] [CRITIC] [ACTOR_ZERO_STAGE] [CRITIC_ZERO_STAGE] [OUTPUT] [--flag value ...]
#
# Every variable sets the flag of main.py of that name; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../../launch.sh"
positional ACTOR_MODEL_NAME_OR_PATH CRITIC_MODEL_NAME_OR_PATH ACTOR_ZERO_STAGE CRITIC_ZERO_STAGE OUTPUT_DIR -- "$@"
shift "$TAKEN"

ACTOR_MODEL_NAME_OR_PATH="${ACTOR_MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/quickstart/sft}"  # model of step 1
# reward model of step 2, from which the critic starts too
CRITIC_MODEL_NAME_OR_PATH="${CRITIC_MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/quickstart/reward}"
REWARD="${REWARD:-}"  # what scores in place of CRITIC: "0.8*output/reward 0.2*rules:friendly"
OUTPUT_DIR="${OUTPUT_DIR:-$KORLHF_ROOT/output/quickstart/ppo}"    # finished model, checkpoints and training.log
DATA_PATH="${DATA_PATH:-sample/prompts}"                          # the embedded sample
DATA_SPLIT="${DATA_SPLIT:-0,0,10}"                                # all of it belongs to this step
EVAL_DATA_PATH="${EVAL_DATA_PATH:-sample/heldout_prompts}"        # held-out part of the sample
ADVANTAGE_ESTIMATOR="${ADVANTAGE_ESTIMATOR:-gae}"                 # gae: PPO; without a critic: rloo, grpo, reinforce
NUM_GENERATIONS="${NUM_GENERATIONS:-1}"                           # answers to each prompt; for rloo and grpo 4 or more
PER_DEVICE_GENERATION_BATCH_SIZE="${PER_DEVICE_GENERATION_BATCH_SIZE:-64}"  # answers per process and step
PER_DEVICE_TRAINING_BATCH_SIZE="${PER_DEVICE_TRAINING_BATCH_SIZE:-32}"  # answers per process and optimizer step
NUM_TRAIN_EPOCHS="${NUM_TRAIN_EPOCHS:-5}"                         # passes over the prompts
ACTOR_LEARNING_RATE="${ACTOR_LEARNING_RATE:-7e-4}"                # peak learning rates
CRITIC_LEARNING_RATE="${CRITIC_LEARNING_RATE:-1e-3}"
KL_COEF="${KL_COEF:-0.1}"                                         # weight of the per-token KL penalty at the start
KL_TARGET="${KL_TARGET:-10}"                                      # target KL per answer in nats; 0: constant weight
MAX_PROMPT_SEQ_LEN="${MAX_PROMPT_SEQ_LEN:-128}"                   # tokens
MAX_ANSWER_SEQ_LEN="${MAX_ANSWER_SEQ_LEN:-64}"                    # tokens, EOS included
EVAL_INTERVAL="${EVAL_INTERVAL:-14}"                              # PPO steps between evaluations on held-out prompts
SAVE_STEPS="${SAVE_STEPS:-7}"                                     # PPO steps between resumable checkpoints
ACTOR_ZERO_STAGE="${ACTOR_ZERO_STAGE:-0}"                         # ZeRO stages
CRITIC_ZERO_STAGE="${CRITIC_ZERO_STAGE:-0}"
NUM_PROCESSES="${NUM_PROCESSES:-1}"                               # processes
DTYPE="${DTYPE:-fp32}"                                            # also on a GPU: the model is tiny
SEED="${SEED:-1234}"                                              # seed of the shuffle and the sampler

launch step3 ACTOR_MODEL_NAME_OR_PATH CRITIC_MODEL_NAME_OR_PATH OUTPUT_DIR DATA_PATH... DATA_SPLIT EVAL_DATA_PATH... \
    REWARD... ADVANTAGE_ESTIMATOR NUM_GENERATIONS PER_DEVICE_GENERATION_BATCH_SIZE PER_DEVICE_TRAINING_BATCH_SIZE \
    NUM_TRAIN_EPOCHS ACTOR_LEARNING_RATE CRITIC_LEARNING_RATE KL_COEF KL_TARGET MAX_PROMPT_SEQ_LEN MAX_ANSWER_SEQ_LEN \
    ACTOR_ZERO_STAGE CRITIC_ZERO_STAGE DTYPE SEED EVAL_INTERVAL SAVE_STEPS -- "$@"
