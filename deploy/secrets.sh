#!/bin/sh
# Makes the secrets of docker-compose.yml, each once: random ones, in deploy/secrets (which git ignores), printed nowhere.
# Containers read them as users of their own, so the files are open and the folder is closed to everybody else.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -s secrets/redis_auth ]; then
    password="$(random)"
    echo "requirepass $password" > secrets/redis_auth
    echo "redis://:$password@redis:6379/0" > secrets/redis_url
fi
[ -s secrets/grafana_password ] || random > secrets/grafana_password
# Where Alertmanager sends alerts: an incoming webhook of your chat. Nobody listens at this one.
[ -s secrets/alert_webhook ] || echo http://127.0.0.1:9/no-webhook-yet > secrets/alert_webhook
chmod 444 secrets/*
echo "deploy/secrets holds: $(ls secrets | tr '\n' ' ')"
