"""What keeps a stage alive as a service: the loop, its hints, its signals, what it says of itself.

Knows stages by what `stages/stage.py` promises of each, and none by name.
"""
