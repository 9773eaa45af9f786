#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# quickstart.sh GRPOCTL TEST - what a newcomer relies on when things go otherwise than planned: Ctrl-C, a second call, a daemon that dies, a folder
# that is not ours, a port that is taken; and one whole run, though a short one.
set -uo pipefail
ctl=$1 test=$2
top=$(mktemp -d /tmp/grpo-quickstart.XXXXXX)
d=$top/run
pids=()

fail() {
    echo "$test: $*" >&2
    for f in "$top"/out* "$top"/*/*.log; do
        [ -f "$f" ] && { echo "---- $f" >&2; tail -20 "$f" >&2; }
    done
    exit 1
}
tidy() {
    for p in ${pids[@]+"${pids[@]}"}; do kill -KILL "$p" 2>/dev/null; done
    wait 2>/dev/null
    sleep 0.2
    rm -rf "$top"
}
trap tidy EXIT

# start NAME ARGS: in the background, its output in $top/outNAME; its id in $pid
start() {
    local name=$1
    shift
    "$ctl" quickstart --threads 2 "$@" >"$top/out$name" 2>&1 &
    pid=$!
    pids+=("$pid")
}
# until WORDS: a command that comes true within two minutes
until_() {
    local what=$1 n=0
    shift
    until "$@"; do
        n=$((n + 1))
        [ $n -lt 1200 ] || fail "never came: $what"
        sleep 0.1
    done
}
steps() { [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }
ends() { # ends PID CODE
    local code=0
    wait "$1" || code=$?
    [ "$code" -eq "$2" ] || fail "exit code $code, not $2"
}
daemons() { pgrep -f -- "(--run-dir|--control) $1/" | tr '\n' ' '; }
nobody() { [ -z "$(daemons "$1")" ]; }
says() { grep -q -- "$2" "$top/out$1" || fail "does not say: $2"; }

ctrl_c_saves_and_the_next_call_goes_on() {
    start 1 --dir "$d"
    until_ "three steps" steps "$d/sft/metrics.jsonl" 4 # and a line before the first
    kill -INT "$pid"
    ends "$pid" 130
    says 1 'goes on from there'
    nobody "$d" || fail "left behind: $(daemons "$d")"
    local n
    n=$(basename "$(ls -d "$d"/sft/checkpoints/step-* | sort -V | tail -1)")
    n=${n#step-}
    [ "$n" -ge 3 ] || fail "saved at step $n"
    start 2 --dir "$d"
    until_ "a further step" steps "$d/sft/metrics.jsonl" $((n + 2))
    grep -q "resumed .*step-$n, step $n" "$d/sft.log" || fail "not resumed at step $n"
    kill -TERM "$pid" # timeout(1) signals twice; that is one call to stop
    sleep 0.02
    kill -TERM "$pid" 2>/dev/null
    ends "$pid" 130
    says 2 'goes on from there'
    start 3 --dir "$d" --seed 7
    ends "$pid" 1
    says 3 'a run with --seed 42'
    start 4 --dir "$d" --seed 7 --fresh
    until_ "the new run" grep -qs '"seed": 7' "$d/quickstart.json"
    until_ "steps of the new run" steps "$d/sft/metrics.jsonl" 1
    kill -INT "$pid"
    ends "$pid" 130
}

a_second_ctrl_c_kills() {
    start 1 --dir "$d"
    until_ "a step" steps "$d/sft/metrics.jsonl" 2
    local l
    l=$(pgrep -f -- "--run-dir $d/sft")
    kill -STOP "$l" # it cannot save now
    kill -INT "$pid"
    sleep 0.5
    kill -0 "$pid" || fail "the first was not waited for"
    kill -INT "$pid"
    ends "$pid" 130
    nobody "$d" || fail "left behind: $(daemons "$d")"
}

one_at_a_time_in_a_folder() {
    start 1 --dir "$d"
    local one=$pid
    until_ "a step" steps "$d/sft/metrics.jsonl" 2
    start 2 --dir "$d"
    ends "$pid" 1
    says 2 'another quickstart uses this folder'
    start 3 --dir "$d" --fresh
    ends "$pid" 1
    # in another folder there is room; whoever has the well-known port, it is not both
    start 4 --dir "$top/other"
    until_ "a step of the other" steps "$top/other/sft/metrics.jsonl" 1
    cmp -s "$d/sft/learner.addr" "$top/other/sft/learner.addr" && fail "both at $(cat "$d/sft/learner.addr")"
    kill -INT "$pid" "$one"
    ends "$pid" 130
    ends "$one" 130
}

a_daemon_that_dies_is_told() {
    start 1 --dir "$d"
    until_ "a step" steps "$d/sft/metrics.jsonl" 2
    kill -KILL "$(pgrep -f -- "--control $d/rollout.sock")"
    ends "$pid" 1
    says 1 'grpo-rollout was ended by signal 9'
    says 1 'started' # the end of its log
    nobody "$d" || fail "left behind: $(daemons "$d")"
}

nothing_outlives_a_killed_one() {
    start 1 --dir "$d"
    until_ "a step" steps "$d/sft/metrics.jsonl" 2
    kill -KILL "$pid"
    until_ "the daemons' end" nobody "$d"
    start 2 --dir "$d" # and the folder is not spoilt
    until_ "a further step" steps "$d/sft/metrics.jsonl" 4
    kill -INT "$pid"
    ends "$pid" 130
}

a_folder_that_is_not_ours_is_kept() {
    mkdir -p "$d/checkpoints/step-1"
    echo precious >"$d/checkpoints/step-1/model.safetensors"
    start 1 --dir "$d" --fresh
    ends "$pid" 1
    says 1 'choose another --dir'
    start 2 --dir "$d"
    ends "$pid" 1
    [ "$(cat "$d/checkpoints/step-1/model.safetensors")" = precious ] || fail "it is gone"
    start 3 --dir "$top/$(printf 'x%.0s' {1..100})"
    ends "$pid" 2
}

a_whole_run() {
    start 1 --dir "$d" --steps 3 --json
    ends "$pid" 0
    says 1 '^reward [0-9.]* -> [0-9.]*, held-out accuracy 0\.[0-9]* -> 0\.[0-9]*, 3 steps, [0-9]* s$'
    says 1 '"steps":3'
    for f in checkpoints/step-3/model.safetensors checkpoints/step-3/tokenizer.json run.db reward.svg metrics.jsonl; do
        [ -s "$d/$f" ] || fail "$f is missing"
    done
    nobody "$d" || fail "left behind: $(daemons "$d")"
    # the warm-up ended where it was to
    local a
    a=$(sed -n 's/.*"accuracy_first":\([0-9.]*\).*/\1/p' "$top/out1")
    awk -v a="$a" 'BEGIN { exit !(a >= 0.13 && a <= 0.38) }' || fail "GRPO began at $a"
    start 2 --dir "$d" --steps 3
    ends "$pid" 0
    says 2 'is finished. --fresh starts the next'
}

[ "$(type -t "$test")" = function ] || fail "no such test"
"$test"
