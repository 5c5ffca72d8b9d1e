import select
import socket
from types import SimpleNamespace

import pytest

from service import master


@pytest.mark.parametrize(("shared", "arrives"), [({}, False), ({"reexec_pid": 7}, True), ({"systemd": True}, True)])
def test_no_connection_arrives_any_more_unless_another_process_goes_on(
    shared: dict[str, object], arrives: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        defaults = {"reexec_pid": 0, "master_pid": 0, "systemd": False, "LISTENERS": [listener]}
        master.drop_arrivals(SimpleNamespace(**defaults | shared))
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        assert bool(select.select([], [client], [], 0.05)[1]) is arrives
