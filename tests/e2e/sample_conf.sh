#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sample_conf.sh LEARNER ROLLOUT FOLDER - the daemons understand every line of the sample settings, those commented out too: they get as far as the
# model, which is not there.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
bad=0

try() {
    local daemon=$1 conf=$2 code
    shift 2
    sed 's/^#\([a-z_]* = \)/\1/' "$conf" >"$scratch/conf"
    "$daemon" --config "$scratch/conf" --model "$scratch/nowhere" "$@" >"$scratch/said" 2>&1
    code=$?
    if [ $code -ne 1 ] || ! grep -q 'nowhere/config.json' "$scratch/said"; then
        echo "$conf: exit $code: $(cat "$scratch/said")"
        bad=1
    fi
}

try "$1" "$3/learner.conf" --run-dir "$scratch/run"
try "$2" "$3/rollout.conf" --control "$scratch/sock"
exit $bad
