#!/bin/sh
# A database and its owner for each server, made when PostgreSQL's image starts with an empty folder.
# As emsam/stack/postgres.py does; mounted in /docker-entrypoint-initdb.d/.
set -eu

create() { # NAME, PASSWORD
    NAME="$1" WORD="$2" psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" <<'SQL'
\getenv name NAME
\getenv word WORD
CREATE ROLE :"name" LOGIN PASSWORD :'word';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

create mlflow "$MLFLOW_DATABASE_PASSWORD"
create prefect "$PREFECT_DATABASE_PASSWORD"
create ledger "$LEDGER_DATABASE_PASSWORD"
