"""Files that start a Ray for a run, ready for a size: KubeRay, Slurm, `ray up`."""
