#!/usr/bin/env bash
# Run a command, and run it again whenever it exits with 75 ("interrupted and saved").
#
#   launch/again.sh jbatch train experiments/digits.py increasing
#
# The script passes SIGTERM and SIGINT to the command and does not start it again. It exits with the
# command's own code, 75. If the command exits with 75 within 400 s five times in a row, the script
# gives up and exits with 1. (The limit is over the 300 s that processes wait for each other to join.)
set -u

if [ "$#" -eq 0 ]; then
    echo "usage: launch/again.sh COMMAND [ARGUMENT …]" >&2
    exit 2
fi
asked="" early="" child="" quick=0
trap 'asked=1; if [ -n "$child" ]; then kill -TERM "$child" 2>/dev/null; else early=1; fi' TERM INT

while true; do
    SECONDS=0
    "$@" &
    child=$!
    if [ -n "$early" ]; then # a signal came before the line above
        kill -TERM "$child" 2>/dev/null
        early=""
    fi
    wait "$child"
    code=$?
    while [ "$code" -gt 128 ]; do # perhaps a signal ended `wait`, and not the command
        wait "$child" 2>/dev/null
        again=$?
        if [ "$again" -eq 127 ]; then break; fi # it had ended, with the code that we have
        code=$again
        kill -0 "$child" 2>/dev/null || break
    done
    if [ "$code" -ne 75 ] || [ -n "$asked" ]; then
        exit "$code"
    fi
    if [ "$SECONDS" -lt 400 ]; then quick=$((quick + 1)); else quick=0; fi
    if [ "$quick" -eq 5 ]; then
        echo "again.sh: giving up: the command exited with 75 within 400 s five times in a row" >&2
        exit 1
    fi
    child=""
    echo "again.sh: starting again" >&2
    sleep 2
    if [ -n "$asked" ]; then # a signal came during the sleep
        exit 75
    fi
done
