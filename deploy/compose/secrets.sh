# Run in a container of compose.yaml: makes the passwords of Redis and the key of the admin API, unless they are there.
set -eu
umask 027
cd /run/fanfare
if [ -e users.acl ]; then exit 0; fi
random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
hash() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
gateway=$(random) probe=$(random)
printf %s "$(random)" >api-key
printf %s "$gateway" >redis-password
printf %s "$probe" >probe-password
sed -e "s/GATEWAY_PASSWORD/#$(hash "$gateway")/" -e "s/PROBE_PASSWORD/#$(hash "$probe")/" /users.acl >users.acl.new
# The gateway reads as 65532, Redis as 999.
chown 65532:65532 api-key redis-password
chown 999:999 users.acl.new probe-password
chmod 400 api-key redis-password users.acl.new probe-password
chmod 755 .
mv users.acl.new users.acl
