"""The pages for operators: metrics, permissions, examples, links; true in both directions."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from spoold import rights as access
from spoold.config.quantities import parse_duration
from spoold.config.settings import Settings, SourceTable
from spoold.health import metrics as health
from spoold.request import now, timestamp
from spoold.service import metrics
from spoold.stages.intake import claimer
from spoold.states import FOLDERS, Role
from tests.unit._manual import CHECKOUT, MAN, table

DOCS = CHECKOUT / "docs"
EXAMPLES = CHECKOUT / "packaging/examples"
#: What is written for people who run it; `decisions/` is for those who change it.
FOR_PEOPLE = sorted(p for p in DOCS.rglob("*.md") if p.parent.name != "decisions")
#: What is written for operators, in shell; the others are Python, or have a test of their own.
HOW_TOS = [p for p in FOR_PEOPLE if p.parent.name == "how-to"
           and p.name not in ("add-an-executor.md", "migrate.md")]  # fmt: skip


def text_of(path):
    """A page."""
    return Path(path).read_text(encoding="utf-8")


# Metrics


def exposed():
    """Each metric by the name that Prometheus sees, and its labels."""
    found = {f"{name}_total": {"stage", *labels} for name, labels, _ in metrics.COUNTERS.values()}
    for name, labels, _ in [*metrics.GAUGES.values(), *metrics.DURATIONS.values()]:
        found[name] = {*labels}
    one = {"customer": "c", "name": "customer-c"}
    state = {"executor": "docker", "checked_at": timestamp(now()), "containers": [one]}
    text = health.as_text([state]).decode()
    for name, labels in re.findall(r"^(spoold_\w+)\{(.*)\}", text, re.MULTILINE):
        found[name] = {*re.findall(r'(\w+)="', labels)}
    return found


EXPOSED = exposed()


def metrics_in(text):
    """The words in a text that are metrics, without what a histogram adds."""
    histograms = {name for name, _, _ in metrics.DURATIONS.values()}
    found = set()
    for name in re.findall(r"\bspoold_[a-z][a-z_]*\b", text):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        found.add(base if base in histograms else name)
    return found


def documented_metrics(text):
    """Metric → labels, of the page's table."""
    return {row[0].strip("`"): {*re.findall(r"`(\w+)`", row[1])}
            for row in table(text, "| metric |")}  # fmt: skip


def test_every_metric_is_explained_with_its_labels():
    """The table of the page is what is exposed, label by label."""
    assert documented_metrics(text_of(DOCS / "metrics.md")) == EXPOSED


@pytest.mark.parametrize(
    "path",
    [*DOCS.glob("*.md"), *HOW_TOS, CHECKOUT / "README.md", *EXAMPLES.iterdir()],
    ids=lambda path: path.name,
)
def test_no_page_names_a_metric_that_is_not_there(path):
    """Whatever looks like a metric is one."""
    assert metrics_in(text_of(path)) <= EXPOSED.keys()


def test_a_metric_that_is_not_there_is_noticed():
    """A counter without its ending, and a name that was never one, are found."""
    assert metrics_in("rate(spoold_moves[5m]) + spoold_stage_up") == {
        "spoold_moves",
        "spoold_stage_up",
    }
    assert "spoold_moves" not in EXPOSED


def test_another_folder_for_the_text_file_is_opened_for_the_service():
    """The page's example, its drop-in and its command are about one folder and the unit's user."""
    text = text_of(DOCS / "metrics.md")
    (block,) = [one for one in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "textf" in one]
    file = Settings.model_validate(
        {"root": "/", "sources": {}, **tomllib.loads(block)}
    ).metrics.textfile
    assert file
    (folder,) = re.findall(r"^ReadWritePaths=(.*)$", text, re.MULTILINE)
    ((user, given),) = re.findall(r"setfacl -m u:([\w-]+):rwx (\S+)", text)
    assert str(Path(file).parent) == folder == given
    unit = text_of(CHECKOUT / "packaging/systemd/spoold-metrics.service")
    assert f"\nUser={user}\n" in unit
    assert "\nProtectSystem=strict\n" in unit
    assert "/etc/systemd/system/spoold-metrics.service.d/60-" in text
    assert "spoold-metrics.service.d/60-" in text_of(MAN / "spoold.toml.5")


# Alerts


def rules():
    """Every alert rule."""
    found = yaml.safe_load(text_of(EXAMPLES / "alerts.yml"))
    return [rule for group in found["groups"] for rule in group["rules"]]


def complaints(expression):
    """What is wrong with an expression: a metric, a label or a folder that is not there."""
    wrong = sorted(metrics_in(expression) - EXPOSED.keys())
    for name, matchers in re.findall(r"(spoold_\w+)\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', matchers):
            if label not in EXPOSED.get(name, ()):
                wrong.append(f"{name} has no label {label}")
            places = [f.path("x" if f.per else "") for f in FOLDERS.values()]
            pattern = value if operator == "=~" else re.escape(value)
            if label == "folder" and not any(re.fullmatch(pattern, place) for place in places):
                wrong.append(f"there is no folder {value}")
    return wrong


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_looks_at_what_there_is(rule):
    """Its metrics, labels and folders exist, and it says what to look at."""
    assert complaints(rule["expr"]) == []
    assert metrics_in(rule["expr"])
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


@pytest.mark.parametrize("wrong", [
    "spoold_stage_upp == 0",
    'spoold_files{folder="quarantined"} > 0',
    'spoold_files{stage="gate"} > 0',
    'spoold_oldest_seconds{folder=~"inbox-.*"} > 1',
])  # fmt: skip
def test_an_alert_that_would_never_fire_is_noticed(wrong):
    """A name, a label or a folder that is not there is a complaint."""
    assert complaints(wrong)


def test_what_an_operator_must_know_has_an_alert():
    """Down, hung, waiting too long, quarantine, unknown, missed events, errors, an old sweep."""
    looked_at = " ".join(rule["expr"] for rule in rules())
    for part in ("spoold_stage_up", "spoold_stage_heard_seconds", 'folder="awaiting-approval"',
                 "quarantine/", 'folder=~"unknown/', "spoold_events_missed_total",
                 "spoold_errors_total", "spoold_last_sweep_timestamp_seconds"):  # fmt: skip
        assert part in looked_at


# Permissions

COLUMNS = (Role.SUBMITTER, Role.INTAKE, Role.GATE, Role.EXECUTE, Role.SWEEP, Role.REPORT,
           Role.HEALTH, Role.PERSON)  # fmt: skip


def rights(folder):
    """A folder's row, from the table of folders."""
    entry = access.of_folder(folder, "NAME" if folder.per else "")
    cells = [access.letters(access.may(role, folder)).replace("-", "") for role in COLUMNS]
    return [f"`{entry.path}/`", f"`{entry.owner}`", f"{entry.mode:04o}", *cells]


def test_the_page_of_permissions_is_what_access_says():
    """Every folder has its row: owner, mode, and what each role may do."""
    rows = table(text_of(DOCS / "permissions.md"), "| folder |")
    assert rows == [rights(folder) for folder in FOLDERS.values()]


# Pages


@pytest.mark.parametrize("path", FOR_PEOPLE, ids=lambda path: path.name)
def test_every_page_can_be_found(path):
    """The README has a link to each page."""
    assert f"({path.relative_to(CHECKOUT)})" in text_of(CHECKOUT / "README.md")


@pytest.mark.parametrize("path", [*FOR_PEOPLE, CHECKOUT / "README.md"], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    """What a page points to in this tree is there, and a heading that it names, too."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text_of(file), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]
            assert anchor in slugs, target


@pytest.mark.parametrize("path", HOW_TOS, ids=lambda path: path.name)
def test_what_a_how_to_tells_to_type_is_shell(path):
    """Each block of commands is accepted by a shell, to the last quote."""
    for block in re.findall(r"(?:^    .*\n)+", text_of(path), re.MULTILINE):
        ended = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True,
                               check=False, timeout=30)  # fmt: skip
        assert ended.returncode == 0, (block, ended.stderr)


def typed(path):
    """The lines of a page's blocks of commands: fenced as shell, or indented by four."""
    text = text_of(path)
    fenced = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return "".join([*fenced, *re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)]).splitlines()


@pytest.mark.parametrize("path", FOR_PEOPLE, ids=lambda path: path.name)
def test_what_is_stopped_is_services_and_timers(path):
    """`spoold*` is also the scope of every agent that runs, and the target does not wait."""
    for line in typed(path):
        stopped = re.findall(r"systemctl stop ([^;#]*)", line)
        for unit in re.findall(r"\S*spoold\S*", " ".join(stopped)):
            assert re.search(r"\.(service|timer)'?$", unit) or "*" not in unit, line
            assert "spoold.target" not in unit, line


@pytest.mark.parametrize("path", FOR_PEOPLE, ids=lambda path: path.name)
def test_no_page_goes_where_others_may_write(path):
    """`spoold` looks for ./config/spoold.toml first, and approvers may write into the spool."""
    assert [line for line in typed(path) if re.search(r"(?:^|[;&|(]) *(?:cd|pushd) ", line)] == []


def test_pages_say_how_long_a_file_that_cannot_be_asked_about_is_waited_for():
    """Where intake is not the owner the factor is that of the code, wherever `settle` is told."""
    settle = int(SourceTable.model_fields["settle"].default * claimer._UNASKABLE)
    for name in ("README.md", "docs/how-to/when-a-folder-fills.md", "docs/reliability.md",
                 "docs/decisions/0003-half-written-files.md", "docs/routes.md",
                 "packaging/man/spoold.toml.5"):  # fmt: skip
        text = " ".join(text_of(CHECKOUT / name).replace("`", "").split())
        assert f"{claimer._UNASKABLE} times" in text, name
        assert {f"({found} s)" for found in re.findall(r"times settle \((\d+) s\)", text)} <= {
            f"({settle} s)"
        }


# The container

DOCKER = CHECKOUT / "packaging/docker"


def writable(service):
    """The places of a service that are volumes it may write to."""
    mounts = [one.split(":") for one in service["volumes"]]
    return [mount[1] for mount in mounts if mount[2:] != ["ro"]]


def test_the_container_has_one_volume_above_the_spool():
    """Compose and the image agree on one place to write to; the root is read-only, and no root."""
    (service,) = yaml.safe_load(text_of(DOCKER / "compose.yaml"))["services"].values()
    image = text_of(DOCKER / "Dockerfile")
    assert writable(service) == re.findall(r"^VOLUME (.*)$", image, re.MULTILINE)
    assert service["read_only"]
    assert service["init"]
    assert service["cap_drop"] == ["ALL"]
    (user,) = re.findall(r"^USER (.*)$", image, re.MULTILINE)
    assert service["user"] == user
    assert user.split(":")[0] not in ("0", "root")
    assert 'CMD ["spoold", "status"]' in image


def test_the_container_is_given_time_to_stop():
    """What runs gets `stop_grace`, which must be over before it is killed."""
    (service,) = yaml.safe_load(text_of(DOCKER / "compose.yaml"))["services"].values()
    grace = Settings.model_validate({"root": "/", "sources": {}}).stop_grace
    assert parse_duration(service["stop_grace_period"]) > 2 * grace


def test_the_engines_socket_is_given_to_nobody_by_default():
    """It stands in a comment, with a warning."""
    (service,) = yaml.safe_load(text_of(DOCKER / "compose.yaml"))["services"].values()
    assert "docker.sock" not in str(service)
    assert "ROOT ON THE HOST" in text_of(DOCKER / "compose.yaml")
