#!/bin/sh
# Starts a store, or a Sentinel beside it, under a name that others find it by:
#   start.sh store NAME [MASTER]
#   start.sh sentinel NAME
# The password goes from the environment into a file that only we can read: arguments can be read by all of the
# machine. REDISCLI_AUTH, since valkey-cli takes it from there too.
set -eu
umask 077
here=$(dirname "$0")
memory=${MEMORY:-/tmp}
data=${DATA:-/data}

case $1 in
store)
  {
    cat "$here/valkey.conf"
    echo "requirepass $REDISCLI_AUTH"
    echo "primaryauth $REDISCLI_AUTH"
    echo "replica-announce-ip $2"
    [ -z "${3:-}" ] || echo "replicaof $3 6379"
  } > "$memory/valkey.conf"
  exec valkey-server "$memory/valkey.conf"
  ;;
sentinel)
  state=$data/sentinel.conf
  [ -e "$state" ] || { cat "$here/sentinel.conf" && echo "sentinel announce-ip $2"; } > "$state"
  sed -i '/^sentinel auth-pass /d' "$state" # it may be another one now
  echo "sentinel auth-pass ticker $REDISCLI_AUTH" >> "$state"
  exec valkey-server "$state" --sentinel
  ;;
esac
