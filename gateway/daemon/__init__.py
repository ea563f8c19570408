"""The gateway as a daemon: many cameras, for years, in one task group."""
