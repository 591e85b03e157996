#!/bin/sh
# Makes certificates for trying out TLS and for closed networks: an authority of its own, and a pair for the server and one
# for its clients. ECDSA P-256.
#
# Usage: generate_tls_assets.sh --out DIR [--host NAME]... [--days N] [--client NAME] [--force]
#
#   --out DIR      where to: ca.pem server.pem server-key.pem client.pem client-key.pem
#   --host NAME    a name or an address by which clients reach the server; may be repeated.
#                  Default: localhost, 127.0.0.1, ::1 and this machine's name
#   --days N       how long the certificates are valid, 1 to 36500. Default: 365
#   --client NAME  the common name in the client's certificate. Default: stem-client
#   --force        replace what is in DIR
#
# All five files are made, or none is touched. The authority's key is thrown away: more certificates take a new authority.
# Exit status: 0 made; 64 usage; 69 openssl is missing; 70 openssl failed; 73 cannot write, or there is something already.
set -euf
umask 077

fail() {
  status=$1
  shift
  echo "generate_tls_assets: $*" >&2
  exit "$status"
}

out='' hosts='' days=365 client=stem-client force=
while [ $# -gt 0 ]; do
  option=$1 value=
  case $option in
    --out=* | --host=* | --days=* | --client=*) value=${option#*=} option=${option%%=*} ;;
    --out | --host | --days | --client)
      [ $# -ge 2 ] || fail 64 "$option takes a value; see --help"
      value=$2
      shift
      ;;
    --force) force=yes ;;
    -h | --help)
      sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p;}' "$0"
      exit 0
      ;;
    *) fail 64 "unknown argument '$option'; see --help" ;;
  esac
  shift
  case $option in
    --out) out=$value ;;
    --host)
      # It becomes a part of openssl's configuration.
      case $value in '' | *[!A-Za-z0-9.:*_-]*) fail 64 "'$value' is neither a host name nor an address" ;; esac
      hosts="$hosts $value"
      ;;
    --days)
      case $value in '' | 0* | *[!0-9]* | ??????*) fail 64 "--days takes a whole number from 1 to 36500" ;; esac
      [ "$value" -le 36500 ] || fail 64 "--days takes a whole number from 1 to 36500"
      days=$value
      ;;
    --client)
      case $value in '' | *[!A-Za-z0-9._@-]*) fail 64 "--client takes a name of A-Z a-z 0-9 . _ @ -" ;; esac
      [ ${#value} -le 64 ] || fail 64 "--client takes at most 64 characters"
      client=$value
      ;;
  esac
done
[ -n "$out" ] || fail 64 "where to? say --out DIR; see --help"
command -v openssl >/dev/null || fail 69 "openssl is missing; install it (Debian: apt-get install openssl)"

files='ca.pem server.pem server-key.pem client.pem client-key.pem'
refuse_to_replace() {
  [ -z "$force" ] || return 0
  for file in $files; do
    if [ -e "$out/$file" ] || [ -L "$out/$file" ]; then
      fail 73 "$out/$file is there already; say --force to replace it, and what belongs to it"
    fi
  done
}
refuse_to_replace
for file in $files; do
  [ ! -d "$out/$file" ] || fail 73 "$out/$file is a directory"
done

if [ -z "$hosts" ]; then
  hosts='localhost 127.0.0.1 ::1'
  own=$(uname -n)
  case $own in localhost | '' | *[!A-Za-z0-9.-]*) ;; *) hosts="$hosts $own" ;; esac
fi
names='' first=''
for host in $hosts; do
  case $host in
    *:*) kind=IP ;;
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  names="$names${names:+,}$kind:$host"
  [ -n "$first" ] || first=$host
done
# A common name has at most 64 characters; clients look at the alternative names only.
[ ${#first} -le 64 ] || first=stem-server

mkdir -p -- "$out" 2>/dev/null || fail 73 "cannot make the directory $out"
# In the directory itself, so that the moves at the end stay on one file system.
work=$(mktemp -d "$out/.tls-XXXXXX" 2>/dev/null) || fail 73 "cannot write to $out"
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

run() {
  openssl "$@" >>"$work/log" 2>&1 </dev/null || fail 70 "openssl $1 failed: $(tail -n 1 "$work/log")"
}
key() { run genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$1"; }
serial() { echo "0x$(openssl rand -hex 16 | sed 's/^[89a-f]/7/')"; }

{
  printf '[req]\ndistinguished_name = name\nprompt = no\n[name]\n'
  printf '[authority]\nbasicConstraints = critical, CA:TRUE, pathlen:0\nkeyUsage = critical, keyCertSign, cRLSign\n'
  printf 'subjectKeyIdentifier = hash\n'
  printf '[server]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n'
  printf 'extendedKeyUsage = serverAuth\nsubjectAltName = %s\n' "$names"
  printf 'subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n'
  printf '[client]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n'
  printf 'extendedKeyUsage = clientAuth\nsubjectAltName = DNS:%s\n' "$client"
  printf 'subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n'
} >"$work/openssl.cnf"

key ca-key.pem
run req -x509 -new -sha256 -config "$work/openssl.cnf" -extensions authority -key "$work/ca-key.pem" -days "$days" \
  -set_serial "$(serial)" -subj '/CN=Stem local authority' -out "$work/ca.pem"
pair() { # NAME SUBJECT
  key "$1-key.pem"
  run req -new -sha256 -config "$work/openssl.cnf" -key "$work/$1-key.pem" -subj "/CN=$2" -out "$work/$1.csr"
  run x509 -req -sha256 -in "$work/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca-key.pem" -set_serial "$(serial)" \
    -days "$days" -extfile "$work/openssl.cnf" -extensions "$1" -out "$work/$1.pem"
  run verify -CAfile "$work/ca.pem" -purpose "ssl$1" "$work/$1.pem"
}
pair server "$first"
pair client "$client"

# Certificates are for everyone to read, keys are not.
chmod 0644 "$work/ca.pem" "$work/server.pem" "$work/client.pem"
chmod 0600 "$work/server-key.pem" "$work/client-key.pem"
trap '' HUP INT TERM  # from here on it takes a moment, and must not end between two files
refuse_to_replace  # another call may have been quicker
put() { mv -f -- "$work/$1" "$out/$1" || fail 73 "cannot write $out/$1"; }
for file in $files; do put "$file"; done
echo "made in $out, valid for $days days: $files"
echo "the server answers to: $names"
