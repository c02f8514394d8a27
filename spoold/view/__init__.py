"""What people and programs are shown of a spool: found, listed, described.

Reads only. Every verb that looks goes through here, so that all show the same.
"""
