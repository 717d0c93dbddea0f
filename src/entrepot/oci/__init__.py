"""The image specification's objects: digests, descriptors, manifests, indexes, configs, platforms."""

from entrepot.oci.config import History, ImageConfig, Process, RootFS
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest, Verifier
from entrepot.oci.document import Manifest, encode, parse_manifest
from entrepot.oci.index import Index
from entrepot.oci.manifest import ArtifactManifest, ImageManifest
from entrepot.oci.platform import Platform

__all__ = [
    "ArtifactManifest",
    "Descriptor",
    "Digest",
    "History",
    "ImageConfig",
    "ImageManifest",
    "Index",
    "Manifest",
    "Platform",
    "Process",
    "RootFS",
    "Verifier",
    "encode",
    "parse_manifest",
]
