"""The expressions of routes: compiled and typed when they are loaded, bounded when they run.

Text in, JSON value or a plain sentence out. Knows nothing of files.
"""
