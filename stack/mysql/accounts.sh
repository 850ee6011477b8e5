# Creates the databases and accounts on MySQL. Each account has only the rights that its service uses. The script runs
# before every start of the stack, so that new passwords reach the server; it may run again at any time.
set -eu
secrets=${LAB_SECRETS_DIR:-/secrets}
secret() { cat "$secrets/$1"; }
as_root() { MYSQL_PWD=$1 mysql --protocol=tcp -h mysql -u root --batch --skip-column-names; }

# After a rotation the server still has an earlier password.
new=$(secret root-password)
if ! echo 'SELECT 1' | as_root "$new" >/dev/null 2>&1; then
  for old in $(secret root-password.previous); do
    if printf "ALTER USER 'root'@'%%' IDENTIFIED BY '%s', 'root'@'localhost' IDENTIFIED BY '%s';\n" "$new" "$new" |
      as_root "$old" 2>/dev/null; then
      echo "accounts: root has its new password"
      break
    fi
  done
fi

account() { # NAME: creates the account, or sets its current password
  printf "CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s';\n" "$1" "$(secret "$1-password")"
  printf "ALTER USER '%s'@'%%' IDENTIFIED BY '%s';\n" "$1" "$(secret "$1-password")"
}

{
  for database in RawData CleanData mlflow; do
    echo "CREATE DATABASE IF NOT EXISTS $database CHARACTER SET utf8mb4;"
  done
  for name in raw clean mlflow predictions reader monitor; do account "$name"; done
  tables="SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, REFERENCES"
  echo "GRANT $tables, CREATE VIEW, SHOW VIEW ON RawData.* TO 'raw'@'%';"
  echo "GRANT $tables, CREATE VIEW, SHOW VIEW ON CleanData.* TO 'clean'@'%';"
  echo "GRANT $tables, TRIGGER ON mlflow.* TO 'mlflow'@'%';"
  echo "GRANT SELECT, SHOW VIEW ON RawData.* TO 'reader'@'%';"
  echo "GRANT SELECT, SHOW VIEW ON CleanData.* TO 'reader'@'%';"
  # The pipeline creates these tables later. MySQL grants rights on a missing table only together with CREATE, which
  # is revoked at once.
  for table in predictions feedback requests shadow_predictions models live_scores checks alert_notes; do
    case $table in models | live_scores | checks) right=SELECT ;; requests | shadow_predictions) right=INSERT ;; *) right="INSERT, SELECT" ;; esac
    echo "GRANT CREATE, $right ON RawData.$table TO 'predictions'@'%';"
    echo "REVOKE CREATE ON RawData.$table FROM 'predictions'@'%';"
  done
  # The exporter counts batches, models, promotions, checks and live scores. It can read no data row and no prediction.
  for table in batches models promotions checks live_scores; do
    echo "GRANT CREATE, SELECT ON RawData.$table TO 'monitor'@'%';"
    echo "REVOKE CREATE ON RawData.$table FROM 'monitor'@'%';"
  done
} | as_root "$new"
echo "accounts: RawData, CleanData and mlflow are ready"
