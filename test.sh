#!/usr/bin/env bash
# Set-up, then the tests. Arguments go to pytest:   bash test.sh tests/test_flags.py -k removed
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$ROOT"
bash "$ROOT/setup.sh"
export PYTHONUTF8=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "${KORLHF_VENV:-$ROOT/.venv}/bin/python" -m pytest -q "$@"
