#!/usr/bin/env bash
# Run a command, and again as long as it exits with 75, which says: saved, start me again.
#
#   launch/again.sh jbatch train experiments/digits.py increasing
#
# SIGTERM and SIGINT are handed on to the command, and then it is not started again: the exit code
# is its own, 75, for whoever asked. A command that comes to 75 within 400 s five times in a row
# does not get anywhere: it is given up, with 1. (Processes wait 300 s for each other to join.)
set -u

if [ "$#" -eq 0 ]; then
    echo "usage: launch/again.sh COMMAND [ARGUMENT …]" >&2
    exit 2
fi
asked="" quick=0
trap 'asked=1; kill -TERM "$child" 2>/dev/null' TERM INT

while true; do
    SECONDS=0
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
    if [ "$SECONDS" -lt 400 ]; then quick=$((quick + 1)); else quick=0; fi
    if [ "$quick" -eq 5 ]; then
        echo "again.sh: five times in a row it ended within 400 s: given up" >&2
        exit 1
    fi
    echo "again.sh: starting again" >&2
    sleep 2
    if [ -n "$asked" ]; then # meanwhile
        exit 75
    fi
done
