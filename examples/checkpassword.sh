#!/bin/sh
# SPDX-License-Identifier: ISC
# For `auth = checkpassword /etc/pop3-handler/checkpassword.sh`: accounts from a database, with the
# columns name, uid, gid, home and hash ($6$...). Exit status 1: the login is refused; 111: ask later.
database=/etc/pop3-handler/accounts.db
{ IFS= read -r user && IFS= read -r password; } <<-END || exit 111
	$(tr '\0' '\n' <&3)
END
case $user in '' | *[!A-Za-z0-9@._-]*) exit 1 ;; esac
row=$(sqlite3 -readonly "$database" "SELECT uid, gid, home, hash FROM accounts WHERE name = '$user'") || exit 111
[ -n "$row" ] || exit 1
IFS='|' read -r uid gid home hash <<-END
	$row
END
salt=${hash#?6?}
made=$(printf '%s\n' "$password" | openssl passwd -6 -salt "${salt%%[$]*}" -stdin) || exit 111
[ "$made" = "$hash" ] || exit 1
export USER="$user" HOME="$home"
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups -- "$@"
