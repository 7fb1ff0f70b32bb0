# Sourced by scripts/study and scripts/test: enters the project's folder, takes the active virtual
# environment or makes .venv, and installs the project with pinned versions where it is not yet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${VIRTUAL_ENV:-}" ]; then
    if [ ! -x .venv/bin/python ]; then
        for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
            if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
                echo "making a virtual environment in .venv with $("$candidate" --version)"
                "$candidate" -m venv .venv
                break
            fi
        done
        if [ ! -x .venv/bin/python ]; then
            echo "error: Python 3.11 or newer with the venv module must be on the PATH; install it and run this again" >&2
            exit 2
        fi
    fi
    # shellcheck disable=SC1091
    source .venv/bin/activate
fi

# $install is what the caller needs: "." or ".[dev]", which holds "." too
wanted="$(cat pyproject.toml scripts/constraints.txt | sha256sum | cut -c1-16) $PWD"
stamp="$VIRTUAL_ENV/.ltat-tune"
if ! grep -qxF -e "$wanted $install" -e "$wanted .[dev]" "$stamp" 2>/dev/null; then
    echo "installing $install and what it needs (once; some minutes, most of them for torch)"
    python -m pip install --quiet --disable-pip-version-check -c scripts/constraints.txt -e "$install"
    echo "$wanted $install" >> "$stamp"
fi
