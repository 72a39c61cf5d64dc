"""Runs batch jobs in tasks of a cluster's scheduler: Slurm, Grid Engine and others."""
