#!/bin/bash
# Trains on several machines with Slurm, one worker for each node:
#
#   sbatch --nodes=4 deploy/train.slurm.sh student.py s3://BUCKET/runs/student
#
# `must train` finds the other workers by the variables that srun sets. The workdir is in a bucket, or on a disk that all
# nodes see; the config is on such a disk. Slurm sends SIGTERM five minutes before the time is over; the run writes a
# checkpoint, and the job goes into the queue again.
#SBATCH --job-name=must-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: sbatch [--nodes=N] $0 CONFIG WORKDIR [FLAG ...]" >&2
    exit 2
fi
config=$1 workdir=$2
shift 2

# Worker 0 writes the checkpoint: it has four minutes after the first task has ended, and a lost task ends the others.
# Slurm since 22.05 gives srun one CPU for each task, unless it is told again.
status=0
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 --wait=240 \
    must train --config="$config" --workdir="$workdir" \
    --config.strategy=multiworker --config.streams="$SLURM_NNODES" "$@" || status=$?

if [ "$status" -eq 143 ]; then # stopped by SIGTERM, at a checkpoint
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
