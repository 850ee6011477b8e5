# Creates Airflow's database on PostgreSQL and the account that owns it. The script runs before every start of the
# stack, so that new passwords reach the server; it may run again at any time.
set -eu
secrets=${LAB_SECRETS_DIR:-/secrets}
secret() { cat "$secrets/$1"; }
as_superuser() { PGPASSWORD=$1 psql -h postgres -U postgres -v ON_ERROR_STOP=1 --no-psqlrc --quiet -tA; }

# After a rotation the server still has an earlier password.
new=$(secret superuser-password)
if ! echo 'SELECT 1' | as_superuser "$new" >/dev/null 2>&1; then
  for old in $(secret superuser-password.previous); do
    if echo "ALTER ROLE postgres PASSWORD '$new'" | as_superuser "$old" 2>/dev/null; then
      echo "accounts: the superuser has its new password"
      break
    fi
  done
fi

as_superuser "$new" <<SQL
SELECT 'CREATE ROLE airflow LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'airflow')
\gexec
ALTER ROLE airflow PASSWORD '$(secret airflow-password)';
SELECT 'CREATE DATABASE airflow OWNER airflow' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'airflow')
\gexec
REVOKE CONNECT ON DATABASE airflow FROM PUBLIC;
SELECT 'CREATE ROLE monitor LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'monitor')
\gexec
ALTER ROLE monitor PASSWORD '$(secret monitor-password)';
GRANT pg_read_all_stats TO monitor;
SQL
echo "accounts: Airflow's database is ready"
