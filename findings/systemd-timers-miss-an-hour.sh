#!/usr/bin/env bash
# An "hourly" timer of systemd 252 leaves an hour out when clocks go back, and a daily one can leave a day out.
#
# Guess:    a timer for 02:30 of a day without 02:30 is due at 03:30 or at once after the gap, as cron has it; and
#           "hourly" is every hour.
# Seen:     in Berlin in spring, 02:30 of 29 March 2026 is passed over, so that 48 hours less one lie between two runs
#           of a daily timer. In autumn, the second 02:00 is passed over: 120 minutes lie between two runs of an
#           hourly one, and the hour that repeats is seen once. With "UTC" in the expression neither happens.
# Counting: an hourly export or a daily closing of the books covers two periods in one, or finds nothing for a day,
#           and the rate that is computed from "one run, one hour" is wrong by a factor of two, once a year.
# Versions: systemd 252.39-1~deb12u2, tzdata 2025b-0+deb12u2. Nothing is booted: systemd-analyze computes.
set -euo pipefail

changed() { echo "changed: $*" >&2; exit 1; }

if ! command -v systemd-analyze >/dev/null || [ ! -e /usr/share/zoneinfo/Europe/Berlin ]; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends systemd tzdata >/dev/null
fi
systemd-analyze --version | head -n 1

# runs EXPRESSION BASE COUNT: the UTC times of the first COUNT runs after BASE, one a line.
runs() {
    TZ=Europe/Berlin LC_ALL=C systemd-analyze calendar "$1" --base-time "$2" --iterations "$3" |
        sed -n 's/.*(in UTC): ... //p' | tr -d '\r'
}
# gaps: minutes between the lines of runs.
gaps() {
    local last='' at now
    while read -r at; do
        now=$(date -u -d "$at" +%s)
        [ -z "$last" ] || echo $(((now - last) / 60))
        last=$now
    done | tr '\n' ' '
}

hourly=$(runs hourly '2026-10-25 00:00' 5 | gaps)
utc=$(runs '*-*-* *:00:00 UTC' '2026-10-25 00:00' 5 | gaps)
daily=$(runs '*-*-* 02:30' '2026-03-28 00:00' 3)
evening=$(runs '*-*-* 22:30' '2026-03-28 00:00' 3 | gaps)
echo "minutes between runs of hourly, 25 October 2026:         $hourly"
echo "the same of *:00:00 UTC:                                 $utc"
echo "minutes between runs of 22:30, 28 to 30 March 2026:      $evening"
echo "runs of 02:30, from 28 March 2026 on:"
echo "$daily"

[ "$hourly" = '60 120 60 60 ' ] || changed "minutes between hourly runs"
[ "$utc" = '60 60 60 60 ' ] || changed "minutes between hourly runs in UTC"
[ "$evening" = '1380 1440 ' ] || changed "minutes between daily runs"
[ "$daily" = '2026-03-28 01:30:00 UTC
2026-03-30 00:30:00 UTC
2026-03-31 00:30:00 UTC' ] || changed "runs at a time that does not exist on one day"
echo "as known: one hour without its run in autumn, one day without its run in spring"
