"""The quick benchmark: `python -m bench.quick`.

Manifest reads and durable blob uploads, beside Debian's docker-registry, the bare ASGI server and
nginx, in one run on one machine, everything on tmpfs. A figure is a ratio to a peer of the same run;
the contestants take turns (A B A B), medians count. Exits with 1 if a target is missed.
"""

import argparse
import contextlib
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import images
from bench.evidence import write_evidence
from bench.load import MIB, BigBlob, manifest_rate, sink_rate, upload_rate
from bench.processes import scratch
from bench.programs import find
from bench.servers import REGISTRIES, Server, bare_granian, distribution, nginx, static_file

REPOSITORY = "bench/image"
TAG = "latest"
TARGET = f"/v2/{REPOSITORY}/manifests/{TAG}"
BLOB_MIB = 400

OURS = "entrepot"
OURS_LOGGING = "entrepot, access log on"
PEER = "docker-registry"
BARE = "bare Granian"
NGINX = "nginx (static file)"
SINK = "a sink (our generator alone)"

HOP_HEADERS = {"connection", "date", "server", "transfer-encoding"}
"""What the ASGI server writes itself: the bare application does not repeat it."""


@dataclass(frozen=True)
class Target:
    """A ratio that must be reached: the median of one contestant over that of another."""

    work: str
    contestant: str
    against: str
    floor: float

    def ratio(self, medians: Mapping[str, Mapping[str, float]], *, stand_in: str | None = None) -> float:
        """Compute the ratio, with another contestant in the place of ours if one is given."""
        figures = medians[self.work]
        return figures[stand_in or self.contestant] / figures[self.against]


TARGETS = [
    Target("GET manifest by tag, requests/s", OURS, PEER, 12.0),
    Target("GET manifest by tag, requests/s", OURS, BARE, 0.5),
    Target("GET manifest by tag, requests/s", OURS_LOGGING, OURS, 0.6),
    Target(f"PUT {BLOB_MIB} MiB blob, MiB/s", OURS, PEER, 1.5),
]
MANIFEST, UPLOAD = TARGETS[0].work, TARGETS[-1].work


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the evidence; the exit status."""
    options = _options(arguments)
    samples, access_log = measure(options)
    medians = {
        work: {name: statistics.median(values) for name, values in figures.items()}
        for work, figures in samples.items()
    }
    verdicts = [_verdict(target, medians) for target in TARGETS]
    control = [_verdict(target, medians, stand_in=PEER) for target in TARGETS]
    print_table(medians, verdicts)
    met = all(verdict["met"] for verdict in verdicts) and access_log["as_asked"]
    if not access_log["as_asked"]:
        print(f"the access log was not what was asked for: {access_log}")
    if options.ours != OURS:
        print(f"\n{options.ours} stood as {OURS}: no evidence is written")
    else:
        _write(options, samples, medians, verdicts, control, access_log)
    return 0 if met or options.no_gate else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quick", description=__doc__)
    parser.add_argument(
        "--no-gate", action="store_true", help="report only, exit with 0 whatever the figures"
    )
    parser.add_argument("--seconds", type=int, default=5, help="how long each contestant answers, per repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--ours", choices=sorted(REGISTRIES), default=OURS, help="who stands as ours, to try the benchmark"
    )
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> tuple[dict[str, dict[str, list[float]]], dict[str, Any]]:
    """Take all samples; also what our access log holds, so that \"log on\" is known to have logged."""
    with scratch("bench") as directory:
        with contextlib.ExitStack() as running:
            servers = _start(running, directory, options.ours)
            manifests, requests = _measure_manifests(servers, options)
            uploads = _measure_uploads(servers, directory, options)
            logs = {name: servers[name].log for name in (OURS, OURS_LOGGING)}
        lines = {name: _lines(log) for name, log in logs.items()}
    access_log = {
        "lines": lines,
        "requests": requests,
        "as_asked": options.ours != OURS
        or (lines[OURS_LOGGING] >= requests[OURS_LOGGING] and lines[OURS] < requests[OURS] / 100),
    }
    return {MANIFEST: manifests, UPLOAD: uploads}, access_log


def _start(running: contextlib.ExitStack, directory: Path, ours: str) -> dict[str, Server]:
    """Start every contestant with the same manifest in it."""
    root = _kilobyte_image()
    start = REGISTRIES[ours]
    servers: dict[str, Server] = {}
    for name, access in ((OURS, "false"), (OURS_LOGGING, "true")):
        place = _subdirectory(directory, name)
        environment = {"ENTREPOT__LOG__ACCESS": access}
        servers[name] = running.enter_context(start(place, environment=environment))
    servers[PEER] = running.enter_context(distribution(_subdirectory(directory, PEER)))
    for server in servers.values():
        images.push(server.address, REPOSITORY, TAG, root)

    headers = _headers_of(servers[OURS])
    bare = bare_granian(_subdirectory(directory, BARE), headers=headers, body=root.data)
    servers[BARE] = running.enter_context(bare)
    if find("nginx"):
        place = _subdirectory(directory, NGINX)
        served = static_file(place, target=TARGET, body=root.data, media_type=root.media_type)
        servers[NGINX] = running.enter_context(nginx(place, http=served))
    for server in servers.values():
        _check_answer(server, root)
    return servers


def _kilobyte_image() -> images.Content:
    """Make an image whose manifest has about 1 KiB: a configuration and five layers."""
    return images.image([{f"file-{number}": b"some bytes\n" * number} for number in range(5)])


def _headers_of(server: Server) -> dict[str, str]:
    stored = images.stored_manifest(server.address, REPOSITORY, TAG)
    assert stored is not None
    return {name: value for name, value in stored[1].items() if name not in HOP_HEADERS}


def _check_answer(server: Server, root: images.Content) -> None:
    """Refuse to measure a server that answers with other bytes."""
    stored = images.stored_manifest(server.address, REPOSITORY, TAG)
    assert stored is not None
    assert stored[0] == root.data, f"{server.address} answers with other bytes"


def _measure_manifests(
    servers: Mapping[str, Server], options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, int]]:
    rates: dict[str, list[float]] = {name: [] for name in servers}
    requests = dict.fromkeys(servers, 0)
    for _ in range(options.repeats):
        for name, server in servers.items():
            rate = manifest_rate(server.address, TARGET, seconds=options.seconds)
            rates[name].append(round(rate.per_second, 1))
            requests[name] += rate.requests
    return rates, requests


def _measure_uploads(
    servers: Mapping[str, Server], directory: Path, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Upload in turns; one upload of each contestant goes unmeasured before."""
    blob = BigBlob.create(directory / "blob", BLOB_MIB * MIB)
    contestants = {name: servers[name] for name in (OURS, PEER)}
    for server in contestants.values():
        upload_rate(server.address, REPOSITORY, blob)
    rates: dict[str, list[float]] = {name: [] for name in (*contestants, SINK)}
    for _ in range(options.repeats):
        for name, server in contestants.items():
            rates[name].append(round(upload_rate(server.address, REPOSITORY, blob), 1))
        rates[SINK].append(round(sink_rate(blob), 1))
    return rates


def _verdict(
    target: Target, medians: Mapping[str, Mapping[str, float]], *, stand_in: str | None = None
) -> dict[str, Any]:
    ratio = target.ratio(medians, stand_in=stand_in)
    return {
        "work": target.work,
        "contestant": stand_in or target.contestant,
        "against": target.against,
        "ratio": round(ratio, 3),
        "floor": target.floor,
        "met": ratio >= target.floor,
    }


def print_table(medians: Mapping[str, Mapping[str, float]], verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Print the medians, then each target with what was reached."""
    for work, figures in medians.items():
        print(f"\n{work} (medians)")
        for name, figure in figures.items():
            print(f"  {name:<28}{figure:>12,.0f}")
    print("\ntargets")
    for verdict in verdicts:
        name = f"{verdict['contestant']} / {verdict['against']}"
        word = "met" if verdict["met"] else "MISSED"
        ratio, floor = verdict["ratio"], verdict["floor"]
        print(f"  {word:<7}{ratio:>8.2f} x  (at least {floor:g})  {name}: {verdict['work']}")


def _write(
    options: argparse.Namespace,
    samples: Mapping[str, Any],
    medians: Mapping[str, Any],
    verdicts: Sequence[Mapping[str, Any]],
    control: Sequence[Mapping[str, Any]],
    access_log: Mapping[str, Any],
) -> None:
    path = write_evidence(
        "bench-quick",
        command=f"python -m bench.quick --seconds {options.seconds} --repeats {options.repeats}",
        programs=["wrk", "docker-registry", "nginx"],
        packages=["entrepot", "granian"],
        samples=samples,
        result={
            "medians": medians,
            "targets": list(verdicts),
            "access_log": access_log,
            "conditions": "tmpfs; 2 workers; wrk -t1 -c16; fsync on in entrepot, docker-registry has none",
        },
        negative_control={
            "what": f"{PEER} judged by the same targets in our place must miss every one",
            "targets": list(control),
            "failed_as_it_must": not any(verdict["met"] for verdict in control),
        },
    )
    print(f"\nevidence: {path}")


def _subdirectory(directory: Path, name: str) -> Path:
    place = directory / re.sub(r"\W+", "-", name)
    place.mkdir()
    return place


def _lines(log: Path) -> int:
    with log.open("rb") as file:
        return sum(1 for _ in file)


if __name__ == "__main__":
    sys.exit(main())
