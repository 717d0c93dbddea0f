"""`delete`: a tag alone, or a manifest with its tags."""

from __future__ import annotations


def test_a_tag_goes_alone(run, pushed: str, repository: str) -> None:
    """Deleting one tag leaves the manifest and its other tags."""
    assert run("push", pushed, f"{repository}:2").code == 0
    digest = run("digest", pushed).out.strip()
    deleted = run("delete", pushed)
    assert (deleted.code, deleted.out) == (0, f"deleted {pushed}\n")
    assert run("tags", repository).out == "2\n"
    assert run("digest", f"{repository}@{digest}").code == 0


def test_a_digest_takes_its_tags_along(run, pushed: str, repository: str) -> None:
    """Deleting by digest names the tags that go with it."""
    assert run("push", pushed, f"{repository}:2").code == 0
    reference = f"{repository}@{run('digest', pushed).out.strip()}"
    deleted = run("delete", reference, "--yes")
    assert deleted.code == 0
    assert "tags that go with it: 1, 2" in deleted.err
    assert run("digest", pushed).code == 3


def test_nobody_to_ask(run, pushed: str, repository: str) -> None:
    """Off a terminal a manifest is not deleted without `--yes`."""
    reference = f"{repository}@{run('digest', pushed).out.strip()}"
    refused = run("delete", reference)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert run("digest", pushed).code == 0


def test_neither_tag_nor_digest(run, pushed: str, repository: str) -> None:
    """A repository alone is not taken to mean `latest`, and a tag with a digest not to mean either."""
    assert run("delete", repository).code == 2
    assert run("delete", f"{pushed}@{run('digest', pushed).out.strip()}", "--yes").code == 2
    assert run("digest", pushed).code == 0


def test_what_is_not_there(run, pushed: str, repository: str) -> None:
    """An absent tag or manifest is not found."""
    assert run("delete", f"{repository}:absent").code == 3
    assert run("delete", f"{repository}@sha256:{'0' * 64}", "--yes").code == 3


def test_in_a_layout(run, pushed: str) -> None:
    """A name of a layout is deleted; as JSON the document says what."""
    assert run("copy", pushed, "oci:layout:a").code == 0
    assert run("delete", "oci:layout:a", "--json").json == {"deleted": "oci:layout:a", "tags": []}
    assert run("tags", "oci:layout").out == ""
