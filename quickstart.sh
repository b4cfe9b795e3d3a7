#!/usr/bin/env bash
# Set-up, then base -> SFT -> reward model -> PPO on the embedded Korean sample. Stop it at any time and start it again to go on.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
bash "$ROOT/setup.sh"
export PYTHONUTF8=1
exec "${KORLHF_VENV:-$ROOT/.venv}/bin/python" "$ROOT/samples/quickstart.py" "$@"
