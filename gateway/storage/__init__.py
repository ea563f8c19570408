"""The durable state of the gateway: one SQLite file, one thread that writes it."""
