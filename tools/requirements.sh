#!/bin/sh
# Pin requirements/*.in into requirements/*.txt: every version with its hashes, and no index address. The same for the
# servers that make bench compares with.
set -eu
cd "$(dirname "$0")/../requirements"
compile="../.venv/bin/uv pip compile --quiet --generate-hashes --no-annotate --no-header"
$compile --universal --python-version 3.11 dev.in -o dev.txt "$@"
for environment in uv clients; do
    $compile --universal --python-version 3.11 $environment.in -o $environment.txt "$@"
done
for image in server operator; do
    $compile --python-version 3.13 --python-platform x86_64-manylinux_2_28 $image.in -o $image.txt "$@"
done
peers=../tools/bench/requirements
$compile --universal --python-version 3.11 --override $peers/vllm.override $peers/vllm.in -o $peers/vllm.txt "$@"
