"""Whether a text that is no JSON would be JSON if it went on: its writer may not be done."""

import json
import re

_CUT_WORD = re.compile("-|t|tr|tru|f|fa|fal|fals|n|nu|nul")
_CUT_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.|(?:\.[0-9]++)?+[eE][+-]?)")
_CUT_ESCAPE = re.compile(r"[^\\]?\\(?:u[0-9a-fA-F]{0,4})?")


def is_cut(text: str, error: json.JSONDecodeError) -> bool:
    """Whether a text with this mistake would be sound if it went on."""
    at, missed = error.pos, error.msg
    if missed.startswith("Extra"):
        return False
    if missed.startswith("Unterminated") or at == len(text):
        return True
    if missed.startswith("Invalid"):
        return _CUT_ESCAPE.fullmatch(text, at - 1) is not None
    if missed.startswith("Expecting value"):
        return _CUT_WORD.fullmatch(text, at) is not None
    number = len(text.rstrip("0123456789+-.eE"))
    return number < at and _CUT_NUMBER.fullmatch(text, number) is not None
