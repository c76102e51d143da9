"""What decorators work out once: routes, options, retry policies, deduplication."""
