#!/bin/sh
# Start a store or a Sentinel at an address:
#   start.sh store ADDRESS [PRIMARY]
#   start.sh sentinel ADDRESS PRIMARY
# The configuration is kept in the volume, since Sentinels change it: after a failover the primary must not start as a
# replica of the store that it replaced, which has older data. Only what an operator may change is written again.
# The password is written from the environment to a file that only this user can read: every process of the machine can
# read arguments. The variable is REDISCLI_AUTH because valkey-cli reads it too.
set -eu
umask 077
here=$(dirname "$0")
data=${DATA:-/data}
: "${REDISCLI_AUTH:?}"
# As a quoted string, which a space, a quote or # does not end.
password=\"$(printf '%s' "$REDISCLI_AUTH" | sed 's/[\\"]/\\&/g')\"

case $1 in
store)
  state=$data/valkey.conf
  if [ -s "$state" ]; then
    role=$(grep '^replicaof ' "$state" || true)
  else
    role=${3:+replicaof $3 6379}
  fi
  {
    cat "$here/valkey.conf"
    printf '%s\n' "requirepass $password" "primaryauth $password" # not echo, which may interpret backslashes
    echo "replica-announce-ip $2"
    echo "$role"
  } > "$state.new"
  mv "$state.new" "$state"
  exec valkey-server "$state"
  ;;
sentinel)
  state=$data/sentinel.conf
  [ -s "$state" ] || {
    echo "sentinel monitor ticker $3 6379 2"
    cat "$here/sentinel.conf"
    echo "sentinel announce-ip $2"
  } > "$state.new"
  [ -s "$state" ] || mv "$state.new" "$state" # whole: a Sentinel that was stopped meanwhile would lack settings
  sed -i '/^sentinel auth-pass /d' "$state" # the password may have changed
  printf '%s\n' "sentinel auth-pass ticker $password" >> "$state"
  exec valkey-server "$state" --sentinel
  ;;
esac
