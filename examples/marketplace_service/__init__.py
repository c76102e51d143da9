"""A small marketplace service on the SDK, meant to be copied for a service of your own.

``domain`` has the rules, ``events`` consumes other services' events, ``api`` is the HTTP side, and ``wiring`` connects
them.
"""
