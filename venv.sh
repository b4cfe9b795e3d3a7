# shellcheck shell=bash
# Sourced by setup.sh and setup_vllm.sh, which set VENV first: a virtual environment there, and pip in it, whose many lines go to a log.

PYTHON="${PYTHON:-python3}"
LOG="$VENV/setup.log"
export PYTHONUTF8=1 PIP_DISABLE_PIP_VERSION_CHECK=1

fail() { echo "error: $*" >&2; exit 2; }
stage() { echo "[setup] $*"; }

# beat TITLE: every 30 s (KORLHF_BEAT: other seconds) how long it has been going on, and what pip said last.
beat() {
    local began="$SECONDS"
    while sleep "${KORLHF_BEAT:-30}" </dev/null >/dev/null 2>&1; do  # what a kill leaves of it keeps no pipe open
        stage "$1: $((SECONDS - began)) s so far; $(grep -v WARNING "$LOG" | tail -n 1 | cut -c 1-100)"
    done
}

# install TITLE WORD...: pip install WORD..., whose many lines go to the log; a line before, and one with what it took.
install() {
    local title="${1%%: *}" began="$SECONDS" before after code=0
    stage "$1"
    shift
    before="$(du -sm "$VENV" | cut -f 1)"
    printf '== %s pip install %s\n' "$(date '+%F %T')" "$*" >>"$LOG"
    beat "$title" 2>/dev/null &  # bash 5.2 may complain as it is killed
    BEAT=$!
    trap 'kill "$BEAT" 2>/dev/null || true' EXIT
    "$VENV/bin/python" -m pip install --progress-bar off "$@" >>"$LOG" 2>&1 || code=$?
    kill "$BEAT" 2>/dev/null || true
    wait "$BEAT" 2>/dev/null || true
    if [[ "$code" != 0 ]]; then
        tail -n 15 "$LOG" >&2
        fail "$title: pip failed; all that it said: $LOG; put it right and run bash ${0##*/} again, which goes on here"
    fi
    after="$(du -sm "$VENV" | cut -f 1)"
    stage "$title: done, $((after - before)) MB in $((SECONDS - began)) s"
}

command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is not on this machine; install Python 3.11 or newer, or set PYTHON to it"
FOUND="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2], int(sys.version_info >= (3, 11)))')" \
    || fail "PYTHON=$PYTHON does not start"
[[ "${FOUND#* }" == 1 ]] || fail "PYTHON=$PYTHON is Python ${FOUND% *}; this project needs 3.11 or newer: set PYTHON=python3.12 or the like"

# torch_index: INDEX becomes the extra package index for torch, "" for none, as the head of setup.sh says.
torch_index() {
    INDEX="${KORLHF_TORCH_INDEX:-}"
    [[ -z "$INDEX" && "$(uname -s)" == Linux ]] && ! command -v nvidia-smi >/dev/null || return 0
    INDEX=https://download.pytorch.org/whl/cpu
    # Asked once, as pip would ask it five times for every package. (`pip index` finds torch in other indexes too.)
    if ! "$VENV/bin/python" -c 'import sys; from urllib.request import urlopen; urlopen(sys.argv[1], timeout=10)' \
        "$INDEX/torch/" >>"$LOG" 2>&1; then
        stage "$INDEX does not answer: torch comes from the usual index, maybe with the libraries of GPUs, which are large"
        INDEX=""
    fi
}

# make_venv WORD...: the environment, by `python -m venv WORD...`.
make_venv() {
    "$PYTHON" -m venv "$@" "$VENV" || fail "$PYTHON -m venv failed; on Debian or Ubuntu: apt install python3-venv"
}

# ready STAMP, done_with STAMP: whether the environment is what KEY says, by a file that is written at the very end.
ready() { [[ -x "$VENV/bin/python" && -f "$1" && "$(<"$1")" == "$KEY" ]]; }
done_with() { printf '%s\n' "$KEY" >"$1.new" && mv "$1.new" "$1"; }
