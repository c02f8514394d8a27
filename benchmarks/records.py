"""Decision records of the size that real ones have; each has an id of its own."""

import json
import random

_METRICS = (
    ("primary_up_min", "gte", 'min_over_time(probe_success{probe_target="primary"}[1m])', 1.0),
    ("error_rate_ratio", "lte", "sum(rate(http_requests_total{code=~'5..'}[5m]))", 0.02),
    ("replication_lag_s", "lte", "max(pg_replication_lag_seconds{role='standby'})", 30.0),
)
_KINDS = ("cutover", "failback", "scale-out")


def decisions(count: int, run: str, seed: int = 0) -> list[bytes]:
    """`count` records, 0.5 to 1.5 KB each, pretty-printed as decision services write them.

    Args:
        count: how many.
        run: part of every id, so that no two calls with different runs make the same event.
        seed: of everything in them that varies.
    """
    varied = random.Random(f"{seed} {run}")
    return [
        json.dumps(_decision(number, run, varied), indent=2, sort_keys=True).encode()
        for number in range(count)
    ]


def names(count: int, run: str) -> list[str]:
    """A file name for each of them."""
    return [f"decision-{run}-{number:06}.json" for number in range(count)]


def _decision(number: int, run: str, varied: random.Random) -> dict[str, object]:
    kind = varied.choice(_KINDS)
    return {
        "decision_id": f"decision-{run}-{number:06}-{kind}-{varied.getrandbits(32):08x}",
        "decision_type": kind,
        "timestamp_utc": "2026-03-01T12:20:29.660690+00:00",
        "status": "emitted",
        "execution_mode": "emit-only",
        "runtime_env": varied.choice(("dev", "stage", "prod")),
        "module_ref": "platform/network/dns-routing",
        "desired": "secondary",
        "target_mode": "SECONDARY",
        "degraded": True,
        "signal_ready": True,
        "rationale": f"primary_degraded_elapsed={varied.randrange(60, 3600)}s",
        "checks": [
            _check(varied, *which) for which in varied.sample(_METRICS, varied.randint(1, 3))
        ],
        "module_inputs": {
            "provider": "manual-command",
            "zone": "example.com",
            "record_fqdn": f"app-{varied.randrange(1000)}.example.com",
            "record_type": "A",
            "ttl": 60,
            "primary_targets": [f"203.0.113.{varied.randrange(1, 255)}"],
            "secondary_targets": [f"198.51.100.{varied.randrange(1, 255)}"],
            "dns_apply": False,
        },
    }


def _check(
    varied: random.Random, metric: str, comparator: str, query: str, threshold: float
) -> dict[str, object]:
    return {
        "metric": metric,
        "comparator": comparator,
        "query": query,
        "threshold": threshold,
        "value": round(varied.random(), 4),
        "fresh": True,
        "ok": False,
        "sample_age_s": round(varied.random() * 5, 6),
    }
