"""The fixtures of the acceptance tests; each module has a server of its own."""

from tests.acceptance.test_commands import (
    default,
    empty,
    filled,
    filled_template,
    interruptible,
    large,
    site,
    small,
)

__all__ = ["default", "empty", "filled", "filled_template", "interruptible", "large", "site", "small"]
