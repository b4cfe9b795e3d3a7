#!/usr/bin/env bash
# Step 3, PPO: any causal language model of the hub or of a folder (Llama, Qwen, Gemma, ...), with LoRA.
# Machine: one GPU that holds the actor once and the reward model twice in bf16 with room to spare, or several with ZeRO
# stages 3. The critic must read the actor's tokens. With a reward model of another tokenizer give the actor as CRITIC
# (it gets a new value head) and the reward model at the end of the command line: --reward_model_name_or_path FOLDER. A
# model that comes with its own Python code needs --trust_remote_code there.
#
#   bash run_any_model.sh [ACTOR] [CRITIC] [ACTOR_ZERO_STAGE] [CRITIC_ZERO_STAGE] [OUTPUT] [--flag value ...]
#
# Every variable sets the flag of main.py of that name; SEED=1 bash ... overrides one, and flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../../launch.sh"
positional ACTOR_MODEL_NAME_OR_PATH CRITIC_MODEL_NAME_OR_PATH ACTOR_ZERO_STAGE CRITIC_ZERO_STAGE OUTPUT_DIR -- "$@"
shift "$TAKEN"

RUN_NAME="${RUN_NAME:-any}"                                       # stands in the names of the folders
ACTOR_MODEL_NAME_OR_PATH="${ACTOR_MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/sft_$RUN_NAME}"  # of step 1, or any other
# reward model of step 2, from which the critic starts too
CRITIC_MODEL_NAME_OR_PATH="${CRITIC_MODEL_NAME_OR_PATH:-$KORLHF_ROOT/output/reward_$RUN_NAME}"
REWARD="${REWARD:-}"  # what scores in place of CRITIC: "0.8*output/reward 0.2*rules:friendly"
OUTPUT_DIR="${OUTPUT_DIR:-$KORLHF_ROOT/output/ppo_$RUN_NAME}"  # finished model, checkpoints and training.log
DATA_PATH="${DATA_PATH:-maywell/ko_Ultrafeedback_binarized heegyu/PKU-SafeRLHF-ko}"  # datasets whose prompts are used
DATA_SPLIT="${DATA_SPLIT:-2,4,4}"                                 # shares of steps 1, 2 and 3; the same in all three
PROMPT_TEMPLATE="${PROMPT_TEMPLATE:-auto}"                        # auto: the actor's own, saved with it in step 1
ADVANTAGE_ESTIMATOR="${ADVANTAGE_ESTIMATOR:-gae}"                 # gae: PPO; without a critic: rloo, grpo, reinforce
NUM_GENERATIONS="${NUM_GENERATIONS:-1}"                           # answers to each prompt; for rloo and grpo 4 or more
PER_DEVICE_GENERATION_BATCH_SIZE="${PER_DEVICE_GENERATION_BATCH_SIZE:-32}"  # answers per process, sampled at once
GENERATION_BATCHES="${GENERATION_BATCHES:-1}"                     # sampled batches per PPO step
PER_DEVICE_TRAINING_BATCH_SIZE="${PER_DEVICE_TRAINING_BATCH_SIZE:-8}"  # answers per process and forward pass
GRADIENT_ACCUMULATION_STEPS="${GRADIENT_ACCUMULATION_STEPS:-4}"   # forward passes per optimizer step
NUM_TRAIN_EPOCHS="${NUM_TRAIN_EPOCHS:-1}"                         # passes over the prompts
PPO_EPOCHS="${PPO_EPOCHS:-1}"                                     # passes over each step's answers
ACTOR_LORA_DIM="${ACTOR_LORA_DIM:-16}"                            # LoRA rank; the reference is the actor without LoRA
ACTOR_LORA_LEARNING_RATE="${ACTOR_LORA_LEARNING_RATE:-2e-5}"      # peak learning rate of its LoRA weights
CRITIC_LORA_DIM="${CRITIC_LORA_DIM:-16}"                          # LoRA rank of the critic
CRITIC_LORA_LEARNING_RATE="${CRITIC_LORA_LEARNING_RATE:-9e-5}"    # peak learning rate of its LoRA weights
NUM_WARMUP_STEPS="${NUM_WARMUP_STEPS:-20}"                        # optimizer steps of linear warm-up
KL_COEF="${KL_COEF:-0.05}"                                        # weight of the per-token KL penalty
MAX_PROMPT_SEQ_LEN="${MAX_PROMPT_SEQ_LEN:-256}"                   # tokens; longer prompts are left out
MAX_ANSWER_SEQ_LEN="${MAX_ANSWER_SEQ_LEN:-256}"                   # tokens, EOS included
ACTOR_ZERO_STAGE="${ACTOR_ZERO_STAGE:-2}"                         # 2: spread gradients and optimizer; 3: weights too
CRITIC_ZERO_STAGE="${CRITIC_ZERO_STAGE:-2}"
DTYPE="${DTYPE:-auto}"                                            # auto: bf16 where the hardware has it
SEED="${SEED:-1234}"                                              # seed of the split, the shuffle and the sampler
EVAL_INTERVAL="${EVAL_INTERVAL:-20}"                              # PPO steps between evaluations on held-out prompts
MAX_EVAL_EXAMPLES="${MAX_EVAL_EXAMPLES:-512}"                     # held-out prompts at most
SAVE_STEPS="${SAVE_STEPS:-20}"                                    # PPO steps between resumable checkpoints
ACTOR_GRADIENT_CHECKPOINTING="${ACTOR_GRADIENT_CHECKPOINTING:-true}"  # less memory, about 30 % slower
CRITIC_GRADIENT_CHECKPOINTING="${CRITIC_GRADIENT_CHECKPOINTING:-true}"

launch step3 ACTOR_MODEL_NAME_OR_PATH CRITIC_MODEL_NAME_OR_PATH OUTPUT_DIR DATA_PATH... DATA_SPLIT PROMPT_TEMPLATE \
    REWARD... ADVANTAGE_ESTIMATOR NUM_GENERATIONS PER_DEVICE_GENERATION_BATCH_SIZE GENERATION_BATCHES \
    PER_DEVICE_TRAINING_BATCH_SIZE GRADIENT_ACCUMULATION_STEPS NUM_TRAIN_EPOCHS PPO_EPOCHS ACTOR_LORA_DIM \
    ACTOR_LORA_LEARNING_RATE CRITIC_LORA_DIM CRITIC_LORA_LEARNING_RATE NUM_WARMUP_STEPS KL_COEF MAX_PROMPT_SEQ_LEN \
    MAX_ANSWER_SEQ_LEN ACTOR_ZERO_STAGE CRITIC_ZERO_STAGE DTYPE SEED EVAL_INTERVAL MAX_EVAL_EXAMPLES SAVE_STEPS \
    ACTOR_GRADIENT_CHECKPOINTING? CRITIC_GRADIENT_CHECKPOINTING? -- "$@"
