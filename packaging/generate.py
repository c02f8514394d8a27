"""Write what follows from the table of folders: `python packaging/generate.py`."""

from pathlib import Path

from spoold import rights

HERE = Path(__file__).parent
HEAD = "# Generated from spoold/states.py by packaging/generate.py.\n"


def files() -> dict[Path, str]:
    """Each generated file and its text."""
    tmpfiles = [*rights.tmpfiles("/var/spool/spoold"), "d /run/spoold 0755 root root -"]
    return {
        HERE / "sysusers.d/spoold.conf": HEAD + "\n".join([*rights.accounts({}), ""]),
        HERE / "tmpfiles.d/spoold.conf": HEAD + "\n".join([*tmpfiles, ""]),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
