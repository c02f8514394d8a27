"""A request → the few lines that a person reads before a yes: what would run, why, until when."""

import orjson

from spoold.request import Request
from spoold.text import shown
from spoold.view.lines import warnings

#: Characters of one parameter; `spoold show` has all of it.
_LONGEST = 300


def plan(found: Request) -> list[str]:
    """What would run, a line each; the parameters are all there, long ones cut.

    Last comes what in it may mislead the eye.
    """
    targets = {key: value for key, value in found.targets.items() if value}
    why = found.rationale
    lines = [f"executor  {found.executor}", *(f"{key}  {value}" for key, value in targets.items())]
    for key, value in found.params.items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        rest = len(text) - _LONGEST
        cut = f"{text[:_LONGEST]} … {rest} characters more" if rest > 0 else text
        lines.append(f"{key}  {cut}")
    lines += [f"why  {why}"] if why else []
    times = f", asked for {found.asked} times" if found.asked > 1 else ""
    lines.append(f"expires  {found.approval.expires_at}{times}")
    lines += warnings([targets, found.params, why])
    return [f"  {shown(line)}" for line in lines]
