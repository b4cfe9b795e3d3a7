#!/usr/bin/env bash
# Everything that eval/ can tell about the models of one run, then the report: a page with all warnings first.
# Machine: any; a GPU is used if there is one.
#
#   bash run_all.sh [RUN] [OUTPUT]
#
# Every setting can also be given in the environment (JUDGE=openai:gpt-4o bash ...). Stop it at any time and start it
# again: answers, scores and verdicts are in OUTPUT/cache.sqlite. To leave a part out, name the others in PARTS. Exit
# code 3: too much failed in a part.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional RUN OUTPUT -- "$@"
shift "$TAKEN"
[[ $# == 0 ]] || fail "$1: flags belong to one program; run its own script, e.g. bash eval/run_geval.sh $*"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"  # folder of the run: sft/, reward/, ppo/ ... are below it
OUTPUT="${OUTPUT:-$RUN/eval}"                                     # results; the report is OUTPUT/../report.html
MODELS="${MODELS:-sft=$RUN/sft
ppo=$RUN/ppo}"  # who answers, one a line: [NAME=]FOLDER, openai:MODEL@URL or FILE; the first is the baseline
REFERENCE="${REFERENCE:-sft}"  # KL and perplexity are measured against this one of them
REWARD="${REWARD:-$RUN/reward}"                                   # reward model for its own accuracy
REWARD_DATA="${REWARD_DATA:-sample/heldout_reward}"               # pairs that it was not trained on
REWARD_TRAIN_DATA="${REWARD_TRAIN_DATA:-sample/reward}"           # what it was trained on
JUDGE="${JUDGE:-reward_model:$REWARD}"  # of answers: openai:MODEL@URL, checkpoint:FOLDER or reward_model:FOLDER
HARM_JUDGE="${HARM_JUDGE:-rules
$JUDGE}"  # of harmlessness, one a line; rules is the written check
DATA_PATH="${DATA_PATH:-sample/heldout_prompts}"                  # prompts to answer
MAX_PROMPTS="${MAX_PROMPTS:-0}"                                   # of these at most; 0 = all
SAFETY_DATA="${SAFETY_DATA:-sample/safety}"                       # harmful prompts and look-alikes
MAX_SAFETY="${MAX_SAFETY:-0}"
HELDOUT_DATA="${HELDOUT_DATA:-sample/heldout_sft}"                # talk for perplexity
TEMPERATURE="${TEMPERATURE:-0.7}"                                 # of the answers
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-128}"                           # longest answer
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
BENCHMARK_DATA="${BENCHMARK_DATA:-}"  # folder of its local files (samples/kobest to try); empty: the hub's data
BENCHMARK_TASKS="${BENCHMARK_TASKS:-copa hellaswag}"              # of KoBEST, or kmmlu haerae click hrm8k ...
BENCHMARK_LIMIT="${BENCHMARK_LIMIT:-0}"                           # items of each task; 0 = all
CHAT_BENCHMARK="${CHAT_BENCHMARK:-warmth}"                        # or logickor, komt_bench ...
MAX_TALKS="${MAX_TALKS:-0}"                                       # of its questions; 0 = all
ALL="reward_accuracy geval win_rate harmlessness chat_benchmark diversity benchmark"
PARTS="${PARTS:-$ALL}"
SEED="${SEED:-1234}"

for name in $PARTS; do
    [[ " $ALL " == *" $name "* ]] || fail "PARTS: there is no $name; give some of: $ALL"
done

# part NAME FLAG...: run it if it is among PARTS. Too many failed answers or verdicts (3) do not keep the others, and
# the report, back; nor do the two benchmarks, which may miss the hub, or a model to compare with.
LOST=0
MISSING=()
part() {
    local name="$1" code=0
    shift
    [[ " $PARTS " == *" $name "* ]] || return 0
    printf '\n== %s\n' "$name"
    (start "eval/$name.py" -- "$@" --output_dir "$OUTPUT") || code=$?
    case "$name $code" in
        *" 0") ;;
        *" 3") LOST=3 ;;
        "benchmark 2" | "chat_benchmark 2") MISSING+=("$name") ;;
        *) exit "$code" ;;
    esac
}

# suited NAME PATTERN...: SUITED = the responders that the part can ask; what matches a pattern is told, and left out.
suited() {
    local name="$1" responder pattern
    shift
    SUITED=()
    for responder in "${RESPONDERS[@]}"; do
        for pattern in "$@"; do
            # shellcheck disable=SC2053  # a pattern
            [[ "${responder#*=}" == $pattern ]] || continue
            echo "$name needs a model; it goes without $responder"
            continue 2
        done
        SUITED+=("$responder")
    done
}

words RESPONDERS "$MODELS"
words PROMPTS "$DATA_PATH"
words PAIRS "$REWARD_DATA"
words TRAIN_PAIRS "$REWARD_TRAIN_DATA"
words HARM_CHECKS "$HARM_JUDGE"
words SAFETY "$SAFETY_DATA"
words HELDOUT "$HELDOUT_DATA"
words TASKS "$BENCHMARK_TASKS"
HOW=(--temperature "$TEMPERATURE" --max_new_tokens "$MAX_NEW_TOKENS" --rollout "$ROLLOUT" --vllm_args="$VLLM_ARGS"
    --seed "$SEED")
ANSWERS=(--responder "${RESPONDERS[@]}" "${HOW[@]}")
FILES=("*.jsonl" "*.json" "*.csv" "*.tsv" "*.parquet")  # answers to other prompts
ON_PROMPTS=(--data_path "${PROMPTS[@]}" --max_prompts "$MAX_PROMPTS")

part reward_accuracy --model_name_or_path "reward=$REWARD" --data_path "${PAIRS[@]}" \
    ${TRAIN_PAIRS[@]+--train_data_path "${TRAIN_PAIRS[@]}"} --seed "$SEED"
part geval "${ANSWERS[@]}" "${ON_PROMPTS[@]}" --judge "$JUDGE"
part win_rate "${ANSWERS[@]}" "${ON_PROMPTS[@]}" --judge "$JUDGE"
part harmlessness "${ANSWERS[@]}" --data_path "${SAFETY[@]}" --max_prompts "$MAX_SAFETY" --judge "${HARM_CHECKS[@]}"
if [[ " $PARTS " == *" chat_benchmark "* ]]; then
    suited chat_benchmark "${FILES[@]}"
    part chat_benchmark --responder "${SUITED[@]}" "${HOW[@]}" --benchmark "$CHAT_BENCHMARK" --max_prompts "$MAX_TALKS" --judge "$JUDGE"
fi
part diversity "${ANSWERS[@]}" "${ON_PROMPTS[@]}" --reference "$REFERENCE" --heldout_data_path "${HELDOUT[@]}"
if [[ " $PARTS " == *" benchmark "* ]]; then
    suited benchmark "openai:*" "${FILES[@]}"
    part benchmark --model_name_or_path "${SUITED[@]}" --tasks "${TASKS[@]}" ${BENCHMARK_DATA:+--data_dir "$BENCHMARK_DATA"} \
        --limit "$BENCHMARK_LIMIT" --seed "$SEED"
fi
printf '\n== report\n'
(start eval/report.py -- --run_dir "$RUN" --eval_dir "$OUTPUT")
[[ "${#MISSING[@]}" == 0 ]] || fail "not evaluated: ${MISSING[*]}; the message of each stands above the report's"
exit "$LOST"
