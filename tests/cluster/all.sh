#!/usr/bin/env bash
# All tests that need a cluster. First those that have it for themselves; then the others in two halves beside each other, for
# each of them waits for most of its time. The GPUs, the metrics API and the CRD are of the first half only.
set -uo pipefail
cd "$(dirname "$0")/../.."
pytest=(.venv/bin/pytest --durations=20)
second=(tests/cluster/operator/test_{downloads,children,election,kstatus,kubectl_omega,live,restricted}.py)
said=$(mktemp)
trap 'rm -f "$said"' EXIT

failed=0
"${pytest[@]}" -m alone tests/cluster || failed=1
"${pytest[@]}" -m "not alone" "${second[@]}" >"$said" 2>&1 &
"${pytest[@]}" -m "not alone" "${second[@]/#/--ignore=}" tests/cluster || failed=1
wait $! || failed=1
cat "$said"
exit $failed
