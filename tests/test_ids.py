"""Random ids: none comes twice, also in threads and in forked processes."""

import os
from concurrent.futures import ThreadPoolExecutor

from mlops_lab.ids import BLOCK, random_hex


def test_no_id_comes_twice_in_threads():
    with ThreadPoolExecutor(4) as threads:
        found = [
            one
            for many in threads.map(lambda _: [random_hex(10) for _ in range(2000)], range(8))
            for one in many
        ]
    assert len(set(found)) == len(found) == 16_000
    assert {len(one) for one in found} == {20}


def test_a_size_beyond_the_block():
    assert len(random_hex(3 * BLOCK + 1)) == 2 * (3 * BLOCK + 1)


def test_a_forked_process_gives_other_ids():
    random_hex(10)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, random_hex(16).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100).decode() != random_hex(16)
    os.close(read)
    os.close(write)
