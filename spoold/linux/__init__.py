"""What the kernel and systemd are asked: processes, control groups, notifications, safe opens.

Knows nothing of spoold. Each file says which manual page it relies on.
"""
