"""A sweep over Slurm jobs that come and go with the work: python examples/bench_dask_slurm.py KODAK --out OUT --snr 1,5,10 …

Needs `pip install dask-jobqueue 'gencomm[cluster]'` where the sweep is started and the same environment on the nodes. PBS, LSF, SGE
and HTCondor: dask-jobqueue has a class for each. Partition, account and the like stand in ~/.config/dask/jobqueue.yaml, or here.
"""

from __future__ import annotations

import subprocess
import sys

from dask_jobqueue import SLURMCluster

if __name__ == "__main__":
    # One process with one thread a job: it keeps one model. Slurm ends a job after its walltime: Dask then starts another one.
    with SLURMCluster(cores=1, processes=1, job_cpu=4, memory="16GB", walltime="04:00:00") as cluster:
        cluster.adapt(maximum_jobs=16)
        finished = subprocess.run(["gencomm", "bench", "run", *sys.argv[1:], "--dask", cluster.scheduler_address], check=False)
    sys.exit(finished.returncode)
