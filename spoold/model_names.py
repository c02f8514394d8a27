"""Model labels as people write them → what they are compared by."""

from fnmatch import fnmatchcase

_FAMILIES = ("minimax", "qwen", "gemma")


def is_pattern(entry: str) -> bool:
    """Whether an entry of a list of models stands for several."""
    return not set("*?[").isdisjoint(entry)


def model_family(model: str) -> str:
    """What models are compared by: `local-qwen3.6-coder` is `qwen`, `gpt-5` is itself."""
    label = model.strip().lower().removeprefix("local-")
    return next((family for family in _FAMILIES if label.startswith(family)), label)


def choose_model(wanted: str, offered: list[str]) -> str | None:
    """The model to run for a request that names `wanted`; None if no offered model fits.

    Args:
        wanted: the label of the request.
        offered: labels, or patterns such as `gpt-*`, in the order of preference.
    """
    label = wanted.strip()
    for entry in offered:
        if entry.lower() == label.lower():
            return entry
    plain = label.lower().removeprefix("local-")
    for entry in filter(is_pattern, offered):
        if any(fnmatchcase(form, entry.lower()) for form in (label.lower(), plain)):
            return label
    for entry in offered:
        if model_family(entry.rstrip("*")) == model_family(label):
            return label if "*" in entry else entry
    return None
