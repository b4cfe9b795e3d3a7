# shellcheck shell=bash
# For copies of older run scripts, with the names that they call; new ones source launch.sh at the project's top.
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
become() { start "$@"; }
evaluate() { (start "eval/$1.py" "${@:2}"); }
