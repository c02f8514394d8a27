"""What people and programs are shown of a spool: found, listed, counted, described.

Reads only. Every verb that looks, and the metrics, go through here, so that all show the same.
"""
