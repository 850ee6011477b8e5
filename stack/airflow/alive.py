"""The health check of a scheduler or a dag-processor: its heartbeat in Airflow's database is recent.

`python alive.py SchedulerJob` reads the same row as `airflow jobs check`, in a tenth of a second instead of four,
because the command would import all of Airflow at every check.
"""

import socket
import sys
from pathlib import Path

import psycopg2

# Seconds. Airflow writes a heartbeat every five.
MAX_AGE = 60

QUERY = """
SELECT coalesce(min(extract(epoch FROM now() - latest_heartbeat)), 1e9)
FROM job WHERE job_type = %s AND hostname = ANY(%s) AND state = 'running'
"""


def main(job_type: str) -> None:
    """Exits with an error when no job of this type on this host has a recent heartbeat."""
    name = socket.gethostname()
    # The row has the host's name under compose and its address in the cluster.
    host_names = [name, socket.gethostbyname(name)]
    url = Path("/secrets/db-url").read_text().replace("+psycopg2", "", 1)
    with psycopg2.connect(url, connect_timeout=5) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY, (job_type, host_names))
        age = float(cursor.fetchone()[0])
    if age > MAX_AGE:
        sys.exit(f"{job_type} on {name}: no heartbeat in the last {MAX_AGE} s")


if __name__ == "__main__":
    main(sys.argv[1])
