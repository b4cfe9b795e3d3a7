#!/usr/bin/env bash
# The whole chain, offline, on invented miniature corpora of samples/raw: raw corpora -> training sets for the steps.
# The tiny SFT model answers and the tiny reward model judges: those of quickstart.sh if it has run, else trained
# here first, in a few minutes. What no tiny model can do (translate, write new instructions) comes from a server on
# this machine that reads samples/raw/replies.jsonl, written by hand. Real corpora and models: run_recipe.sh.
#
#   bash data_prep/run_sample.sh
#
# Every setting can also be given in the environment (SEED=1 bash ...). Results: output/data/raw_sample, by name
# raw_sample/sft, ...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

RECIPE=raw_sample
OUT="${OUT:-$KORLHF_ROOT/output/data/$RECIPE}"
RAW="${RAW:-$KORLHF_ROOT/samples/raw}"                            # the corpora
NIKL="${NIKL-$RAW/NIKL_DIALOGUE_2020_v1.3
$RAW/NIKL_DIALOGUE_2021_v1.1_JSON.zip}"                           # folders or zips, one a line
AIHUB="${AIHUB-$RAW/aihub_558}"
ENGLISH="${ENGLISH-$RAW/english_rewards/train.jsonl}"
ENGLISH_SET="${ENGLISH_SET:-yitingxie/rlhf-reward-datasets}"      # which set that is
EVOL="${EVOL-$RAW/evol_instruct.json}"
SEEDS="${SEEDS-$RAW/seed_tasks.jsonl}"
ETHICS="${ETHICS:-}"                                              # empty: harmful and harmless utterances
PER_TOPIC="${PER_TOPIC:-0}"                                       # 0 = all
EXCHANGES="${EXCHANGES:-all}"                                     # every turn of a dialogue and its reply
HISTORY="${HISTORY:-2}"                                           # earlier turns that are kept
HARMFUL="${HARMFUL:-0}"
TRANSLATED="${TRANSLATED:-0}"
EVOL_LIMIT="${EVOL_LIMIT:-0}"
MIN_PROMPT_CHARS="${MIN_PROMPT_CHARS:-8}"                         # non-space characters
SELF_INSTRUCT="${SELF_INSTRUCT:-35}"                              # new instructions
EVOLVE="${EVOLVE:-1}"                                             # rounds of evolution
TRANSLATOR="${TRANSLATOR:-openai:recorded-translate}"
GENERATOR="${GENERATOR:-openai:recorded-self-instruct}"
EVOLVER="${EVOLVER:-openai:recorded-evol}"
CORRECTOR="${CORRECTOR-}"                                         # empty: harmful prompts get no SFT answers
PORT="${PORT:-8479}"  # of the server of recorded replies; the same port finds its cache again
CONCURRENCY="${CONCURRENCY:-8}"                                   # requests in flight
MAX_REQUESTS="${MAX_REQUESTS:-0}"
MAX_COST="${MAX_COST:-0}"
PRICE_INPUT="${PRICE_INPUT:-0}"
PRICE_OUTPUT="${PRICE_OUTPUT:-0}"
CACHE="${CACHE:-$OUT/llm_cache.sqlite}"
MODELS="${MODELS:-$KORLHF_ROOT/output/quickstart}"                # folder of sft/ and reward/
NUM_ANSWERS="${NUM_ANSWERS:-4}"                                   # answers per prompt
TEMPERATURE="${TEMPERATURE:-0.7}"
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-48}"
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
MIN_MARGIN="${MIN_MARGIN:-0.5}"                                   # least difference of two scores
SHARES="${SHARES:-2,4,4}"                                         # of the prompts, for steps 1, 2 and 3
TEST_SHARE="${TEST_SHARE:-0.1}"                                   # of each, held out
SEED="${SEED:-1234}"

# The tiny models of quickstart.sh, trained here if they are missing.
sample_models() {
    [[ -f "$MODELS/sft/finished.json" && -f "$MODELS/reward/finished.json" ]] && return
    MODELS="$OUT/models"
    RUN="$MODELS" RECIPE=quickstart bash "$KORLHF_ROOT/applications/rlhf/run_all.sh" --to reward
}

# The server of recorded replies, for as long as this script runs.
start_server() {
    local ready="$OUT/server.log"
    rm -f "$ready"  # an earlier run's address would be read before the server has written its own
    python "$KORLHF_ROOT/samples/raw/server.py" --replies "$RAW/replies.jsonl" --port "$PORT" \
        >"$ready" 2>"$OUT/server.errors.log" &
    SERVER_PID=$!
    trap 'kill "$SERVER_PID" 2>/dev/null || true' EXIT
    local waited=0
    until grep -q '^http' "$ready" 2>/dev/null; do
        kill -0 "$SERVER_PID" 2>/dev/null \
            || fail "the server of replies does not start; try another PORT: $(tail -1 "$OUT/server.errors.log")"
        ((waited++ < 600)) || fail "the server of recorded replies does not answer; see $OUT/server.errors.log"
        sleep 0.1
    done
    BASE_URL="$(head -1 "$ready")"
}

mkdir -p "$OUT"
sample_models
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # the models are tiny: more threads only wait for each other
start_server
server_flags
collect_everything
clean "${COLLECTED[@]}"
split_prompts
for side in train test; do
    answer "$side" "$NUM_ANSWERS" "sft=$MODELS/sft"
    stage score --input "$OUT/answered/reward_$side.jsonl" --output "$OUT/scored/reward_$side.jsonl" \
        --judge "reward_model:$MODELS/reward" "${SERVER[@]}"
    stage rank --input "$OUT/scored/reward_$side.jsonl" --output "$OUT/reward_$side.jsonl" --pairs best_worst \
        --min_margin "$MIN_MARGIN"
done
audit_sets
