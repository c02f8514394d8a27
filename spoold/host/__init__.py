"""The machine around a spool: users, permissions, units, file systems.

For root's commands (`check --permissions`, the Debian package). No stage comes here.
"""
