"""A Ray cluster of two one-core nodes and a fake GPU; prints its address and stops at the end of its input."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ray.cluster_utils import Cluster

OBJECT_BYTES = 80 * 2**20


def main() -> None:
    """Runs as a separate process to keep Ray out of the tests' process."""
    with TemporaryDirectory(prefix="digits-", ignore_cleanup_errors=True) as folder:
        run(folder)


def run(folder: str) -> None:
    """Ray keeps its files in the folder."""
    os.environ.update(RAY_TMPDIR=folder, TMPDIR=folder)
    Path(folder, "ray").mkdir()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": OBJECT_BYTES})
    node = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=OBJECT_BYTES)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line == "lose a node\n":
            cluster.remove_node(node, allow_graceful=False)
            print("lost", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
