#!/bin/sh
# Start a store or a Sentinel, announced to the others under a host name:
#   start.sh store NAME [MASTER]
#   start.sh sentinel NAME
# The password is written from the environment to a file that only this user can read: every process of the machine can
# read arguments. The variable is REDISCLI_AUTH because valkey-cli reads it too.
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
  sed -i '/^sentinel auth-pass /d' "$state" # the password may have changed
  echo "sentinel auth-pass ticker $REDISCLI_AUTH" >> "$state"
  exec valkey-server "$state" --sentinel
  ;;
esac
