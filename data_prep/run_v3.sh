#!/usr/bin/env bash
# Training sets by recipe v3 of the original project: two models answer each prompt, ChatGPT and the SFT model. For translated and
# evol prompts ChatGPT's answer is chosen; for everyday ones people choose, and what nobody has labelled is left out. As v2, but
# without harmful prompts in the reward set: after PPO the v2 bot took harmless talk for hate.
# Mind the audit: when one model is always chosen, its habits (length, a trailing space) tell the pairs apart without any understanding.
# Corpora on disk as they were downloaded (zips are read in place); licences and where to ask for them: README.md.
#
#   OPENAI_API_KEY=... bash data_prep/run_v3.sh                    up to the answers that people must label
#   OPENAI_API_KEY=... LABELS=labels.jsonl bash data_prep/run_v3.sh
#
# Every setting can also be given in the environment (NIKL=/corpora/nikl bash ...). Results: output/data/v3, by name v3/sft, v3/reward, v3/prompts.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

RECIPE=v3
OUT="${OUT:-$KORLHF_ROOT/output/data/$RECIPE}"
CORPORA="${CORPORA:-$KORLHF_ROOT/corpora}"                        # folder of the corpora below
NIKL="${NIKL-$CORPORA/NIKL_DIALOGUE_2020_v1.3}"                   # folders or zips, one a line; empty: go without
AIHUB="${AIHUB-$CORPORA/147.텍스트 윤리검증 데이터}"              # AIHub 558
ENGLISH="${ENGLISH-$CORPORA/rlhf-reward-datasets/train.jsonl}"    # prompt, chosen, rejected; a file
ENGLISH_SET="${ENGLISH_SET:-yitingxie/rlhf-reward-datasets}"      # which set that is
EVOL="${EVOL-$CORPORA/evol_instruct.json}"                        # lcw99/evolve-instruct, for the SFT set
PER_TOPIC="${PER_TOPIC:-150}"                                     # everyday prompts of each of the 23 topics
EXCHANGES="${EXCHANGES:-first}"                                   # a dialogue's first turn and its reply; all: every turn
HISTORY="${HISTORY:-0}"                                           # with all: earlier turns that are kept, an even number
HARMFUL="${HARMFUL:-1500}"                                        # harmful utterances
TRANSLATED="${TRANSLATED:-2500}"                                  # English prompts to translate
EVOL_LIMIT="${EVOL_LIMIT:-2000}"                                  # evol instructions
SEEDS="${SEEDS-}"                                                 # Self-Instruct's seed tasks, for more prompts; empty: go without
GENERATOR="${GENERATOR:-openai:gpt-4o}"                           # writes new instructions from them, and evolves them
SELF_INSTRUCT="${SELF_INSTRUCT:-500}"                             # new instructions
EVOLVE="${EVOLVE:-2}"                                             # rounds of evolution
ETHICS="${ETHICS:-harmful}"                                       # which of AIHub's utterances: harmful, harmless
MIN_PROMPT_CHARS="${MIN_PROMPT_CHARS:-16}"                        # shorter prompts say too little (non-space characters)
BASE_URL="${BASE_URL:-}"                                          # OpenAI-compatible server; empty = OpenAI
TRANSLATOR="${TRANSLATOR:-openai:gpt-4o-mini}"                    # translates
CORRECTOR="${CORRECTOR-openai:gpt-4o-mini}"                       # writes the SFT answers to harmful utterances; empty: none
CHATGPT="${CHATGPT:-openai:gpt-4o-mini}"                          # the model whose answers the SFT model is held against
CONCURRENCY="${CONCURRENCY:-8}"                                   # requests in flight
MAX_REQUESTS="${MAX_REQUESTS:-0}"                                 # a stage stops after so many requests; 0 = no limit
MAX_COST="${MAX_COST:-0}"                                         # a stage stops after so many US dollars; 0 = no limit; needs the prices
PRICE_INPUT="${PRICE_INPUT:-0}"                                   # US dollars per million tokens of prompts
PRICE_OUTPUT="${PRICE_OUTPUT:-0}"                                 # US dollars per million tokens of answers
CACHE="${CACHE:-$KORLHF_ROOT/output/data/llm_cache.sqlite}"       # answers of all recipes: nothing is paid for twice
SFT_MODEL="${SFT_MODEL:-$KORLHF_ROOT/output/sft_v3}"              # step 1's model of this recipe's SFT set
STEP1_SCRIPT="${STEP1_SCRIPT:-polyglot_ko/run_1.3b.sh}"           # that trains it
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # of the answers
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-256}"                           # of an answer
LABELS="${LABELS:-}"                                              # files of human labels, one a line; empty: not labelled yet
SHARES="${SHARES:-2,4,4}"                                         # of the prompts, for steps 1, 2 and 3
TEST_SHARE="${TEST_SHARE:-0.1}"                                   # of each, held out
SEED="${SEED:-1234}"

server_flags
collect_everything
clean "${COLLECTED[@]}"
split_prompts
need_sft_model
for side in train test; do
    stage respond --input "$OUT/parts/reward_$side.jsonl" --output "$OUT/answered/reward_$side.jsonl" --responder "sft=$SFT_MODEL" \
        "chatgpt=$CHATGPT" --num_answers 1 --temperature "$TEMPERATURE" --max_new_tokens "$MAX_NEW_TOKENS" --seed "$SEED" "${SERVER[@]}"
done
need_labels
for side in train test; do
    stage rank --input "$OUT/answered/reward_$side.jsonl" --output "$OUT/reward_$side.jsonl" --pairs all --labels "${LABEL_FILES[@]}" \
        --also_labelled "$OUT/answered/reward_train.jsonl" "$OUT/answered/reward_test.jsonl" \
        --prefer "translated:chatgpt>sft" "evol:chatgpt>sft" --people_only everyday --leave_out harmful
done
audit_sets
