#!/bin/sh
# Makes the passwords of Redis' users and the key of the admin API: secrets.sh DIRECTORY USERS, with the file of Redis' users to fill in.
#
# Once: what is in the directory stays. In plain sh, because the compose file runs it in Redis' image; scripts/secrets does for Kubernetes.
set -eu
directory=$1 users=$2
[ -e "$directory/users.acl" ] && exit 0
umask 077
random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
hash() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
gateway=$(random) probe=$(random)
printf %s "$(random)" >"$directory/api-key"
printf %s "$gateway" >"$directory/redis-password"
printf %s "$probe" >"$directory/probe-password"
# Last, and at once: it says that all are there.
sed -e "s/GATEWAY_PASSWORD/#$(hash "$gateway")/" -e "s/PROBE_PASSWORD/#$(hash "$probe")/" "$users" >"$directory/users.acl.new"
mv "$directory/users.acl.new" "$directory/users.acl"
