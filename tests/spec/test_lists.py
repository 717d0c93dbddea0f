"""Lists: tags (end-8), referrers (end-12), the catalog, and their pages."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from urllib.parse import quote

import pytest

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ABSENT = f"sha256:{'0' * 64}"


def next_page(answer):
    """The target of the Link to the next page, None if there is none."""
    link = answer.headers.get("link")
    return re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', link)[1] if link else None


def pages(registry, path):
    """All pages from this one on."""
    while path:
        answer = registry.get(path)
        assert answer.status == 200, answer
        yield answer
        path = next_page(answer)


@pytest.fixture
def tagged(registry, repository):
    """A repository with tags whose order tells byte order from alphabetic order."""
    raw = json.dumps(registry.image(repository)).encode()
    tags = ["1", "10", "2", "A", "Z", "_", "a", "a-b", "a.b", "a_b", "z"]
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    query = "&".join(f"tag={tag}" for tag in reversed(tags))
    assert registry.put(f"/v2/{repository}/manifests/{digest}?{query}", raw, content_type=IMAGE).status == 201
    return f"/v2/{repository}/tags/list", sorted(tags, key=str.encode)


def test_tags(registry, repository, tagged):
    """All tags, in byte order; HEAD has the same headers."""
    answer = registry.get(tagged[0])
    assert (answer.status, answer.json) == (200, {"name": repository, "tags": tagged[1]})
    assert answer.headers["content-type"] == "application/json"
    assert "link" not in answer.headers
    assert {**registry.head(tagged[0]).headers, "date": ""} == {**answer.headers, "date": ""}


@pytest.mark.parametrize("n", [1, 2, 3, 10, 11, 12, 1_000, 10**17])
def test_tags_in_pages(registry, tagged, n):
    """Pages have n tags, the last one may have fewer, and together they are the list."""
    path, tags = tagged
    found = [answer.json["tags"] for answer in pages(registry, f"{path}?n={n}")]
    assert [tag for page in found for tag in page] == tags
    assert all(len(page) == n for page in found[:-1])
    assert found[-1]


def test_tags_after_one(registry, tagged):
    """`last` leaves out what is up to it, with n and without; it need not exist."""
    path, tags = tagged
    assert registry.get(f"{path}?last=a").json["tags"] == tags[tags.index("a") + 1 :]
    assert registry.get(f"{path}?n=2&last=a").json["tags"] == ["a-b", "a.b"]
    assert registry.get(f"{path}?last=b").json["tags"] == ["z"]
    assert registry.get(f"{path}?last=zz").json["tags"] == []


def test_no_tags(registry, repository, tagged):
    """n=0 gives an empty list and no Link; so does a repository without tags."""
    answer = registry.get(f"{tagged[0]}?n=0")
    assert (answer.json, "link" in answer.headers) == ({"name": repository, "tags": []}, False)
    registry.push_image(f"{repository}/untagged")
    assert registry.get(f"/v2/{repository}/untagged/tags/list").json["tags"] == []


@pytest.mark.parametrize("n", ["-1", "1.5", "x", "", "%D9%A3", "+1", "1e3", "9" * 30, "0x1"])
def test_n_that_is_no_number(registry, tagged, n):
    """An n that is not a number of tags is 400."""
    answer = registry.get(f"{tagged[0]}?n={n}")
    assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize("last", ["a/b", "%00", "%E2%82%AC", "-", "a%0a"])
def test_last_that_is_no_tag(registry, tagged, last):
    """`last` must be a tag."""
    answer = registry.get(f"{tagged[0]}?last={last}")
    assert (answer.status, answer.code) == (400, "TAG_INVALID")


@pytest.mark.parametrize("query", ["", "?n=5", "?n=0"])
def test_tags_of_no_repository(registry, repository, query):
    """Tags of a repository that does not exist are 404."""
    answer = registry.get(f"/v2/{repository}/tags/list{query}")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


def test_many_tags(registry, repository):
    """A list of several slices comes whole without n; with n a page has at most 1,000."""
    raw = json.dumps(registry.image(repository)).encode()
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    tags = [f"v{n:04}" for n in range(2_300)]
    for start in range(0, len(tags), 46):
        query = "&".join(f"tag={tag}" for tag in tags[start : start + 46])
        assert (
            registry.put(f"/v2/{repository}/manifests/{digest}?{query}", raw, content_type=IMAGE).status
            == 201
        )
    path = f"/v2/{repository}/tags/list"
    answer = registry.get(path)
    assert answer.json == {"name": repository, "tags": tags}
    found = [answer.json["tags"] for answer in pages(registry, f"{path}?n=2000")]
    assert [len(page) for page in found] == [1_000, 1_000, 300]
    assert [tag for page in found for tag in page] == tags


def test_catalog(registry, repository):
    """The catalog lists repositories that have a manifest, in byte order and in pages."""
    names = [f"{repository}/{name}" for name in ("a", "a-b", "a/b", "a0", "b")]
    for name in names:
        registry.push_image(name, "latest")
    registry.push_blob(f"{repository}/blobs-only", b"x")
    mine = [name for name in registry.get("/v2/_catalog").json["repositories"] if name.startswith(repository)]
    assert mine == sorted(names, key=str.encode)
    last = f"/v2/_catalog?n=2&last={quote(repository, safe='')}"
    paged = [name for answer in pages(registry, last) for name in answer.json["repositories"]]
    assert paged[: len(mine)] == mine


@pytest.fixture
def subject(registry, repository):
    """The digest of an image that others can refer to."""
    return registry.push_image(repository, "latest")


def refer(registry, repository, subject, **fields):
    """Push an image that refers to another, and return its digest."""
    return registry.push_image(
        repository,
        subject={"mediaType": IMAGE, "digest": subject, "size": 1},
        annotations={"id": uuid.uuid4().hex, **fields.pop("annotations", {})},
        **fields,
    )


def test_referrers(registry, repository, subject):
    """Referrers are an index of descriptors with artifact type and annotations."""
    signature = refer(registry, repository, subject, artifactType="application/x.signature")
    plain = refer(registry, repository, subject, annotations={"a": "b"})
    answer = registry.get(f"/v2/{repository}/referrers/{subject}")
    assert (answer.status, answer.headers["content-type"]) == (200, INDEX)
    assert (answer.json["schemaVersion"], answer.json["mediaType"]) == (2, INDEX)
    found = {entry["digest"]: entry for entry in answer.json["manifests"]}
    assert set(found) == {signature, plain}
    assert found[signature]["artifactType"] == "application/x.signature"
    assert found[plain]["artifactType"] == "application/vnd.oci.image.config.v1+json"
    assert found[plain]["annotations"]["a"] == "b"
    assert found[plain]["mediaType"] == IMAGE
    assert found[plain]["size"] == len(registry.get(f"/v2/{repository}/manifests/{plain}").body)
    assert "oci-filters-applied" not in answer.headers


def test_referrers_of_an_artifact_type(registry, repository, subject):
    """The filter leaves only its type, and the answer says that it was applied."""
    wanted = refer(registry, repository, subject, artifactType="application/x.sbom+json")
    refer(registry, repository, subject, artifactType="application/x.signature")
    path = f"/v2/{repository}/referrers/{subject}?artifactType={quote('application/x.sbom+json', safe='')}"
    answer = registry.get(path)
    assert [entry["digest"] for entry in answer.json["manifests"]] == [wanted]
    assert answer.headers["oci-filters-applied"] == "artifactType"
    answer = registry.get(path + "x")
    assert (answer.json["manifests"], answer.headers["oci-filters-applied"]) == ([], "artifactType")


def test_no_referrers(registry, repository):
    """A subject that does not exist, or whose repository does not, has an empty list, never 404."""
    for _ in range(2):
        answer = registry.get(f"/v2/{repository}/referrers/{ABSENT}")
        assert (answer.status, answer.json["manifests"]) == (200, [])
        registry.push_image(repository, "latest")


def test_referrers_of_no_digest(registry, repository):
    """A subject that is no digest is 400."""
    answer = registry.get(f"/v2/{repository}/referrers/latest")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_referrers_by_number(registry, repository, subject):
    """Pages of n referrers, linked, are together the list in the order of digests."""
    digests = sorted(refer(registry, repository, subject) for _ in range(5))
    found = [
        [entry["digest"] for entry in answer.json["manifests"]]
        for answer in pages(registry, f"/v2/{repository}/referrers/{subject}?n=2")
    ]
    assert found == [digests[:2], digests[2:4], digests[4:]]


def test_referrers_by_size(registry, repository, subject):
    """No page is larger than a manifest may be, and the filter goes along with the Link."""
    kind = "application/x.large"
    digests = sorted(
        refer(registry, repository, subject, artifactType=kind, annotations={"large": "x" * 1_500_000})
        for _ in range(4)
    )
    found = []
    for answer in pages(
        registry, f"/v2/{repository}/referrers/{subject}?artifactType={quote(kind, safe='')}"
    ):
        assert len(answer.body) <= 4 * 1024 * 1024
        assert answer.headers["oci-filters-applied"] == "artifactType"
        found.append([entry["digest"] for entry in answer.json["manifests"]])
    assert found == [digests[:2], digests[2:]]


def test_deleted_referrer(registry, repository, subject):
    """A deleted manifest refers to nothing any more; the referrers of a deleted one remain."""
    first, second = refer(registry, repository, subject), refer(registry, repository, subject)
    registry.delete(f"/v2/{repository}/manifests/{first}")
    registry.delete(f"/v2/{repository}/manifests/{subject}")
    answer = registry.get(f"/v2/{repository}/referrers/{subject}")
    assert [entry["digest"] for entry in answer.json["manifests"]] == [second]


def test_fallback_tag(registry, repository, subject):
    """A referrer that a client has listed under the referrers tag as well is listed once, as it is here."""
    referrer = refer(registry, repository, subject)
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{"mediaType": IMAGE, "digest": referrer, "size": 1, "artifactType": "application/x"}],
    }
    tag = subject.replace(":", "-")
    assert registry.push_manifest(repository, tag, index).status == 201
    answer = registry.get(f"/v2/{repository}/referrers/{subject}")
    [entry] = [entry for entry in answer.json["manifests"] if entry["digest"] == referrer]
    assert entry["size"] == len(registry.get(f"/v2/{repository}/manifests/{referrer}").body)
