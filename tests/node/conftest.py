"""Fixtures of the node's tests."""

from tests.node.orthanc import node_port, orthanc

__all__ = ["node_port", "orthanc"]
