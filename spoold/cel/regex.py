"""How costly a regular expression is: about the size of the program that it is compiled to."""

import re

#: The parts of a regular expression, and what each adds to the program that it is compiled to.
_PART = re.compile(
    r"""(?P<quoted>\\Q.*?(?:\\E|\Z)) | (?P<script>\\[pP](?:\{[^}]*\}|.))
      | (?P<kind>\\[dDwWsSCX]|\.) | (?P<escape>\\x\{[^}]*\}|\\.)
      | (?P<set>\[\^?\]?(?:\[:[^\]]*:\]|\\[pP]\{[^}]*\}|\\.|[^\]\\])*\])
      | (?P<times>\{(?P<low>[0-9]+)(?P<range>,(?P<high>[0-9]*))?\})
      | (?P<opens>\((?:\?(?:P?<\w+>|[a-zA-Z-]*:?))?) | (?P<closes>\)) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_SCRIPT, _SET = 1500, 8


def weight_of(pattern: str) -> int:
    """About how large the program is that a regular expression is compiled to, `{n}` unrolled."""
    sums, last = [0], 0
    for part in _PART.finditer(pattern):
        if part["opens"]:
            sums.append(0)
            last = 0
        elif part["times"]:
            times = max(int(part["low"]), int(part["high"] or 0)) * (3 if part["range"] else 1)
            sums[-1] += last * (times - 1)
            last *= times
        else:
            last = sums.pop() + 2 if part["closes"] and len(sums) > 1 else _weight(part)
            sums[-1] += last
    return sum(sums)


def _weight(part: re.Match[str]) -> int:
    text = part[0]
    if part["script"] or (part["set"] and not (text.isascii() and r"\p" not in text.lower())):
        return _SCRIPT
    if part["set"] or part["kind"]:
        return _SET
    return len(text) if part["quoted"] else len(text.encode("utf-8", "surrogatepass"))
