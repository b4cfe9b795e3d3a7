#!/usr/bin/env bash
# All that has to be shown on a GPU, in one command of at most 8 minutes on an H100 or H200: correctness, and how fast
# Polyglot-Ko 1.3B's shape trains, samples and learns by PPO, and 5.8B's trains with LoRA. Weights are random and made on
# the spot; nothing is downloaded.
#
#   bash benchmarks/gpu.sh [OUTPUT_DIR]
#
# Each part leaves OUTPUT_DIR/PART.json, and what it printed in log.txt. A part that is there is not run again: after a
# stop or a failure, start the same command again. At the end comes the table, results.md too. The exit code is 0 if
# every part is there and every check has passed.
#
#   SIZE=tiny     a rehearsal on the CPU, in about a minute
#   LIMIT=480     seconds for all parts
set -uo pipefail
source "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../launch.sh"
here="$KORLHF_ROOT/benchmarks"
out="${1:-$KORLHF_ROOT/output/gpu}"
limit="${LIMIT:-480}"
export PYTHONPATH="$KORLHF_ROOT${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
need_python
mkdir -p "$out"

case "${SIZE:-1.3b}" in
1.3b)
    small="--dtype bf16 --hidden_size 2048 --vocab_size 30080" large="$small --hidden_size 4096 --layers 28"
    model="$small --layers 24" checks="$small --layers 4 --seq_len 512"
    # as many tokens as 80 GB hold when rows are padded to the limit
    train="--seq_len 1024 --batch_size 24 --steps 8 --warmup_steps 2 --compare_steps 1"
    pairs=12 decode="--batch_sizes 16 64 256 --prompt 128 --new_tokens 128"
    # DeepSpeed-Chat's own benchmark: prompts of 256 tokens, answers of 256 that never end
    ppo="--seq_len 512 --lengths 256 --mean_answer 0 --batch_size 64 --train_batch_size 16 --steps 2 --compare_steps 0"
    ;;
tiny)
    small="--dtype fp32 --hidden_size 64 --vocab_size 128 --peak_seconds 0.01" large="$small --layers 2"
    model="$small --layers 2" checks="$model --seq_len 64"
    train="--seq_len 64 --batch_size 4 --steps 2 --warmup_steps 1 --compare_steps 1"
    pairs=2 decode="--batch_sizes 2 4 --prompt 8 --new_tokens 8"
    ppo="--seq_len 32 --lengths 16 --mean_answer 0 --batch_size 4 --train_batch_size 2 --steps 1 --compare_steps 0"
    ;;
*) fail "SIZE=$SIZE: give 1.3b or tiny" ;;
esac

# part NAME SECONDS SCRIPT FLAG...: run it, for at most so long; says in one line how it went
part() {
    local name=$1 seconds=$2 left began=$SECONDS
    shift 2
    if [[ -s "$out/$name.json" ]]; then
        echo "$name: is there already"
        return
    fi
    left=$((limit - SECONDS))
    if ((left < 5)); then
        echo "$name: no time left of LIMIT=$limit; start the same command again"
        return
    fi
    echo "== $name" >>"$out/log.txt"
    # shellcheck disable=SC2086 # flags are words
    timeout -k 5 "$((seconds < left ? seconds : left))" "$python" "$here/$1" ${*:2} --output "$out/$name.json" \
        >"$out/$name.part" 2>&1
    local code=$?
    cat "$out/$name.part" >>"$out/log.txt"
    case $code in
    0) echo "$name: done in $((SECONDS - began)) s" ;;
    124 | 137) echo "$name: stopped after $((SECONDS - began)) s" ;;
    *) echo "$name: failed: $(grep -v '^ *$' "$out/$name.part" | tail -n 1)" ;;
    esac
    rm -f "$out/$name.part"
}

part checks 120 checks.py $checks
part sft 60 step1.py $model $train
part reward 60 step2.py $model $train --batch_size "$pairs"
part decode 75 decode.py $model $decode
part ppo 90 step3.py $model $ppo
part lora 75 step1.py $large $train --batch_size 16 --lora_dim 16 --compare_steps 0
exec "$python" "$here/gpu_table.py" "$out" checks sft reward decode ppo lora
