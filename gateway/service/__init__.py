"""What keeps the daemon observable: logs, page, health."""
