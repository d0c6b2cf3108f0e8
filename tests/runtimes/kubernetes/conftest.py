"""One control plane for all tests that need it: it takes ten seconds and more to be up."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.runtimes.kubernetes.cluster import Cluster, cluster


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """The real API server, controllers and scheduler, with nodes that kwok plays."""
    with cluster(tmp_path_factory.mktemp("plane")) as made:
        yield made
