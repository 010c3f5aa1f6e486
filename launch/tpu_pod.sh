#!/usr/bin/env bash
# Train on all hosts of a Cloud TPU slice.
#
#   launch/tpu_pod.sh NAME ZONE experiments/imagenet_resnet50.py growing-pod --run-dir /mnt/runs/r50
#
# Every host needs this repository in ~/jbatch, with jbatch[tpu] in its .venv, and the same file
# system at --run-dir. launch/again.sh restarts jbatch on each host after exit code 75.
set -euo pipefail

if [ "$#" -lt 4 ]; then
    echo "usage: launch/tpu_pod.sh NAME ZONE FILE VARIANT [OPTION …]" >&2
    exit 2
fi
name=$1 zone=$2
shift 2

# Quote the command again, for the shell on the hosts.
train=$(printf '%q ' launch/again.sh .venv/bin/jbatch train "$@" --distributed)
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="cd ~/jbatch && exec $train"
