# Databases and accounts on MySQL, each account with no more rights than its service uses. Runs before every
# start of the stack and may run again at any time, so that rotated passwords arrive.
set -eu
secrets=${LAB_SECRETS_DIR:-/secrets}
secret() { cat "$secrets/$1"; }
as_root() { MYSQL_PWD=$1 mysql --protocol=tcp -h mysql -u root --batch --skip-column-names; }

# After a rotation the server still has one of the earlier passwords.
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

account() { # NAME: makes it, or gives it its present password
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
  # The pipeline makes these tables later. Rights on a table that isn't there are granted only together with
  # CREATE, which is taken back at once.
  for table in predictions feedback models; do
    case $table in models) right=SELECT ;; *) right=INSERT ;; esac
    echo "GRANT CREATE, $right ON RawData.$table TO 'predictions'@'%';"
    echo "REVOKE CREATE ON RawData.$table FROM 'predictions'@'%';"
  done
  # The exporter counts batches, models, promotions and checks; it sees no row that anybody sent.
  for table in batches models promotions checks; do
    echo "GRANT CREATE, SELECT ON RawData.$table TO 'monitor'@'%';"
    echo "REVOKE CREATE ON RawData.$table FROM 'monitor'@'%';"
  done
} | as_root "$new"
echo "accounts: RawData, CleanData and mlflow are ready"
