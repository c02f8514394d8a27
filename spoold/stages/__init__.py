"""The flow, top to bottom: intake, gate, execute, sweep, report; one room and one service each.

A stage claims from its folders, moves what it can, and says when to look again. It knows no other
stage: what passes between two of them is a file in a folder.
"""
