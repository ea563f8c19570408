"""The operator's page: rendered here, kept fresh by htmx and server-sent events, without a build step."""
