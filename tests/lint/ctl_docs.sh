#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Does the manual of grpoctl name every verb and every option it has, and does the completion offer them?
# usage: ctl_docs.sh GRPOCTL GRPOCTL.1.SCD COMPLETION
set -u
ctl=$1 page=$2 completion=$3 failed=0

fail() {
    echo "$*" >&2
    failed=1
}

# what pressing Tab offers for the words given, the last of which is being typed
offers() {
    COMP_WORDS=(grpoctl "$@")
    COMP_CWORD=$#
    COMPREPLY=()
    _grpoctl
    echo " ${COMPREPLY[*]} "
}

PATH=$(cd "$(dirname "$ctl")" && pwd):$PATH
# shellcheck source=/dev/null
. "$completion"
verbs=$("$ctl" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ "$(wc -w <<<"$verbs")" -ge 12 ] || fail "grpoctl --help lists too few verbs: $verbs"
for verb in $verbs; do
    grep -q "^\*$verb\*\|^\*[a-z]*\*, \*$verb\*" "$page" || fail "$page: the verb $verb is missing"
    [[ $(offers "${verb:0:2}") == *" $verb "* ]] || fail "$completion: the verb $verb is not offered"
    options=$("$ctl" "$verb" --help | sed -n 's/^ *\(-[a-z], \)*\(--[a-z-]*\).*/\2/p')
    [ -n "$options" ] || fail "grpoctl $verb --help lists no options"
    for option in $options; do
        grep -q "\*$option\*" "$page" || fail "$page: the option $option of $verb is missing"
        [[ $(offers "$verb" --) == *" $option "* ]] || fail "$completion: the option $option of $verb is not offered"
    done
done
[ "$(offers status --on l)" = " learner " ] || fail "$completion: --on l: learner is not offered"
[ "$(offers --run . stat)" = " status " ] || fail "$completion: a verb after --run is not completed"
exit $failed
