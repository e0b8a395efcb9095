# SPDX-License-Identifier: Apache-2.0
"""A download from a server that sends a byte now and then; the rest is in test_models.py."""

import socket
import threading
import time
from dataclasses import replace

import pytest

from mtl_perception import download
from mtl_perception.models import MODELS


@pytest.fixture
def dripping_server():
    """Address of a server that promises a megabyte and sends a byte every 20 ms."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:  # the client hung up, as it should
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/net"
    stop.set()
    thread.join()
    listener.close()


def test_a_server_that_drips_bytes_is_given_up(dripping_server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TOTAL_TIMEOUT_S", 0.3)
    (entry, *_) = MODELS.values()
    start = time.monotonic()
    with pytest.raises(download.DownloadFailed, match="not done after"):
        download.fetch(replace(entry, url=dripping_server), tmp_path)
    assert time.monotonic() - start < 3
    assert list(tmp_path.iterdir()) == []
