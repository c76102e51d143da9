"""A small marketplace service on the SDK: the model to copy when a team starts one of its own.

``domain`` decides, ``events`` consumes what the neighbours say, ``api`` is the HTTP side, ``wiring`` puts it together.
"""
