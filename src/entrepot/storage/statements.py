"""Every statement of the catalog, in the common subset of SQLite and PostgreSQL; see `database` for the slots.

Kept in one place so that a test can prepare each of them on both databases.
"""

from __future__ import annotations

from typing import Final

# Repositories

ANY_REPOSITORY: Final = "SELECT id FROM repository LIMIT 1"

FIND_REPOSITORY: Final = "SELECT id FROM repository WHERE name = $1"

INSERT_REPOSITORY: Final = """
INSERT INTO repository (name) VALUES ($1)
ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id"""

LIST_REPOSITORIES: Final = """
SELECT r.name FROM repository r
WHERE r.name > $1 AND EXISTS (SELECT 1 FROM manifest m WHERE m.repository = r.id)
ORDER BY r.name LIMIT $2"""

# Manifests

MANIFEST_BY_TAG: Final = """
SELECT m.digest, m.media_type, m.size, m.subject, {now} - m.touched_at
FROM repository r
JOIN tag t ON t.repository = r.id AND t.name = $2
JOIN manifest m ON m.repository = r.id AND m.digest = t.digest
WHERE r.name = $1"""

MANIFEST_BY_DIGEST: Final = """
SELECT m.digest, m.media_type, m.size, m.subject, {now} - m.touched_at
FROM repository r
JOIN manifest m ON m.repository = r.id AND m.digest = $2
WHERE r.name = $1"""

MANIFEST_CONTENT: Final = "SELECT bytes FROM content WHERE digest = $1"

INSERT_CONTENT: Final = "INSERT INTO content (digest, bytes) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING"

UPSERT_MANIFEST: Final = """
INSERT INTO manifest (repository, digest, media_type, artifact_type, subject, size, pushed_at, touched_at)
VALUES ($1, $2, $3, $4, $5, $6, {now}, {now})
ON CONFLICT (repository, digest)
DO UPDATE SET media_type = excluded.media_type, touched_at = excluded.touched_at"""

TOUCH_MANIFEST: Final = """
UPDATE manifest SET touched_at = {now}
WHERE repository = (SELECT id FROM repository WHERE name = $1) AND digest = $2 RETURNING digest"""

DELETE_MANIFEST: Final = "DELETE FROM manifest WHERE repository = $1 AND digest = $2 RETURNING digest"

DELETE_CONTENT: Final = """
DELETE FROM content WHERE digest = $1 AND NOT EXISTS (SELECT 1 FROM manifest m WHERE m.digest = $1)"""

INSERT_REFERENCE: Final = """
INSERT INTO manifest_reference (repository, parent, child, kind) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING"""

FIND_USER_OF_BLOB: Final = """
SELECT parent FROM manifest_reference
WHERE repository = $1 AND child = $2 AND kind IN ('blob', 'either') LIMIT 1"""

# Referrers

UPSERT_REFERRER: Final = """
INSERT INTO referrer (repository, subject, digest, artifact_type, descriptor) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (repository, subject, digest)
DO UPDATE SET artifact_type = excluded.artifact_type, descriptor = excluded.descriptor"""

LIST_REFERRERS: Final = """
SELECT f.descriptor FROM referrer f JOIN repository r ON r.id = f.repository
WHERE r.name = $1 AND f.subject = $2 AND f.digest > $3
ORDER BY f.digest LIMIT $4"""

LIST_REFERRERS_OF_TYPE: Final = """
SELECT f.descriptor FROM referrer f JOIN repository r ON r.id = f.repository
WHERE r.name = $1 AND f.subject = $2 AND f.digest > $3 AND f.artifact_type = $5
ORDER BY f.digest LIMIT $4"""

# Tags

FIND_TAG: Final = "SELECT digest FROM tag WHERE repository = $1 AND name = $2 {lock}"

UPSERT_TAG: Final = """
INSERT INTO tag (repository, name, digest, updated_at) VALUES ($1, $2, $3, {now})
ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at"""

DELETE_TAG: Final = "DELETE FROM tag WHERE repository = $1 AND name = $2 RETURNING digest"

DELETE_TAGS_OF: Final = "DELETE FROM tag WHERE repository = $1 AND digest = $2 RETURNING name"

REMEMBER_TAG: Final = "INSERT INTO tag_history (repository, name, digest, at) VALUES ($1, $2, $3, {now})"

LIST_TAGS: Final = """
SELECT t.name FROM tag t JOIN repository r ON r.id = t.repository
WHERE r.name = $1 AND t.name > $2
ORDER BY t.name LIMIT $3"""

# Blobs

FIND_BLOB: Final = """
SELECT b.size, b.location, {now} - l.touched_at
FROM repository r
JOIN repository_blob l ON l.repository = r.id AND l.digest = $2
JOIN blob b ON b.digest = l.digest
WHERE r.name = $1"""

FIND_BLOB_ANYWHERE: Final = """
SELECT b.size, b.location FROM blob b
WHERE b.digest = $1 AND EXISTS (SELECT 1 FROM repository_blob l WHERE l.digest = b.digest)"""

UPSERT_BLOB: Final = """
INSERT INTO blob (digest, size, location) VALUES ($1, $2, $3)
ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest RETURNING location"""

LINK_BLOB: Final = """
INSERT INTO repository_blob (repository, digest, touched_at) VALUES ($1, $2, {now})
ON CONFLICT (repository, digest) DO UPDATE SET touched_at = excluded.touched_at"""

TOUCH_BLOB: Final = """
UPDATE repository_blob SET touched_at = {now}
WHERE repository = (SELECT id FROM repository WHERE name = $1) AND digest = $2 RETURNING digest"""

LOCK_LINK: Final = "SELECT digest FROM repository_blob WHERE repository = $1 AND digest = $2 {lock}"

DELETE_LINK: Final = "DELETE FROM repository_blob WHERE repository = $1 AND digest = $2"

# Uploads

INSERT_UPLOAD: Final = """
INSERT INTO upload (id, repository, algorithm, epoch, started_at, active_at)
VALUES ($1, $2, $3, 1, {now}, {now})"""

FIND_UPLOAD: Final = """
SELECT u.epoch, u.algorithm FROM upload u JOIN repository r ON r.id = u.repository
WHERE u.id = $2 AND r.name = $1"""

RAISE_EPOCH: Final = """
UPDATE upload SET epoch = epoch + 1, active_at = {now}
WHERE id = $1 AND repository = (SELECT id FROM repository WHERE name = $2) RETURNING epoch"""

TOUCH_UPLOAD: Final = "UPDATE upload SET active_at = {now} WHERE id = $1"

FINISH_UPLOAD: Final = "DELETE FROM upload WHERE id = $1 RETURNING repository"

DELETE_UPLOAD: Final = """
DELETE FROM upload
WHERE id = $1 AND repository = (SELECT id FROM repository WHERE name = $2) RETURNING id"""

LIST_IDLE_UPLOADS: Final = "SELECT id FROM upload WHERE active_at < {now} - $1 ORDER BY active_at LIMIT $2"

EXPIRE_UPLOAD: Final = "DELETE FROM upload WHERE id = $1 AND active_at < {now} - $2 RETURNING id"

# Garbage

INSERT_GARBAGE: Final = "INSERT INTO garbage (location) VALUES ($1) ON CONFLICT DO NOTHING"

LIST_GARBAGE: Final = "SELECT location FROM garbage ORDER BY location LIMIT $1"

DELETE_GARBAGE: Final = "DELETE FROM garbage WHERE location = $1"

# Statements over a list of digests or ids: as many place-holders as there are items


def place_holders(first: int, count: int) -> str:
    """Return `$first, $first+1, …`."""
    return ", ".join(f"${number}" for number in range(first, first + count))


def present_blobs(count: int) -> str:
    """Return the statement that tells which of `count` blobs ($2…) a repository ($1) has, and for how long."""
    return _present("repository_blob", count)


def present_manifests(count: int) -> str:
    """Return the statement that tells which of `count` manifests ($2…) a repository ($1) has, and for how long."""
    return _present("manifest", count)


def touch_blobs(count: int) -> str:
    """Return the statement that renews the leases of `count` blobs ($2…) of a repository ($1)."""
    return _touch("repository_blob", count)


def touch_manifests(count: int) -> str:
    """Return the statement that renews the leases of `count` manifests ($2…) of a repository ($1)."""
    return _touch("manifest", count)


def known_uploads(count: int) -> str:
    """Return the statement that tells which of `count` uploads ($1…) there are."""
    return f"SELECT id FROM upload WHERE id IN ({place_holders(1, count)})"  # noqa: S608 - numbers only


def _present(table: str, count: int) -> str:
    return (
        f"SELECT digest, {{now}} - touched_at FROM {table} "  # noqa: S608 - names of ours and numbers only
        f"WHERE repository = $1 AND digest IN ({place_holders(2, count)}) ORDER BY digest {{share}}"
    )


def _touch(table: str, count: int) -> str:
    return (
        f"UPDATE {table} SET touched_at = {{now}} "  # noqa: S608 - names of ours and numbers only
        f"WHERE repository = $1 AND digest IN ({place_holders(2, count)})"
    )
