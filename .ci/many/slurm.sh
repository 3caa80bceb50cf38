#!/bin/bash
#SBATCH --job-name=ferryman
#SBATCH --array=1-4
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
# Slurm: an array, each task one part of the matrix, known by SLURM_ARRAY_TASK_ID. A task whose node dies is put into the
# queue again, and goes on where it was: its runs are in RESULTS, which all nodes share.
#
#   sbatch --export=ALL,FERRYMAN=/path/to/ferryman,RESULTS=/shared/results .ci/many/slurm.sh
#   sbatch --dependency=afterany:<job> --wrap 'cd "$FERRYMAN" && npx tsx harness/cli.ts report merge "$RESULTS" --into "$RESULTS/suite"'
#
# MATRIX says what of the matrix; every node needs a container engine that answers.
set -u
cd "${FERRYMAN:?where the repository is, with npm install done}"
part="${RESULTS:?a folder that all nodes share}/part-${SLURM_ARRAY_TASK_ID:?this is for sbatch}"
if [ -e "$part/campaign.json" ]; then where=(--resume "$part"); else where=(--folder "$part"); fi
# shellcheck disable=SC2086 -- words of a command line
npx tsx harness/cli.ts run --matrix ${MATRIX:---matrix-slice 0 --accels tcg} --seed 7 --jobs 1 "${where[@]}"
code=$?
# 1: something was not as the model says; that is for the suite to tell. Anything else is this task's failure.
[ "$code" -le 1 ]
