#!/usr/bin/env bash
# A study on the nodes of one Slurm job; README.md in this folder explains it.
#
#   sbatch scripts/cluster/slurm.sh search_spaces/reat.yaml [OPTIONS of ltat-tune]
#
# Submit it from a folder that all nodes mount, with the environment active that has ltat-tune.
# Submitted again, or requeued by Slurm, it goes on where the study stopped.
#SBATCH --job-name=ltat-tune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@180
# add for GPUs, and set resources.gpus_per_trial in the space file: #SBATCH --gpus-per-node=4
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: sbatch $0 SPACE [OPTIONS of ltat-tune run]" >&2
    exit 2
fi
space=$1
shift
out=${LTAT_OUT:-studies}                          # on a path that all nodes mount
name=${LTAT_STUDY:-$(basename "$space" .yaml)}    # the study's name
wait_s=${LTAT_WAIT_S:-300}                        # for the nodes to come up

# A folder for this job that the nodes share: the token, the head's address, the nodes' logs.
mkdir -p "$out"
work=$(realpath "$out")/.slurm-$SLURM_JOB_ID
rm -rf "$work"
mkdir -m 700 "$work"
python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$work/token"

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$work/token
export RAY_USAGE_STATS_ENABLED=0
export LTAT_WORK=$work
export LTAT_PORT=$((20000 + SLURM_JOB_ID % 10000))    # two jobs may share a node

# One Ray node: the first task is the head, the others join it. Ends with its Ray, or by SIGTERM.
# shellcheck disable=SC2329    # srun's bash calls it
ray_node() {
    local scratch=/tmp/ltat-slurm-$SLURM_JOB_ID where
    local -a options=(
        --block --disable-usage-stats
        --num-cpus "${SLURM_CPUS_PER_TASK:-1}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}"
        --min-worker-port 0 --max-worker-port 0    # any: other jobs may have Rays on this node
        --object-store-memory 200000000    # images come from the study's folder, not from here
    )
    if [ "$SLURM_PROCID" = 0 ]; then
        where=$(python -c 'import ray.util; print(ray.util.get_node_ip_address())')
        options+=(--head --node-ip-address "$where" --port "$LTAT_PORT"
            --include-dashboard false --temp-dir "$scratch")
        echo "$where:$LTAT_PORT" > "$LTAT_WORK/address.new"
        mv "$LTAT_WORK/address.new" "$LTAT_WORK/address"
    else
        until grep -qs "Ray runtime started" "$LTAT_WORK/node-0.log"; do
            if [ -e "$LTAT_WORK/head-ended" ]; then return 1; fi
            sleep 1
        done
        options+=(--address "$(cat "$LTAT_WORK/address")")
    fi
    ray start "${options[@]}" &
    # shellcheck disable=SC2064    # the number of this very process
    trap "kill -TERM $! 2>/dev/null" TERM INT
    wait $! || true
    wait $! 2>/dev/null || true    # the first wait ends when the signal comes
    if [ "$SLURM_PROCID" = 0 ]; then touch "$LTAT_WORK/head-ended"; fi
    rm -rf "$scratch"
}
export -f ray_node

# --no-kill and --kill-on-bad-exit=0: a node that is lost takes only its own tasks with it
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --no-kill --kill-on-bad-exit=0 \
    --output="$work/node-%t.log" bash -c ray_node &
nodes=$!
study=
stopped=

# shellcheck disable=SC2329    # a trap calls it
finish() {
    kill -TERM "$nodes" 2>/dev/null || true
    wait "$nodes" 2>/dev/null || true
    rm -rf "$work"
}
# Slurm is about to take the nodes away: the study keeps its checkpoints and ends
# shellcheck disable=SC2329    # a trap calls it
stop() {
    stopped=yes
    [ -z "$study" ] || kill -TERM "$study" 2>/dev/null || true
}
trap finish EXIT
trap stop TERM INT

up() { grep -ls "Ray runtime started" "$work"/node-*.log 2>/dev/null | wc -l; }
for ((waited = 0; waited < wait_s && $(up) < SLURM_JOB_NUM_NODES; waited++)); do
    if [ -n "$stopped" ] || [ -e "$work/head-ended" ]; then break; fi
    sleep 1
done
again() { scontrol requeue "$SLURM_JOB_ID" 2>/dev/null || true; }    # when there is room
if [ -n "$stopped" ]; then
    again
    exit 130
fi
if ! grep -qs "Ray runtime started" "$work/node-0.log"; then
    echo "error: Ray's head did not start; its log:" >&2
    cat "$work"/node-0.log >&2 || true
    exit 1
fi
if [ "$(up)" -lt "$SLURM_JOB_NUM_NODES" ]; then
    echo "note: $(up) of $SLURM_JOB_NUM_NODES nodes are up; the others are used when they join" >&2
fi

if [ -e "$out/$name/study.json" ]; then
    ltat-tune resume "$name" --out "$out" --address "$(cat "$work/address")" &
else
    ltat-tune run "$space" --set "name=$name" --out "$out" \
        --address "$(cat "$work/address")" "$@" &
fi
study=$!
status=0
wait "$study" || status=$?
while kill -0 "$study" 2>/dev/null; do    # a signal ended the wait, not the study
    wait "$study" || true
done
if [ -n "$stopped" ]; then    # the first status was the signal's
    status=0
    wait "$study" || status=$?
fi
if [ "$status" = 130 ] && [ -n "$stopped" ]; then
    again
fi
exit "$status"
