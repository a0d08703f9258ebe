#!/bin/sh
#SBATCH --job-name=gencomm-bench
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
# A sweep as an array job: each task makes one part of the rows in a folder of its own, and starts again where it stopped.
#   parts=$(sbatch --parsable examples/bench_slurm_array.sh OUT KODAK --protocol diffjscc --methods textguided)
#   sbatch --dependency=afterok:$parts --wrap "gencomm bench merge OUT/part-* -o OUT/all && gencomm bench report OUT/all"
# GPUs: add --gres=gpu:1 to sbatch. The number of parts is --array's: `sbatch --array=1-32 …`; keep it when you send the job again.
set -eu
out=$1
shift
part=$SLURM_ARRAY_TASK_ID
gencomm bench run "$@" --out "$out/part-$part" --shard "$part/$SLURM_ARRAY_TASK_COUNT"
