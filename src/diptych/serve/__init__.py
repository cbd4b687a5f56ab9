"""The local web page and HTTP API: ``diptych serve``.

::

    browser, curl ──guard──> app ──uploads──> file ──pool──> worker process (work) ──> file ──> answer

The server's own process never opens a picture: it moves bytes between sockets and temporary files. Codec and
task network run in a few worker processes, which may be killed at any moment without taking the server with them.
"""
