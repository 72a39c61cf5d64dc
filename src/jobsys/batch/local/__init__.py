"""Runs batch jobs in warm processes on this machine. Without code, so that a host can be started before the rest is loaded."""
