"""The registry's own storage: a catalog in SQL, blobs' bytes by digest."""

from entrepot.storage.blobfiles import BlobReader
from entrepot.storage.content import PutManifest, StoredBlob, StoredManifest, UploadId, UploadStatus
from entrepot.storage.preparation import RootLock, prepare
from entrepot.storage.registry import Registry
from entrepot.storage.repository import Repository
from entrepot.storage.settings import AllowMissing, StorageSettings

__all__ = [
    "AllowMissing",
    "BlobReader",
    "PutManifest",
    "Registry",
    "Repository",
    "RootLock",
    "StorageSettings",
    "StoredBlob",
    "StoredManifest",
    "UploadId",
    "UploadStatus",
    "prepare",
]
