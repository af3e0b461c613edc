#!/bin/sh
# Installs the servers that tests start as processes of their own. Where that cannot be done, it says so and ends well:
# those tests are skipped then, each with the name of its package.
set -u
list="$(dirname "$0")/debian-packages.txt"
missing=
for package in $(cat "$list"); do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

say() { echo "servers for tests, not installed:$missing: $1; their tests are skipped"; exit 0; }
command -v apt-get >/dev/null || say "no apt-get on this machine"
if [ "$(id -u)" = 0 ]; then root=; elif sudo -n true 2>/dev/null; then root="sudo -n"; else say "this needs root"; fi

# Packages start their service when they are installed, unless the machine's policy forbids it.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] && $root mv $policy $policy.kept
printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null && $root chmod 755 $policy
restore() {
    $root rm -f $policy
    [ -e $policy.kept ] && $root mv $policy.kept $policy
}
trap restore EXIT
trap 'exit 130' INT TERM

echo "installing servers for tests:$missing"
apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=1 -o Acquire::http::Timeout=15 \
    -o DPkg::Lock::Timeout=120"
log=$(mktemp)
# shellcheck disable=SC2086 # the words of $apt and $missing are meant as such
{ $apt update && $apt install --yes --no-install-recommends $missing; } >"$log" 2>&1 ||
    { tail -3 "$log"; rm "$log"; say "apt-get failed"; }
rm "$log"
