"""The reference subscriber: every alert once, gaps noticed and filled; its core is importable and does no I/O."""
