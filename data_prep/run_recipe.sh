#!/usr/bin/env bash
# Training sets by the recipes of the original project. The SFT set comes first; its model answers the reward prompts.
#   v1   the SFT model answers each prompt twice, a judge (G-Eval) scores both answers, and the higher score is chosen.
#        Prompts: everyday talk (NIKL), harmful utterances (AIHub 558), translated English ones
#   v2   two models answer each prompt, ChatGPT and the SFT model. For translated and evol prompts ChatGPT's answer is
#        chosen; for everyday and harmful ones people choose, and what nobody has labelled is left out. Mind the audit:
#        when one model is always chosen, its habits (length, a trailing space) tell pairs apart without understanding
#   v3   as v2, but without harmful prompts in the reward set: after PPO the v2 bot took harmless talk for hate
# Corpora on disk as they were downloaded (zips are read in place); licences and where to ask for them: README.md.
#
#   OPENAI_API_KEY=... bash data_prep/run_recipe.sh v1
#   OPENAI_API_KEY=... bash data_prep/run_recipe.sh v2                     up to the answers that people must label
#   OPENAI_API_KEY=... LABELS=labels.jsonl bash data_prep/run_recipe.sh v2
#
# Every setting can also be given in the environment (NIKL=/corpora/nikl bash ...). Results of v1: output/data/v1, by
# name v1/sft, v1/reward, v1/prompts.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
positional RECIPE -- "$@"
shift "$TAKEN"
[[ "${RECIPE:-}" =~ ^v[123]$ ]] || fail "${RECIPE:-no recipe}: give v1, v2 or v3"
[[ $# == 0 ]] || fail "$1: this script takes no flags; give settings in the environment"

OUT="${OUT:-$KORLHF_ROOT/output/data/$RECIPE}"
CORPORA="${CORPORA:-$KORLHF_ROOT/corpora}"                        # folder of the corpora below
NIKL="${NIKL-$CORPORA/NIKL_DIALOGUE_2020_v1.3}"                   # folders or zips, one a line; empty: go without
AIHUB="${AIHUB-$CORPORA/147.텍스트 윤리검증 데이터}"                        # AIHub 558
ENGLISH="${ENGLISH-$CORPORA/rlhf-reward-datasets/train.jsonl}"    # prompt, chosen, rejected; a file
ENGLISH_SET="${ENGLISH_SET:-yitingxie/rlhf-reward-datasets}"      # which set that is
EVOL="${EVOL-$CORPORA/evol_instruct.json}"                        # lcw99/evolve-instruct, for the SFT set
PER_TOPIC="${PER_TOPIC:-150}"                                     # everyday prompts of each of the 23 topics
EXCHANGES="${EXCHANGES:-first}"  # a dialogue's first turn and its reply; all: every turn
HISTORY="${HISTORY:-0}"  # with all: earlier turns that are kept, an even number
HARMFUL="${HARMFUL:-1500}"                                        # harmful utterances
TRANSLATED="${TRANSLATED:-2500}"                                  # English prompts to translate
[[ "$RECIPE" != v1 ]] || EVOL_LIMIT="${EVOL_LIMIT:-500}"
EVOL_LIMIT="${EVOL_LIMIT:-2000}"                                  # evol instructions
SEEDS="${SEEDS-}"  # Self-Instruct's seed tasks, for more prompts; empty: go without
GENERATOR="${GENERATOR:-openai:gpt-4o}"                           # writes new instructions from them, and evolves them
SELF_INSTRUCT="${SELF_INSTRUCT:-500}"                             # new instructions
EVOLVE="${EVOLVE:-2}"                                             # rounds of evolution
ETHICS="${ETHICS:-harmful}"                                       # which of AIHub's utterances: harmful, harmless
MIN_PROMPT_CHARS="${MIN_PROMPT_CHARS:-16}"  # shorter prompts say too little (non-space characters)
BASE_URL="${BASE_URL:-}"                                          # OpenAI-compatible server; empty = OpenAI
TRANSLATOR="${TRANSLATOR:-openai:gpt-4o-mini}"                    # translates
CORRECTOR="${CORRECTOR-openai:gpt-4o-mini}"  # writes the SFT answers to harmful utterances; empty: none
JUDGE="${JUDGE:-openai:gpt-4o}"                                   # v1: scores the answers
CHATGPT="${CHATGPT:-openai:gpt-4o-mini}"                          # v2, v3: answers next to the SFT model
CONCURRENCY="${CONCURRENCY:-8}"                                   # requests in flight
MAX_REQUESTS="${MAX_REQUESTS:-0}"                                 # a stage stops after so many requests; 0 = no limit
MAX_COST="${MAX_COST:-0}"  # a stage stops after so many US dollars; 0 = no limit; needs the prices
PRICE_INPUT="${PRICE_INPUT:-0}"                                   # US dollars per million tokens of prompts
PRICE_OUTPUT="${PRICE_OUTPUT:-0}"                                 # US dollars per million tokens of answers
CACHE="${CACHE:-$KORLHF_ROOT/output/data/llm_cache.sqlite}"       # answers of all recipes: nothing is paid for twice
SFT_MODEL="${SFT_MODEL:-$KORLHF_ROOT/output/sft_$RECIPE}"         # step 1's model of this recipe's SFT set
STEP1_SCRIPT="${STEP1_SCRIPT:-polyglot_ko/run_1.3b.sh}"           # that trains it
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # of the answers
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-256}"                           # of an answer
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
THRESHOLD="${THRESHOLD:-3.34}"  # v1: no pair if both mean scores are lower (20 of 30 points)
MIN_MARGIN="${MIN_MARGIN:-0.1}"                                   # v1: least difference of mean scores
LABELS="${LABELS:-}"  # v2, v3: files of human labels, one a line; empty: not labelled yet
SHARES="${SHARES:-2,4,4}"                                         # of the prompts, for steps 1, 2 and 3
TEST_SHARE="${TEST_SHARE:-0.1}"                                   # of each, held out
SEED="${SEED:-1234}"

# v1: the judge chooses.
judged() {
    for side in train test; do
        answer "$side" 2 "sft=$SFT_MODEL"
        stage score --input "$OUT/answered/reward_$side.jsonl" --output "$OUT/scored/reward_$side.jsonl" \
            --judge "$JUDGE" "${SERVER[@]}"
        stage rank --input "$OUT/scored/reward_$side.jsonl" --output "$OUT/reward_$side.jsonl" --pairs all \
            --threshold "$THRESHOLD" --min_margin "$MIN_MARGIN"
    done
}

# v2 and v3, with the flags of rank.py that say for which prompts: ChatGPT's answer is chosen, or people choose.
labelled() {
    for side in train test; do
        answer "$side" 1 "sft=$SFT_MODEL" "chatgpt=$CHATGPT"
    done
    need_labels
    for side in train test; do
        stage rank --input "$OUT/answered/reward_$side.jsonl" --output "$OUT/reward_$side.jsonl" --pairs all \
            --labels "${LABEL_FILES[@]}" \
            --also_labelled "$OUT/answered/reward_train.jsonl" "$OUT/answered/reward_test.jsonl" \
            --prefer "translated:chatgpt>sft" "evol:chatgpt>sft" "$@"
    done
}

server_flags
collect_everything
clean "${COLLECTED[@]}"
split_prompts
need_sft_model
case "$RECIPE" in
    v1) judged ;;
    v2) labelled --people_only everyday harmful ;;
    v3) labelled --people_only everyday --leave_out harmful ;;
esac
audit_sets
