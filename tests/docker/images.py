"""An image made of one static program, without a registry: what a customer's container runs."""

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

_TOOLS = ("sh", "httpd", "wget", "nc", "sleep", "cat", "echo", "test", "rm", "ip", "nslookup")

#: What it does is in the variable MODE.
_START = """\
#!/bin/sh
trap 'exit 0' TERM
echo "started as ${MODE:-ok} with ${SECRET_URL:-nothing}"
case "${MODE:-ok}" in
  exit)     echo "boom with $SECRET_URL" >&2; exit 3 ;;
  quit)     exit 0 ;;
  flap)     sleep 0.7; exit 4 ;;
  sick)     ;;
  slow)     (sleep 1.5; echo ok > /www/health) & ;;
  stubborn) trap '' TERM; echo ok > /www/health ;;
  *)        echo ok > /www/health ;;
esac
httpd -f -p 3000 -h /www &
while :; do wait; done
"""


def _layer(busybox: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for folder in ("bin", "www", "tmp", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in (
            ("bin/busybox", busybox.read_bytes()),
            ("start", _START.encode()),
            ("www/index.html", b"here\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for tool in _TOOLS:
            entry = tarfile.TarInfo(f"bin/{tool}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return data.getvalue()


def build(api: Any, repository: str, changes: tuple[str, ...] = ()) -> str:
    """Import it into an engine; its name."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is not installed"
    commands = ['CMD ["/start"]', "VOLUME /data", *changes]
    api.import_image_from_data(_layer(Path(busybox)), repository, tag="1", changes=commands)
    return f"{repository}:1"
