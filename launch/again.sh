#!/usr/bin/env bash
# Run a command, and again as long as it exits with 75, which says: saved, start me again.
#
#   launch/again.sh jbatch train experiments/digits.py increasing
#
# SIGTERM and SIGINT are handed on to the command, and then it is not started again: the exit code
# is its own, 75, for whoever asked.
set -u

if [ "$#" -eq 0 ]; then
    echo "usage: launch/again.sh COMMAND [ARGUMENT …]" >&2
    exit 2
fi
asked=""
trap 'asked=1; kill -TERM "$child" 2>/dev/null' TERM INT

while true; do
    "$@" &
    child=$!
    wait "$child"
    code=$?
    while kill -0 "$child" 2>/dev/null; do # a signal ends the wait, not the command
        wait "$child"
        code=$?
    done
    if [ "$code" -ne 75 ] || [ -n "$asked" ]; then
        exit "$code"
    fi
    echo "again.sh: starting again" >&2
    sleep 2
    if [ -n "$asked" ]; then # meanwhile
        exit 75
    fi
done
