# SPDX-License-Identifier: Apache-2.0
"""Records of the library on their way to logging.getLogger("attn")."""

from __future__ import annotations

import logging

logger = logging.getLogger("attn")
# An application that sets up no logging sees nothing; exceptions tell what went wrong.
logger.addHandler(logging.NullHandler())

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


def write(level: int, text: str) -> None:
    logger.log(_LEVELS[level], "%s", text)
