#!/usr/bin/env bash
# A multi-turn judge benchmark: LogicKor, KoMT-Bench, Ko-Arena-Hard, m-ArenaHard or Warmth. Models answer turn after turn, a
# judge reads.
# Machine: any; a GPU is used if there is one.
#
#   bash run_chat_benchmark.sh BENCHMARK [MODELS] [JUDGE] [OUTPUT] [--flag value ...]
#
# Every setting can also be given in the environment (JUDGE=openai:gpt-4o bash ...); flags at the end win.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
positional BENCHMARK RESPONDER JUDGE OUTPUT_DIR -- "$@"
shift "$TAKEN"

RUN="${RUN:-$KORLHF_ROOT/output/quickstart}"                      # the run whose models are meant by default
BENCHMARK="${BENCHMARK:-warmth}"                                  # logickor, komt_bench, ko_arena_hard, m_arena_hard or warmth
DATA_PATH="${DATA_PATH:-}"                                        # a local copy of its file; empty: the hub's
RESPONDER="${RESPONDER:-sft=$RUN/sft
ppo=$RUN/ppo}"  # who answers, one a line: [NAME=]FOLDER, openai:MODEL@URL or FILE; of pairs the first is the baseline
JUDGE="${JUDGE:-reward_model:$RUN/reward}"  # who judges: openai:MODEL@URL, checkpoint:FOLDER or reward_model:FOLDER
OUTPUT_DIR="${OUTPUT_DIR:-$RUN/eval}"                             # folder of the results
MAX_PROMPTS="${MAX_PROMPTS:-0}"                                   # questions; 0 = all
TEMPERATURE="${TEMPERATURE:-0}"                                   # of the answers; 0 = greedy
MAX_NEW_TOKENS="${MAX_NEW_TOKENS:-1024}"                          # longest answer to a turn
RESCORE_SHARE="${RESCORE_SHARE:-0.1}"                             # judged again to measure the judge's noise
ROLLOUT="${ROLLOUT:-local}"  # who samples the answers of checkpoints: local or vllm (docs/rollouts.md)
VLLM_ARGS="${VLLM_ARGS:-}"                                        # of vLLM's server: --gpu-memory-utilization 0.4
SEED="${SEED:-1234}"

start eval/chat_benchmark.py BENCHMARK DATA_PATH... RESPONDER... JUDGE MAX_PROMPTS TEMPERATURE MAX_NEW_TOKENS \
    RESCORE_SHARE ROLLOUT VLLM_ARGS SEED OUTPUT_DIR -- "$@"
