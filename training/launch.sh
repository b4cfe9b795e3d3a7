# Sourced by every run_*.sh: finds the project, its Python and the machine's processors, and starts a step's main.py.
#
# What a user may set in the environment:
#   NUM_PROCESSES or NUM_GPUS   processes on this machine; not given: one per GPU that is visible, without a GPU one
#   HOSTFILE                    DeepSpeed hostfile: train on several machines (see multi_node/)
#   DEEPSPEED_ARGS              words for the deepspeed launcher, in the place of the number of processes: "--include localhost:2,3"
#   MASTER_PORT                 port of the process group; not given: a random one (with HOSTFILE: DeepSpeed's 29500)
#   OMP_NUM_THREADS             threads of a process; not given: processor cores / processes
#   KORLHF_VENV                 virtual environment; not given: .venv of the project if it is there, else the python on PATH

KORLHF_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

fail() { echo "error: $*" >&2; exit 2; }

if [[ -n "${KORLHF_VENV:-}" && ! -x "$KORLHF_VENV/bin/python" ]]; then
    fail "KORLHF_VENV=$KORLHF_VENV has no bin/python; run: KORLHF_VENV='$KORLHF_VENV' bash '$KORLHF_ROOT/setup.sh'"
fi
if [[ -x "${KORLHF_VENV:-$KORLHF_ROOT/.venv}/bin/python" ]]; then
    VIRTUAL_ENV="$(cd "${KORLHF_VENV:-$KORLHF_ROOT/.venv}" && pwd)"
    export VIRTUAL_ENV PATH="$VIRTUAL_ENV/bin:$PATH"
    unset PYTHONHOME
fi
export PYTHONUTF8=1 TOKENIZERS_PARALLELISM=false

# positional NAME... -- WORD...: put the leading WORDs into the variables NAME..., in order, up to the first word that begins with "--".
# An empty word keeps the variable as it is. The number of words taken is left in TAKEN: `shift "$TAKEN"` leaves the pass-through flags.
positional() {
    local names=() usage=""
    while [[ "$1" != -- ]]; do
        names+=("$1")
        usage+=" [$1]"
        shift
    done
    shift
    TAKEN=0
    while [[ $# -gt 0 && "$1" != --* ]]; do
        [[ "$TAKEN" -lt "${#names[@]}" ]] || fail "$1: one word too many; usage: bash $(basename "$0")$usage [--flag value ...]"
        [[ -z "$1" ]] || printf -v "${names[$TAKEN]}" %s "$1"
        TAKEN=$((TAKEN + 1))
        shift
    done
}

# words ARRAY VALUE: split VALUE at white space into ARRAY; a VALUE that is itself an existing file or folder stays one word,
# and one that holds line breaks is split at those alone.
words() {
    local separators=$' \t\n'
    [[ "$2" == *$'\n'* || -e "$2" ]] && separators=$'\n'
    IFS="$separators" read -r -d '' -a "$1" <<<"$2" || true
}

need_python() { command -v python >/dev/null || fail "there is no python on PATH; run: bash '$KORLHF_ROOT/setup.sh'"; }

# become FILE ARGUMENT...: this shell turns into the project's Python program FILE.
become() {
    local program="$1"
    shift
    need_python
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(cores)}"
    exec python -u "$KORLHF_ROOT/$program" "$@"
}

# evaluate PROGRAM FLAG...: run eval/PROGRAM.py.
evaluate() {
    local program="$1"
    shift
    (become "eval/$program.py" "$@")
}

cores() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN; }

# Number of NVIDIA GPUs that are visible to this shell.
visible_gpus() {
    command -v nvidia-smi >/dev/null || { echo 0; return; }
    if [[ -n "${CUDA_VISIBLE_DEVICES+set}" ]]; then
        local ids
        IFS=, read -ra ids <<<"${CUDA_VISIBLE_DEVICES}"
        [[ "${CUDA_VISIBLE_DEVICES}" == -1 ]] && ids=()
        echo "${#ids[@]}"
    else
        nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true
    fi
}

# Choose the command that starts main.py: python itself for one process, the deepspeed launcher for several. Fills COMMAND.
# The launcher is called as a module: the script `deepspeed` of a virtual environment does not start when its path has a space.
choose_command() {
    local main="$1" python=python count gpus name
    command -v python >/dev/null || python=python3
    command -v "$python" >/dev/null || fail "there is no python on PATH; run: bash '$KORLHF_ROOT/setup.sh'"
    local launcher=("$python" -m deepspeed.launcher.runner)
    gpus="$(visible_gpus)"
    name=NUM_PROCESSES
    [[ -z "${NUM_PROCESSES:-}" && -n "${NUM_GPUS:-}" ]] && name=NUM_GPUS
    count="${!name:-$((gpus > 0 ? gpus : 1))}"
    [[ "$count" =~ ^[1-9][0-9]*$ ]] || fail "$name=$count: give a number of processes of 1 or more"
    local threads=$(($(cores) / count))
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"

    if [[ -n "${HOSTFILE:-}" ]]; then
        [[ -f "$HOSTFILE" ]] || fail "HOSTFILE=$HOSTFILE: no such file; one line for each machine: NAME slots=GPUS"
        # pdsh hands the command to a shell on each machine, unquoted.
        local path
        for path in "$PWD" "$main" "$(command -v "$python")"; do
            [[ "$path" =~ ^[^[:space:]\'\"\$\;\&\(\)]*$ ]] \
                || fail "$path: on several machines a path may not hold spaces or shell characters; move the folder"
        done
        # shellcheck disable=SC2206
        COMMAND=("${launcher[@]}" --hostfile "$HOSTFILE" ${MASTER_PORT:+--master_port "$MASTER_PORT"} ${DEEPSPEED_ARGS:-} "$main")
        return
    fi
    local port=(--master_port "${MASTER_PORT:-$((20000 + RANDOM % 12000))}")
    if [[ -n "${DEEPSPEED_ARGS:-}" ]]; then
        [[ "$DEEPSPEED_ARGS" == *--master_port* ]] && port=()
        # shellcheck disable=SC2206
        COMMAND=("${launcher[@]}" ${port[@]+"${port[@]}"} $DEEPSPEED_ARGS "$main")
        return
    fi
    [[ "$gpus" == 0 || "$count" -le "$gpus" ]] || fail "$name=$count, but $gpus GPUs are visible; set $name to at most $gpus"
    if [[ "$count" == 1 ]]; then
        COMMAND=("$python" -u "$main")
    elif [[ "$gpus" -gt 0 && -n "${CUDA_VISIBLE_DEVICES:-}" ]]; then
        # The launcher ignores CUDA_VISIBLE_DEVICES when it is given a number.
        CUDA_VISIBLE_DEVICES="$(cut -d, -f "1-$count" <<<"$CUDA_VISIBLE_DEVICES")"
        export CUDA_VISIBLE_DEVICES
        COMMAND=("${launcher[@]}" "${port[@]}" "$main")
    else
        COMMAND=("${launcher[@]}" "${port[@]}" --num_accelerators "$count" "$main")
    fi
}

# TERM to process $1, if there is one, and its children: the deepspeed launcher's outer process dies of a TERM without telling its
# inner one.
forward_term() {
    # shellcheck disable=SC2046
    [[ -z "$1" ]] || kill -TERM $(cat "/proc/$1/task/$1/children" 2>/dev/null) "$1" 2>/dev/null || true
}

# launch STEP_DIR OUTPUT FLAG...: run STEP_DIR/main.py --output_dir OUTPUT FLAG... in the user's working directory; everything printed
# is also appended to training.log in OUTPUT (in the last --output_dir, if FLAGs give another). Returns main.py's exit code; Ctrl-C
# and TERM reach it.
launch() {
    local main="$1/main.py" output="$2" flag previous="" code
    shift 2
    choose_command "$main"
    COMMAND+=(--output_dir "$output" "$@")
    for flag in "$@"; do
        [[ "$previous" == --output_dir ]] && output="$flag"
        [[ "$flag" == --output_dir=* ]] && output="${flag#*=}"
        previous="$flag"
    done
    mkdir -p "$output" || fail "--output_dir $output cannot be made; give another"
    local log="$output/training.log" now
    now="$(date '+%Y-%m-%d %H:%M:%S')"
    printf '== %s  OMP_NUM_THREADS=%s%s\n' "$now" "$OMP_NUM_THREADS" "$(printf ' %q' "${COMMAND[@]}")" >>"$log"

    # Beside this shell, so that a TERM is passed on at once. The exit code comes through a pipe: `wait` may lose it when a signal
    # arrives just as the program ends (seen with bash 5.2). tee, started while signals are ignored, outlives a Ctrl-C to log the last
    # words.
    local child="" code="" terminated="" supervisor tee_pid status
    trap '' INT TERM HUP
    exec 9> >(exec tee -a "$log")
    tee_pid=$!
    trap : INT  # Ctrl-C reaches main.py by itself: wait for what it says
    trap 'terminated=1; forward_term "$child"' TERM HUP
    exec 8< <(trap : INT TERM HUP; code=0; (echo "$BASHPID"; exec "${COMMAND[@]}" </dev/null >&9 2>&1 9>&-) || code=$?; echo "$code")
    supervisor=$!
    exec 9>&-
    read -r child <&8 || true
    [[ -z "$terminated" ]] || forward_term "$child"
    while [[ -z "$code" ]]; do
        wait "$supervisor" 2>/dev/null || true
        status=0
        read -r -t 1 code <&8 || status=$?
        [[ "$status" == 0 || "$status" -gt 128 ]] || code=137  # killed before it could tell the exit code
    done
    exec 8<&-
    wait "$tee_pid" 2>/dev/null || true
    trap - TERM HUP INT
    return "$code"
}
