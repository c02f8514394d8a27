"""What an agent's JSON output says while it works: cost, turns, and the value that is evidence.

Each tool has its own words: `claude` ends with one object (`total_cost_usd`, `num_turns`), `codex`
and `opencode` write a line for each event (`turn.completed`, `step_finish`).
"""

import json
import math
import sys
from contextlib import suppress
from typing import Any

#: A longer line, or a longer document of several lines, is not looked at.
_LONGEST = 4 << 20
#: Of the value that is evidence.
_LONGEST_VALUE = 4000
#: The largest numbers that JSON carries exactly; a larger one is taken for them.
_HIGHEST, _MOST_TURNS = sys.float_info.max, 2**53 - 1
_TURNS = frozenset({"turn.completed", "step_finish"})


class Usage:
    """Reads one stream, of which it keeps no more than a line.

    Args:
        key: a dotted key, such as `result` or `item.text`, whose last value that is not empty is
            kept.

    Attributes:
        cost: US dollars; None if nothing was said.
        turns: how often the model was asked; None if nothing was said.
        value: what was found under `key`.
    """

    def __init__(self, key: str | None = None) -> None:
        self.cost: float | None = None
        self.turns: int | None = None
        self.value: Any = None
        self._key = key.split(".") if key else []
        self._line = bytearray()
        self._too_long = False
        self._document = bytearray()
        self._counted = 0
        self._spent = 0.0

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        if len(self._document) <= _LONGEST:
            self._document += data[: _LONGEST + 1 - len(self._document)]
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            self._end_line()
        self._add(rest)

    def end(self) -> None:
        """The stream has ended: its last line counts, and so does a document of many lines."""
        self._end_line()
        if len(self._document) <= _LONGEST and b"\n" in self._document.strip():
            self._read(self._document)

    def _add(self, piece: bytes) -> None:
        if len(self._line) + len(piece) > _LONGEST:
            self._too_long = True
        if not self._too_long:
            self._line += piece

    def _end_line(self) -> None:
        if not self._too_long:
            self._read(self._line)
        self._line.clear()
        self._too_long = False

    def _read(self, text: bytearray) -> None:
        if not text.lstrip().startswith((b"{", b"[")):
            return
        # What is nested too deeply to be read or to be written says nothing.
        with suppress(ValueError, RecursionError):
            said = json.loads(text)
            if isinstance(said, list):
                # All events as one list, of which a line may have been taken for one already.
                self._counted, self._spent = 0, 0.0
            for one in said if isinstance(said, list) else [said]:
                if isinstance(one, dict):
                    self._take(one)

    def _take(self, said: dict[str, Any]) -> None:
        part = said.get("part")
        step = part if isinstance(part, dict) else said
        kind = said.get("type")
        if isinstance(kind, str) and kind in _TURNS:
            self._counted += 1
            self._spent = min(self._spent + (_amount(step.get("cost")) or 0.0), _HIGHEST)
        total, turns = _amount(said.get("total_cost_usd")), _amount(said.get("num_turns"))
        self.cost = max((c for c in (self.cost, total, self._spent or None) if c is not None),
                        default=None)  # fmt: skip
        # Half a turn more than the cap is more than the cap.
        rounded = math.ceil(min(turns, _MOST_TURNS)) if turns else None
        known = (self.turns, rounded, self._counted or None)
        self.turns = max((count for count in known if count is not None), default=None)
        if str(said.get("is_error")).strip().lower() == "true":
            # What it then calls its result says what went wrong.
            self.value = None
        elif self._key and _has_something(value := _at(said, self._key)):
            spelled = value if isinstance(value, str) else json.dumps(value)
            # Half a surrogate pair is JSON, and no text that can be written down.
            self.value = spelled[:_LONGEST_VALUE].encode("utf-8", "replace").decode()


def _amount(value: object) -> float | None:
    """A number, as such or spelled in a string, that can be an amount of something."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(min(value, _HIGHEST) if isinstance(value, int) else value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _has_something(value: object) -> bool:
    """Whether there is any text in it, or a number, or a yes; also deep inside."""
    match value:
        case str():
            return bool(value.strip())
        case bool():
            return value
        case float():
            return math.isfinite(value)
        case int():
            return True
        case list():
            return any(map(_has_something, value))
        case dict():
            return any(map(_has_something, value.values()))
    return False


def _at(value: Any, keys: list[str]) -> Any:
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value.strip() if isinstance(value, str) else value
