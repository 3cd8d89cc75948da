"""The listener: C-STORE and C-ECHO as SCP, and reports of storage commitment."""

from __future__ import annotations

from boneage.node.configuration import NodeConfiguration
from boneage.node.intake import Intake


class Listener:
    """Service class provider of the node. It stores through an intake and decodes no pixels.

    Args:
        configuration: address, limits, certificates and the peers that may call.
        intake: durable store.
    """

    def __init__(self, configuration: NodeConfiguration, intake: Intake) -> None:
        self._configuration, self._intake = configuration, intake

    @property
    def port(self) -> int:
        """Port at which it listens; 0 before `start`."""
        raise NotImplementedError

    @property
    def associations(self) -> int:
        """Number of associations at the moment."""
        raise NotImplementedError

    def start(self) -> None:
        """Bind the address and serve in threads of its own.

        Raises:
            ConfigurationError: ``address_invalid``, ``port_in_use``, or ``pacs_invalid`` for certificates that cannot
                be used.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Stop accepting, abort associations, and return when every thread has ended."""
        raise NotImplementedError
