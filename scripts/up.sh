#!/usr/bin/env bash
# Fresh machine to running system: builds, creates data/ and keys/, migrates, applies the demo
# documents, starts both services on SQLite and prints a tour. Runs in the foreground; Ctrl-C (or
# `make down`) stops both. A second run finds its data again.
#
#   HEXGATE_HOME      where data/ keys/ .run/ live        (the checkout)
#   HEXGATE_BIN_DIR   ready-made binaries instead of a build
#   AUTH__…, GATEWAY__…   as for the services, for instance AUTH__LISTEN=127.0.0.1:9500
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

home=${HEXGATE_HOME:-$root}
export AUTH__LISTEN=${AUTH__LISTEN:-127.0.0.1:9000}
export AUTH__MANAGEMENT_LISTEN=${AUTH__MANAGEMENT_LISTEN:-127.0.0.1:9001}
export AUTH__ISSUER=${AUTH__ISSUER:-http://$AUTH__LISTEN}
export GATEWAY__LISTEN=${GATEWAY__LISTEN:-127.0.0.1:9100}
export GATEWAY__MANAGEMENT_LISTEN=${GATEWAY__MANAGEMENT_LISTEN:-127.0.0.1:9101}
export GATEWAY__AUTH__ISSUER=${GATEWAY__AUTH__ISSUER:-$AUTH__ISSUER}
export GATEWAY__AUTH__AUDIENCE=${GATEWAY__AUTH__AUDIENCE:-http://$GATEWAY__LISTEN}
# The provider has to know whom an `ai:*` token is for.
export AUTH__TOKENS__GATEWAY_AUDIENCE=${AUTH__TOKENS__GATEWAY_AUDIENCE:-$GATEWAY__AUTH__AUDIENCE}
issuer=$AUTH__ISSUER gateway=http://$GATEWAY__LISTEN

mkdir -p "$home"/{data,keys,.run}
chmod 700 "$home"/{data,keys,.run}
cd "$home"

if [[ -s .run/up.pid ]] && runs "$(<.run/up.pid)" up.sh; then
  die "already running here as process $(<.run/up.pid); stop it with 'make down'"
fi
# A run that was killed may have left its services behind.
"$root/scripts/down.sh" 2>/dev/null
for address in "$AUTH__LISTEN" "$AUTH__MANAGEMENT_LISTEN" "$GATEWAY__LISTEN" "$GATEWAY__MANAGEMENT_LISTEN"; do
  if port_in_use "${address%:*}" "${address##*:}"; then
    die "something already listens on $address. Stop it, or choose other ports with AUTH__LISTEN, AUTH__MANAGEMENT_LISTEN, GATEWAY__LISTEN, GATEWAY__MANAGEMENT_LISTEN"
  fi
done

if [[ -n ${HEXGATE_BIN_DIR:-} ]]; then
  bin=$HEXGATE_BIN_DIR
else
  need_build_tools
  say "building (the first time takes a few minutes) …"
  (cd "$root" && cargo build -p auth-server -p resource-gateway)
  bin=${CARGO_TARGET_DIR:-$root/target}/debug
fi

# Secrets are made once: later runs apply the same documents again, which changes nothing.
secrets=data/demo-secrets.env
if [[ ! -s $secrets ]]; then
  (
    umask 077
    for name in WEB_SECRET SERVICE_SECRET RESOURCE_SERVER_SECRET ADMIN_PASSWORD ALICE_PASSWORD; do
      echo "$name=$(random_secret)"
    done >"$secrets.new"
  )
  mv "$secrets.new" "$secrets"
fi
document=$(<"$root/scripts/demo/auth.toml")
while IFS='=' read -r name value; do
  document=${document//"@$name@"/$value}
  printf -v "$name" '%s' "$value"
done <"$secrets"
(umask 077 && printf '%s\n' "$document" >.run/auth.toml)

auth_pid='' gateway_pid=''
stop() {
  trap '' INT TERM
  trap - EXIT
  # The gateway first, so that calls under way still find their issuer.
  for pid in $gateway_pid $auth_pid; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -f .run/up.pid .run/auth-server.pid .run/resource-gateway.pid .run/ready.*
}
trap stop EXIT
trap 'say; say "stopping …"; exit 0' INT TERM
echo $$ >.run/up.pid

say "migrating and applying the demo documents …"
{
  "$bin/auth-server" migrate
  "$bin/auth-server" apply .run/auth.toml
  "$bin/resource-gateway" migrate
  "$bin/resource-gateway" apply "$root/resource-gateway/demo/gateway.toml"
} >&2

# serve NAME: in a process group of its own, so that Ctrl-C reaches this script alone, which then
# stops the two in order.
serve() {
  set -m
  "$bin/$1" serve >>".run/$1.log" 2>&1 &
  set +m
  echo $! >".run/$1.pid"
}
serve auth-server
auth_pid=$(<.run/auth-server.pid)
serve resource-gateway
gateway_pid=$(<.run/resource-gateway.pid)

wait_ready() { # NAME PID MANAGEMENT
  local deadline=$((SECONDS + 60))
  until [[ $(http_status "$3" /readyz) == 200 ]]; do
    if ! kill -0 "$2" 2>/dev/null; then
      tail -n 20 ".run/$1.log" >&2
      die "$1 did not start; its log is $home/.run/$1.log"
    fi
    ((SECONDS < deadline)) || die "$1 is not ready after a minute; its log is $home/.run/$1.log"
    sleep 0.1
  done
}
wait_ready auth-server "$auth_pid" "$AUTH__MANAGEMENT_LISTEN"
wait_ready resource-gateway "$gateway_pid" "$GATEWAY__MANAGEMENT_LISTEN"

# Made from the documents above; everything in it is plain enough to need no JSON escapes.
(
  umask 077
  cat >.run/demo.json.new <<JSON
{
  "issuer": "$issuer",
  "gateway": "$gateway",
  "clients": {
    "web": {"client_id": "web", "client_secret": "$WEB_SECRET", "redirect_uri": "http://127.0.0.1:8080/callback"},
    "spa": {"client_id": "spa", "redirect_uri": "http://127.0.0.1:8081/callback"},
    "service": {"client_id": "service", "client_secret": "$SERVICE_SECRET"},
    "resource_server": {"client_id": "resource_server", "client_secret": "$RESOURCE_SERVER_SECRET"},
    "console": {"client_id": "console"}
  },
  "users": {
    "admin": {"username": "admin", "password": "$ADMIN_PASSWORD"},
    "alice": {"username": "alice", "password": "$ALICE_PASSWORD"}
  },
  "interfaces": {"chat": "chat", "embeddings": "embeddings"}
}
JSON
)
mv .run/demo.json.new .run/demo.json

cat <<TOUR

Hexgate runs.   provider $issuer   gateway $gateway
Everything that a client needs to know stands in $home/.run/demo.json

1. A machine gets a token and calls a chat model (paste into another shell):

TOKEN=\$(curl -s $issuer/oauth2/token -u service:$SERVICE_SECRET -d grant_type=client_credentials -d scope=ai:chat | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -s $gateway/v1/chat/completions -H "Authorization: Bearer \$TOKEN" -H 'Content-Type: application/json' -d '{"model":"chat","messages":[{"role":"user","content":"Hello!"}]}'
curl -sN $gateway/v1/chat/completions -H "Authorization: Bearer \$TOKEN" -H 'Content-Type: application/json' -d '{"model":"chat","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'

2. The same by the official OpenAI SDK (pip install openai), in the same shell:

TOKEN="\$TOKEN" python3 -c "import openai, os; print(openai.OpenAI(base_url='$gateway/v1', api_key=os.environ['TOKEN']).chat.completions.create(model='chat', messages=[{'role': 'user', 'content': 'Hello!'}]).choices[0].message.content)"

3. In a browser: sign in as  alice  with  $ALICE_PASSWORD

   $issuer/account

4. As a third-party app: what a person sees who is sent here by one (sign in, consent; the app itself would listen on port 8080):

   $issuer/oauth2/authorize?response_type=code&client_id=web&redirect_uri=http%3A%2F%2F127.0.0.1%3A8080%2Fcallback&scope=openid%20profile%20ai%3Achat&state=tour&nonce=tour&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256

Logs: .run/auth-server.log, .run/resource-gateway.log.   Ctrl-C stops both.
TOUR

# Either service ending by itself ends the other one, too. A shell's wait is interrupted by signals, which is wanted.
wait -n "$auth_pid" "$gateway_pid" || true
for name in auth-server resource-gateway; do
  kill -0 "$(<".run/$name.pid")" 2>/dev/null || tail -n 20 ".run/$name.log" >&2
done
die "a service ended by itself; the logs are in $home/.run"
