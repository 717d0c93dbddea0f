"""`pull`, `push` and `copy` through the command line, with a real registry."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import pytest

from entrepot.oci import Platform
from entrepot.wire.exchange import Decision, Exchange
from entrepot.wire.jsonl import read_records

HERE = str(Platform.of_this_machine())
OTHER = "linux/s390x"


@pytest.fixture
def index(run, repository: str, files: Path) -> str:
    """An index of two platforms in the image store: an image for each is built, then both are listed."""
    import asyncio

    from entrepot.client import Client
    from entrepot.images.build import Recipe
    from entrepot.images.layers import pack, tree

    name = f"{repository}:multi"
    shared = pack(tree(files), files.parent / "shared.tar.gz")

    async def build() -> None:
        async with Client(image_store=files.parent / "images") as client:
            await client.build(
                name, [Recipe(Platform.parse(HERE), [shared]), Recipe(Platform.parse(OTHER), [shared])]
            )

    asyncio.run(build())
    return name


def digest_of(run, reference: str) -> str:
    return run("digest", reference).out.strip()


def test_push_prints_name_and_digest(run, image: str) -> None:
    """`push` writes one line, NAME@DIGEST, to stdout, and its progress to stderr."""
    pushed = run("push", image)
    assert pushed.code == 0
    assert (
        pushed.out == f"{image}@{digest_of(run, f'local:{image}')}\n" == f"{image}@{digest_of(run, image)}\n"
    )
    assert [line.split()[:2] for line in pushed.err.splitlines()] == [
        ["uploaded", "config"],
        ["uploaded", "layer"],
        ["uploaded", "root"],
    ] or sorted(line.split()[1] for line in pushed.err.splitlines()) == ["config", "layer", "root"]


def test_push_to_another_name(run, image: str, repository: str) -> None:
    """`push REF TARGET` gives the image another name there."""
    assert run("push", image, f"{repository}/other:2").out.startswith(f"{repository}/other:2@sha256:")
    assert digest_of(run, f"{repository}/other:2") == digest_of(run, f"local:{image}")


def test_pull_what_was_pushed(run, pushed: str, tmp_path: Path) -> None:
    """`pull` into an empty image store brings the same digest under the full reference."""
    pulled = run("pull", pushed, "--store", tmp_path / "there")
    assert pulled.out == f"{pushed}@{digest_of(run, pushed)}\n"
    assert [one["name"] for one in run("images", "--store", tmp_path / "there", "--json").json] == [pushed]


def test_pull_several(run, pushed: str, repository: str, tmp_path: Path) -> None:
    """Several references are pulled one after the other, a line for each."""
    assert run("push", pushed, f"{repository}:2").code == 0
    pulled = run("pull", pushed, f"{repository}:2", "--store", tmp_path / "there")
    assert [line.partition("@")[0] for line in pulled.out.splitlines()] == [pushed, f"{repository}:2"]


def test_quiet(run, pushed: str, tmp_path: Path) -> None:
    """With `--quiet` nothing but data is written."""
    assert run("pull", pushed, "--quiet", "--store", tmp_path / "there").err == ""


def test_json(run, image: str, tmp_path: Path) -> None:
    """With `--json` the result is a document that also says what was moved."""
    pushed = run("--json", "push", image).json
    assert pushed["name"] == image
    assert pushed["counts"] == {"uploaded": 3}
    pulled = run("pull", image, "--json", "--store", tmp_path / "there").json
    assert [(one["digest"], one["moved_bytes"]) for one in pulled] == [
        (pushed["digest"], pushed["moved_bytes"])
    ]


def test_unchanged(run, pushed: str, tmp_path: Path) -> None:
    """Pulling what is there already costs one exchange."""
    trace = tmp_path / "trace.jsonl"
    assert run("pull", pushed, "--trace", trace).code == 0
    records = list(read_records(trace.read_bytes().splitlines()))
    assert [(record.method, record.status) for record in records if isinstance(record, Exchange)] == [
        ("HEAD", 200)
    ]


def test_trace_and_debug(run, image: str, tmp_path: Path) -> None:
    """A trace has every exchange and decision, and `--debug` shows a line for each."""
    trace = tmp_path / "trace.jsonl"
    pushed = run("--trace", trace, "push", image, "--debug")
    records = list(read_records(trace.read_bytes().splitlines()))
    assert {record.action.value for record in records if isinstance(record, Decision)} == {"uploaded"}
    assert "PUT" in pushed.err
    # the first line names the registry
    assert len(pushed.err.splitlines()) == len(records) + 1


def test_a_trace_whose_disk_gets_full(run, image: str, repository: str, tmp_path: Path) -> None:
    """A full disk costs the trace, not the transfer; people are told once, even those who want quiet."""
    trace = tmp_path / "full.jsonl"
    trace.symlink_to("/dev/full")
    pushed = run("push", image, "--quiet", "--trace", trace)
    assert pushed.code == 0
    [warning] = pushed.err.splitlines()
    assert warning == (
        f"warning: the trace cannot be written, no space left on device: {trace}; what follows is missing from it"
    )
    assert run("tags", repository).out.split() == ["1"]


def test_a_trace_that_cannot_be_written(run, image: str, repository: str, tmp_path: Path) -> None:
    """A trace that cannot be written is known before anything is sent."""
    failed = run("push", image, "--trace", tmp_path / "absent" / "trace.jsonl")
    assert failed.code == 1
    assert "absent/trace.jsonl" in failed.err
    assert run("tags", repository).code == 3


@pytest.mark.parametrize(
    "options", [["--upload", "single"], ["--upload", "chunks"], ["--chunk-size", "1KB"]], ids=" ".join
)
def test_ways_to_push(run, repository: str, tmp_path: Path, options: list[str]) -> None:
    """However blobs are pushed, the same image arrives."""
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "random").write_bytes(
        b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(200))
    )
    name = f"{repository}:1"
    assert run("build", "-t", name, "--layer", tmp_path / "big").code == 0
    trace = tmp_path / "trace.jsonl"
    assert run("push", name, *options, "--trace", trace).code == 0
    methods = [
        record.method
        for record in read_records(trace.read_bytes().splitlines())
        if isinstance(record, Exchange)
    ]
    assert ("PATCH" in methods) == (options != ["--upload", "single"])
    assert digest_of(run, name) == digest_of(run, f"local:{name}")


def test_copy_between_all_kinds_of_places(run, pushed: str, repository: str) -> None:
    """`copy` goes from any place to any other, and the digest stays what it is."""
    places = [pushed, "oci:one:a", "oci:two:b", f"local:{repository}:copied", f"{repository}/again:3"]
    for source, destination in itertools.pairwise(places):
        copied = run("copy", source, destination)
        assert (copied.code, copied.out) == (
            0,
            f"{destination.removeprefix('local:')}@{digest_of(run, pushed)}\n",
        )
        assert digest_of(run, destination) == digest_of(run, pushed)


def test_copy_mounts_within_a_registry(run, pushed: str, repository: str) -> None:
    """Between repositories of one registry blobs are mounted, not moved."""
    copied = run("copy", pushed, f"{repository}/other:1", "--json").json
    assert copied["counts"] == {"mounted": 2, "copied": 1}


def test_copy_to_a_digest(run, pushed: str, repository: str) -> None:
    """A destination with the digest is written without a name; with another digest it is refused."""
    digest = digest_of(run, pushed)
    assert run("copy", pushed, f"{repository}/other@{digest}").code == 0
    assert run("tags", f"{repository}/other").out == ""
    assert run("copy", pushed, f"{repository}/other@sha256:{'0' * 64}").code == 2


def test_pull_takes_this_machines_platform(run, index: str, tmp_path: Path) -> None:
    """Of an index `pull` takes the image for this machine and keeps the index; `--all-platforms` takes all."""
    assert run("push", index).code == 0
    there = tmp_path / "there"
    pulled = run("pull", index, "--store", there, "--json").json[0]
    assert pulled["digest"] == digest_of(run, index)
    assert run("images", "--store", there, "--json").json[0]["platforms"] == [HERE]
    assert run("pull", index, "--store", there, "--all-platforms").code == 0
    assert run("images", "--store", there, "--json").json[0]["platforms"] == [HERE, OTHER]


def test_pull_a_platform(run, index: str, tmp_path: Path) -> None:
    """`--platform` takes another machine's image; one that there is not is not found."""
    assert run("push", index).code == 0
    there = tmp_path / "there"
    assert run("pull", index, "--store", there, "--platform", OTHER).code == 0
    assert run("images", "--store", there, "--json").json[0]["platforms"] == [OTHER]
    missing = run("pull", index, "--store", there, "--platform", "linux/mips")
    assert missing.code == 3
    assert f"hint: it has {', '.join(sorted((HERE, OTHER)))}" in missing.err


def test_a_sparse_index_is_not_pushed(run, index: str, repository: str, tmp_path: Path) -> None:
    """An index with absent images is refused before the first upload, with both ways out."""
    assert run("push", index).code == 0
    there = tmp_path / "there"
    assert run("pull", index, "--store", there).code == 0
    trace = tmp_path / "trace.jsonl"
    refused = run("push", index, f"{repository}/other:1", "--store", there, "--trace", trace)
    assert refused.code == 1
    assert OTHER in refused.err
    assert "--platform" in refused.err
    assert "--all-platforms" in refused.err
    assert trace.read_bytes() == b""
    assert run("push", index, f"{repository}/other:1", "--store", there, "--platform", HERE).code == 0
    assert json.loads(run("manifest", "get", f"{repository}/other:1").out)["config"]


def test_pull_by_digest(run, pushed: str, repository: str, tmp_path: Path) -> None:
    """An image that is pulled by its digest is kept under its digest."""
    reference = f"{repository}@{digest_of(run, pushed)}"
    pulled = run("pull", reference, "--store", tmp_path / "there")
    assert pulled.out == f"{reference}\n"
    there = ["--store", tmp_path / "there"]
    assert [one["name"] for one in run("images", *there, "--json").json] == [reference]
    assert f"{repository}@{run('digest', f'local:{reference}', *there).out.strip()}" == reference


def test_pull_by_tag_and_digest(run, pushed: str, tmp_path: Path) -> None:
    """With both the digest decides; the name that was written is kept, and found again."""
    reference, there = f"{pushed}@{digest_of(run, pushed)}", ["--store", tmp_path / "there"]
    assert run("pull", reference, *there).out == f"{reference}\n"
    assert run("inspect", f"local:{reference}", *there).code == 0
    assert run("pull", f"{pushed}@sha256:{'0' * 64}", *there).code == 3


def test_another_platform_than_the_image_has(run, pushed: str, tmp_path: Path) -> None:
    """An image that is no index is not pulled, read or pushed for a platform that it is not for."""
    refused = run("pull", pushed, "--platform", OTHER, "--store", tmp_path / "there")
    assert refused.code == 3
    assert f"hint: it is for {HERE}" in refused.err
    assert run("pull", pushed, "--platform", HERE, "--store", tmp_path / "there").code == 0
    assert run("manifest", "config", pushed, "--platform", OTHER).code == 3
    assert run("push", pushed, "--platform", OTHER).code == 3


def test_not_found(run, repository: str) -> None:
    """What is not there ends with 3, and the registry's words are shown."""
    absent = run("pull", f"{repository}:absent")
    assert absent.code == 3
    assert absent.out == ""
    assert "said:" in absent.err
    assert run("push", f"{repository}:absent").code == 3


def test_nobody_listens(run) -> None:
    """A registry that cannot be reached is a failure, with a hint; as JSON too."""
    failed = run("digest", "127.0.0.1:1/a", "--json")
    assert failed.code == 1
    assert json.loads(failed.err)["error"]["kind"] == "ConnectionFailed"


@pytest.mark.parametrize(
    ("reference", "caret"),
    [
        ("Alpine", 0),
        ("localhost:5000/UPPER", 15),
        ("alpine:tag!", 10),
        ("local:a/B", 8),
        ("ocidir:/x", 0),
        ("oci-archive:x.tar", 0),
    ],
)
def test_bad_references(run, reference: str, caret: int) -> None:
    """A reference that cannot be meant ends with 2 and a caret under the character that is wrong."""
    refused = run("digest", reference)
    assert refused.code == 2
    assert f"\n  {reference}\n  {' ' * caret}^\n" in refused.err
