#!/bin/sh
# Make (or renew) the Python environment .venv from requirements/dev.txt: exactly the pinned packages, checked by hash,
# and the three projects of the workspace as editable installs. Quick when nothing changed.
set -eu
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/omega-vlm
python=${PYTHON:-python3}
key=$(cat requirements/dev.txt requirements/uv.txt tools/environment.sh crds/pyproject.toml operator/pyproject.toml server/pyproject.toml |
    sha256sum | cut -c1-16)
if [ "$(cat .venv/.key 2>/dev/null)" = "$key" ]; then exit 0; fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "environment: needs python3 >= 3.11 (set PYTHON to one)" >&2
    exit 2
fi

uv=$cache/uv/$(sha256sum <requirements/uv.txt | cut -c1-16)
if [ ! -x "$uv/bin/uv" ]; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        # Debian splits venv off its python3.
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            echo "environment: python3 lacks venv; install the package python3-venv" >&2
            exit 2
        fi
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    fi
    rm -rf "$uv.new" && "$python" -m venv "$uv.new"
    "$uv.new/bin/pip" install --quiet --require-hashes -r requirements/uv.txt
    rm -rf "$uv" && mv "$uv.new" "$uv"
fi

echo "environment: installing the pinned packages into .venv (the first time downloads about 4 GB)"
"$uv/bin/uv" venv --quiet --clear --python "$python" .venv
export VIRTUAL_ENV="$PWD/.venv"
# Compiled once for all checkouts: a process that imports torch and transformers from source needs seconds more, each time.
# Python takes compiled code for a source of the same time and size, which uv keeps, and ignores the rest.
"$uv/bin/uv" pip sync --quiet --require-hashes requirements/dev.txt
compiled=$cache/compiled/$key-$(.venv/bin/python -c 'import sys; print(sys.implementation.cache_tag)').tar
if [ ! -f "$compiled" ]; then
    .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null || true # some packages hold files of other Pythons
    mkdir -p "$cache/compiled"
    find .venv/lib -name __pycache__ -prune -print0 | tar --null --files-from=- -cf "$compiled.$$"
    mv "$compiled.$$" "$compiled"
    find "$cache/compiled" -name '*.tar' ! -path "$compiled" -delete
else
    tar -xf "$compiled"
fi
"$uv/bin/uv" pip install --quiet --no-deps --no-build-isolation -e crds -e operator -e server
echo "$key" >.venv/.key
