"""The HTTP side: routers, one for each kind of thing, and what they share."""
