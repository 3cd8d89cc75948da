"""Fixtures of the node's tests."""

from tests.node.certificates import certificates
from tests.node.orthanc import node_port, orthanc

__all__ = ["certificates", "node_port", "orthanc"]
