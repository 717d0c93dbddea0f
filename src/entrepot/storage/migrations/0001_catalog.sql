-- Everything is per repository on purpose: an edge without a repository would let a delete in one repository
-- drop another's layers. Times are milliseconds since the epoch, by the database's clock.

CREATE TABLE repository (
    id {serial},
    name TEXT {collate} NOT NULL UNIQUE
);

-- Manifests' bytes: stored once, never updated, apart from the rows that are touched.
CREATE TABLE content (
    digest TEXT {collate} NOT NULL PRIMARY KEY,
    bytes {bytes} NOT NULL
);

CREATE TABLE manifest (
    repository BIGINT NOT NULL REFERENCES repository (id),
    digest TEXT {collate} NOT NULL REFERENCES content (digest),
    media_type TEXT NOT NULL,
    artifact_type TEXT,
    subject TEXT {collate},
    size BIGINT NOT NULL,
    pushed_at BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
){clustered};

CREATE INDEX manifest_by_digest ON manifest (digest);

-- What a manifest is made of, and its subject. No foreign key to the child: subjects, foreign layers and sparse
-- children may come later, and are protected from the collector when they do.
CREATE TABLE manifest_reference (
    repository BIGINT NOT NULL,
    parent TEXT {collate} NOT NULL,
    child TEXT {collate} NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (repository, parent, child, kind),
    FOREIGN KEY (repository, parent) REFERENCES manifest (repository, digest) ON DELETE CASCADE
){clustered};

CREATE INDEX manifest_reference_by_child ON manifest_reference (repository, child);

-- The answer of the referrers API, one descriptor a row, made when the manifest was pushed.
CREATE TABLE referrer (
    repository BIGINT NOT NULL,
    subject TEXT {collate} NOT NULL,
    digest TEXT {collate} NOT NULL,
    artifact_type TEXT,
    descriptor {bytes} NOT NULL,
    PRIMARY KEY (repository, subject, digest),
    FOREIGN KEY (repository, digest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
){clustered};

CREATE INDEX referrer_by_digest ON referrer (repository, digest);

CREATE TABLE tag (
    repository BIGINT NOT NULL,
    name TEXT {collate} NOT NULL,
    digest TEXT {collate} NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, digest) REFERENCES manifest (repository, digest)
){clustered};

CREATE INDEX tag_by_digest ON tag (repository, digest);

-- Where a tag pointed and since when; a null digest says that it was deleted.
CREATE TABLE tag_history (
    id {serial},
    repository BIGINT NOT NULL REFERENCES repository (id),
    name TEXT {collate} NOT NULL,
    digest TEXT {collate},
    at BIGINT NOT NULL
);

CREATE INDEX tag_history_by_name ON tag_history (repository, name, id);

-- A blob's bytes are at its location, and at no other blob's, ever: see `garbage`.
CREATE TABLE blob (
    digest TEXT {collate} NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    location TEXT {collate} NOT NULL
);

-- Which repositories have a blob. The foreign key is a net: it keeps a blob that a mount has just linked.
CREATE TABLE repository_blob (
    repository BIGINT NOT NULL REFERENCES repository (id),
    digest TEXT {collate} NOT NULL REFERENCES blob (digest),
    touched_at BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
){clustered};

CREATE INDEX repository_blob_by_digest ON repository_blob (digest);

-- Uploads in progress. How many bytes there are is the file's to say. The epoch is raised by every request that
-- brings data; whoever does not hold the newest gives up.
CREATE TABLE upload (
    id TEXT {collate} NOT NULL PRIMARY KEY,
    repository BIGINT NOT NULL REFERENCES repository (id),
    algorithm TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    active_at BIGINT NOT NULL
);

CREATE INDEX upload_by_activity ON upload (active_at);
CREATE INDEX upload_by_repository ON upload (repository);

-- Locations that no blob names any more. Since a name is never used twice, removing one late or twice is harmless.
CREATE TABLE garbage (
    location TEXT {collate} NOT NULL PRIMARY KEY
);
