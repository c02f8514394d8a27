"""Containers that fail, noticed by a look on a timer; a restart is asked for like anything else."""
