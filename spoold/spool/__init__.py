"""A spool on disk: the table in `states.py`, carried out with `disk/`.

For stages, and for whatever a person decides. Executors and sources never come here.
"""
