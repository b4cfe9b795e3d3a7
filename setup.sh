#!/usr/bin/env bash
# Set-up: a virtual environment with everything this project needs. Run it again at any time: it does nothing when nothing changed,
# and resumes where it was interrupted.
#
#   bash setup.sh
#   PYTHON=python3.12 bash setup.sh            another interpreter (3.11 or newer)
#   KORLHF_VENV=/path/to/venv bash setup.sh    another place than .venv (every script of the project honours it)
#   KORLHF_SYSTEM_SITE=1 bash setup.sh         see the interpreter's own packages too, and keep the CUDA torch that is installed there
#   KORLHF_DEV=1 bash setup.sh                 also what the tests and check.sh need (requirements-dev.txt)
#   KORLHF_TORCH_INDEX=URL bash setup.sh       an extra package index for torch; without an NVIDIA GPU the default is PyTorch's CPU index
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
VENV="${KORLHF_VENV:-$ROOT/.venv}"
STAMP="$VENV/.korlhf-ready"
DEV_STAMP="$VENV/.korlhf-dev-ready"
source "$ROOT/venv.sh"

# The root path is part of the key: `pip install -e` points at it, so a moved folder is set up again.
KEY="$("$PYTHON" - "$ROOT" <<'PY'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
parts = [(root / name).read_bytes() for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml")] + [str(root).encode()]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PY
)"
tools() {
    [[ "${KORLHF_DEV:-0}" == 1 ]] || return 0
    ready "$DEV_STAMP" && return
    install "tools of the developers" -r "$ROOT/requirements-dev.txt"
    done_with "$DEV_STAMP"
}
if ready "$STAMP"; then
    tools
    stage "nothing has changed: $VENV is ready"
    exit 0
fi

stage "1/4 virtual environment in $VENV (Python ${FOUND% *})"
SITE=()
[[ "${KORLHF_SYSTEM_SITE:-0}" == 1 ]] && SITE=(--system-site-packages)
make_venv ${SITE[@]+"${SITE[@]}"}
rm -f "$STAMP" "$DEV_STAMP"  # written again at the very end: an interrupted set-up has none

REQUIREMENTS="$ROOT/requirements.txt"
GPU_TORCH='import torch; assert torch.version.cuda or torch.version.hip; print(torch.__version__)'
if TORCH="$("$VENV/bin/python" -c "$GPU_TORCH" 2>/dev/null)"; then
    stage "2/4 torch $TORCH with GPU support is there: kept"
    REQUIREMENTS="$VENV/requirements-without-torch.txt"
    grep -v '^torch==' "$ROOT/requirements.txt" >"$REQUIREMENTS"
else
    PINNED="$(grep '^torch==' "$ROOT/requirements.txt")"
    torch_index
    install "2/4 $PINNED${INDEX:+ (extra index $INDEX)}" ${INDEX:+--timeout 15 --extra-index-url "$INDEX"} "$PINNED"
fi
# What is between two headings of requirements.txt is a group; the other groups' versions hold for what it brings.
mapfile -t GROUPS_OF < <(sed -n 's/^## //p' "$REQUIREMENTS")
for GROUP in "${GROUPS_OF[@]}"; do
    mapfile -t PACKAGES < <(sed -n "/^## $GROUP\$/,/^## /{/^#/d;/./p}" "$REQUIREMENTS")
    [[ ${#PACKAGES[@]} == 0 ]] || install "3/4 $GROUP: ${PACKAGES[*]%%==*}" -c "$REQUIREMENTS" "${PACKAGES[@]}"
done
install "4/4 this project (editable)" --no-deps -e "$ROOT"

done_with "$STAMP"
tools
stage "ready: $VENV"
