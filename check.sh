#!/usr/bin/env bash
# Everything that can be checked without running the project: lint, format, the floors of the imports, types. Seconds; the tests are test.sh.
#   bash check.sh --fix        also mends what ruff can mend
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$ROOT"
KORLHF_DEV=1 bash "$ROOT/setup.sh"
VENV="$(cd "${KORLHF_VENV:-$ROOT/.venv}" && pwd)"
export PYTHONUTF8=1 PATH="$VENV/bin:$PATH"

if [[ "${1:-}" == --fix ]]; then
    ruff check --fix --quiet . || true # what is left is told below
    ruff format --quiet .
fi
FAILED=0
check() {
    echo "== $*"
    "$@" || FAILED=1
}
check ruff check .
check ruff format --check .
check lint-imports --no-logo
check ty check --python "$VENV"
exit "$FAILED"
