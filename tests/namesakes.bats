#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Messages of a Maildir whose names have the same unique part (the name up to the colon), and files
# with two names.

load helpers

setup() {
	setup_site
	make_maildir alice
	make_message alice/cur/1.M1P1.h:2,S 'first\n'
}

# unique_ids: the unique-ids of alice's mailbox, in order, in `ids`.
unique_ids() {
	as_alice UIDL QUIT
	take_ids
}

# take_ids: the same, from the replies to UIDL and QUIT in `lines`.
take_ids() {
	show
	[ "${lines[-1]}" = '+OK goodbye' ]
	mapfile -t ids < <(printf '%s\n' "${lines[@]:1}" | sed '/^\.$/,$d' | cut -d ' ' -f 2)
}

# is_stand_in TEXT: the unique-id stands in for the unique part of a name.
is_stand_in() {
	[[ $1 =~ ^sha256[0-9a-f]{64}$ ]]
}

# born FILE: prints its birth time.
born() {
	stat -c %.9W "$mail/$1"
}

# make_later FILE OLDER TEXT: makes a message in a younger file than OLDER: the clock of a file
# system advances only every few milliseconds.
make_later() {
	[[ $(born "$2") != [0-]* ]] || skip 'this file system keeps no birth times'
	until make_message "$1" "$3" && [[ $(born "$1") > $(born "$2") ]]; do
		rm "$mail/$1"
	done
}

# make_namesake: a second message with the unique part of the first, made later.
make_namesake() {
	make_later alice/cur/1.M1P1.h:2,F alice/cur/1.M1P1.h:2,S 'second\n'
}

@test "two names of one file with one unique part are one message" {
	ln "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,FS"
	make_message alice/new/2.M1P1.h
	as_alice UIDL LIST STAT 'RETR UID:1.M1P1.h'
	show
	[ "${lines[*]:0:4}" = '+OK unique-ids follow 1 1.M1P1.h 2 2.M1P1.h .' ]
	[ "${lines[*]:5:3}" = '1 7 2 24 .' ]
	[ "${lines[8]}" = '+OK 2 31' ]
	[ "${lines[10]}" = first ]
	# The same with one name in new and one in cur: an MDA that died between link and unlink.
	ln "$mail/alice/new/2.M1P1.h" "$mail/alice/cur/2.M1P1.h:2,"
	unique_ids
	[ "${ids[*]}" = '1.M1P1.h 2.M1P1.h' ]
}

@test "deleting a message removes each of its names, and nothing else" {
	for how in DELE DELI; do
		make_message alice/cur/1.M1P1.h:2,S 'first\n'
		make_message alice/new/2.M1P1.h
		ln "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,FS"
		ln "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/new/1.M1P1.h"
		as_alice "$how UID:1.M1P1.h" QUIT
		show
		[[ ${lines[0]} == +OK* ]]
		[ "${lines[1]}" = '+OK goodbye' ]
		[ "$(files alice)" = ./new/2.M1P1.h ]
		[ -z "$(troubles)" ]
	done
}

@test "a set with messages that have two names is deleted, and nothing else" {
	for i in 2 3 4; do
		make_message "alice/new/$i.M1P1.h"
		ln "$mail/alice/new/$i.M1P1.h" "$mail/alice/cur/$i.M1P1.h:2,F"
	done
	as_alice 'DELE UID:1.M1P1.h' 'DELE UID:2.M1P1.h' 'DELE UID:4.M1P1.h' QUIT
	show
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ "$(files alice | tr '\n' ' ')" = './cur/3.M1P1.h:2,F ./new/3.M1P1.h ' ]
	unique_ids
	[ "${ids[*]}" = 3.M1P1.h ]
}

@test "if only one of a message's two names could be removed, the next session completes its deletion" {
	for i in 2 3; do
		make_message "alice/new/$i.M1P1.h"
	done
	ln "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,FS"
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE UID:1.M1P1.h' 'DELE UID:2.M1P1.h' QUIT >script
	trace trace trace=unlinkat -P "$mail/alice/new" -P "$mail/alice/cur" -e inject=unlinkat:signal=KILL:when=2 \
		"$HANDLER" "${options[@]}" <script >out 2>log || true
	grep -q 'killed by SIGKILL' trace
	unique_ids
	[ "${ids[*]}" = 3.M1P1.h ]
	[ "$(files alice)" = ./new/3.M1P1.h ]
}

@test "two names of one file with different unique parts are two messages" {
	ln "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P2.h:2,S"
	unique_ids
	[ "${ids[*]}" = '1.M1P1.h 1.M1P2.h' ]
	as_alice 'DELE UID:1.M1P1.h' QUIT
	[ "$(files alice)" = ./cur/1.M1P2.h:2,S ]
	ln "$mail/alice/cur/1.M1P2.h:2,S" "$mail/alice/cur/1.M1P3.h:2,S"
	make_message alice/cur/2.M1P1.h:2,
	as_alice 'DELE UID:1.M1P3.h' 'DELE UID:2.M1P1.h' QUIT
	[ "$(files alice)" = ./cur/1.M1P2.h:2,S ]
	[ "$(cat "$mail/alice/cur/1.M1P2.h:2,S")" = first ]
	unique_ids
	[ "${ids[*]}" = 1.M1P2.h ]
}

@test "a linked backup of the mailbox changes no unique-id" {
	make_namesake
	make_message 'alice/cur/2.M1P1.with blanks:2,S'
	make_message "alice/cur/3.M1P1.$(printf 'x%.0s' {1..70}):2,S"
	ln "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,RS"
	make_message alice/new/4.M1P1.h
	unique_ids
	before=("${ids[@]}")
	cp -al "$mail/alice" backup
	unique_ids
	[ "${ids[*]}" = "${before[*]}" ]
	rm -r backup
	unique_ids
	[ "${ids[*]}" = "${before[*]}" ]
}

@test "the first of two files with one unique part keeps its unique-id while the second comes and goes" {
	unique_ids
	[ "${ids[*]}" = 1.M1P1.h ]
	make_namesake
	unique_ids
	[ "${#ids[@]}" -eq 2 ]
	as_alice 'RETR UID:1.M1P1.h' UIDL QUIT
	[ "${lines[1]}" = first ]
	for id in "${ids[@]}"; do
		[ "$id" = 1.M1P1.h ] || is_stand_in "$id"
	done
	rm "$mail/alice/cur/1.M1P1.h:2,F"
	unique_ids
	[ "${ids[*]}" = 1.M1P1.h ]
}

@test "the second of two files with one unique part keeps its unique-id whatever its flags are" {
	make_namesake
	# other: sets `id` to the unique-id that is not the unique part.
	other() {
		unique_ids
		[ "${#ids[@]}" -eq 2 ]
		id=$(printf '%s\n' "${ids[@]}" | grep -vxF 1.M1P1.h)
	}
	other
	is_stand_in "$id"
	first=$id
	mv "$mail/alice/cur/1.M1P1.h:2,F" "$mail/alice/cur/1.M1P1.h:2,FRS"
	other
	[ "$id" = "$first" ]
	mv "$mail/alice/cur/1.M1P1.h:2,FRS" "$mail/alice/new/1.M1P1.h"
	other
	[ "$id" = "$first" ]
	as_alice "RETR UID:$first" 'RETR UID:1.M1P1.h'
	[ "${lines[1]}" = second ]
	[ "${lines[4]}" = first ]
	as_alice "DELE UID:$first" QUIT
	[ "$(files alice)" = ./cur/1.M1P1.h:2,S ]
}

@test "deleting one of two files with one unique part keeps the other, also in a set" {
	make_namesake
	make_message alice/new/2.M1P1.h
	as_alice 'DELE UID:1.M1P1.h' 'DELE UID:2.M1P1.h' QUIT
	[ "${lines[2]}" = '+OK goodbye' ]
	[ "$(files alice)" = ./cur/1.M1P1.h:2,F ]
	[ "$(cat "$mail/alice/cur/1.M1P1.h:2,F")" = second ]
}

@test "a pending DELE never hits another message that has since got the same unique part" {
	make_message alice/new/2.M1P1.h
	for set in 'UID:1.M1P1.h' 'UID:1.M1P1.h UID:2.M1P1.h'; do
		rm -f "$mail/alice/cur/"*
		make_message alice/cur/1.M1P1.h:2,S 'first\n'
		start_session one
		login one
		for uid in $set; do
			ask one "DELE $uid"
			[[ $reply == +OK* ]]
		done
		# Made before the first one is removed, so that it has another inode.
		make_message alice/cur/1.M1P1.h:2,F 'second\n'
		rm "$mail/alice/cur/1.M1P1.h:2,S"
		ask one QUIT
		[ "$reply" = '+OK goodbye' ]
		hang_up one
		rm one.*
		[ "$(cat "$mail/alice/cur/1.M1P1.h:2,F")" = second ]
	done
	[ "$(files alice)" = ./cur/1.M1P1.h:2,F ]
}

@test "a pending DELE deletes its message although that was renamed and now has a namesake" {
	make_message alice/new/2.M1P1.h
	for set in 'UID:1.M1P1.h' 'UID:1.M1P1.h UID:2.M1P1.h'; do
		make_message alice/new/2.M1P1.h
		start_session one
		login one
		for uid in $set; do
			ask one "DELE $uid"
			[[ $reply == +OK* ]]
		done
		make_namesake
		mv "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,RS"
		ask one QUIT
		[ "$reply" = '+OK goodbye' ]
		hang_up one
		rm -f one.* "$mail/alice/new/2.M1P1.h"
		[ "$(files alice)" = ./cur/1.M1P1.h:2,F ]
		[ "$(cat "$mail/alice/cur/1.M1P1.h:2,F")" = second ]
		mv "$mail/alice/cur/1.M1P1.h:2,F" "$mail/alice/cur/1.M1P1.h:2,S"
	done
}

@test "DELI and RETR never hit another message that has since got the same unique part" {
	start_session one
	login one
	make_message alice/cur/1.M1P1.h:2,F 'second\n'
	rm "$mail/alice/cur/1.M1P1.h:2,S"
	ask one 'RETR UID:1.M1P1.h'
	[ "$reply" = '-ERR [UID] message 1 is gone' ]
	ask one 'DELI 1'
	ask one QUIT
	[ "$(files alice)" = ./cur/1.M1P1.h:2,F ]
}

@test "only its own unique-id deletes the second of two files with one unique part, also after SLEE and WAKE" {
	make_namesake
	start_session one
	login one
	ask one SLEE
	rm "$mail/alice/cur/1.M1P1.h:2,S"
	ask one WAKE
	[[ $reply == '+OK [ACTIVITY/NONE] 1 messages' ]]
	ask one 'DELE UID:1.M1P1.h'
	[[ $reply == -ERR* ]]
	ask one 'UIDL 1'
	is_stand_in "${reply##* }"
	ask one QUIT
	hang_up one
	[ "$(files alice)" = ./cur/1.M1P1.h:2,F ]
}

@test "the stand-in for a long or odd name depends on its unique part only" {
	long=3.M1P1.$(printf 'x%.0s' {1..70})
	for name in '2.M1P1.with blanks' 2.M1P1.Grüße _ "$long"; do
		rm "$mail"/alice/*/*
		make_message "alice/new/$name"
		unique_ids
		id=${ids[0]}
		is_stand_in "$id"
		mv "$mail/alice/new/$name" "$mail/alice/cur/$name:2,FS"
		unique_ids
		[ "${ids[*]}" = "$id" ]
		ln "$mail/alice/cur/$name:2,FS" kept
		unique_ids
		[ "${ids[*]}" = "$id" ]
		ln "$mail/alice/cur/$name:2,FS" "$mail/alice/cur/$name:2,S"
		unique_ids
		[ "${ids[*]}" = "$id" ]
		# Another file with the same unique part, after this file is gone.
		rm kept "$mail"/alice/*/*
		make_message "alice/new/$name" 'another\n'
		unique_ids
		[ "${ids[*]}" = "$id" ]
		make_later "alice/cur/$name:2,F" "alice/new/$name" 'later\n'
		unique_ids
		[ "${#ids[@]}" -eq 2 ]
		[[ " ${ids[*]} " == *" $id "* ]]
		is_stand_in "${ids[0]}"
		is_stand_in "${ids[1]}"
	done
}

# --- Renaming, on a file system where a file's times can be set back ---

# files_on_disk: sets `found` to the messages on the disk.
files_on_disk() {
	mapfile -t found < <(on_disk find "$mail/alice" -type f ! -name '.pop3-handler.*' -printf '%P\n' | LC_ALL=C sort)
}

# make_disk: a disk on which alice has two files with one unique part, and `long ago` as their times.
make_disk() {
	needs_root
	truncate -s 8M disk
	mkfs.ext4 -q disk
	# shellcheck disable=SC2016
	inodes=$(on_disk sh -c 'mkdir -p "$1/alice/cur" "$1/alice/new" "$1/alice/tmp" && cd "$1/alice/cur" &&
		echo first >1700000000.M1P1.h:2,S && echo second >1700000000.M1P1.h:2,FR &&
		chmod -R a+rwX "$1" && stat -c %i 1700000000.M1P1.h:2,S 1700000000.M1P1.h:2,FR' sh "$mail")
	mapfile -t inodes <<<"$inodes"
	make_old "${inodes[0]}" crtime # the first of the two
}

# make_old INODE FIELD...: sets these times of a file to the year 2020.
make_old() {
	for field in "${@:2}"; do
		debugfs -w -R "set_inode_field <$1> $field @1600000000" disk
		debugfs -w -R "set_inode_field <$1> ${field}_extra 0" disk
	done
}

@test "the second of two files with one unique part is renamed once it is 30 seconds old" {
	make_disk
	talk_on_disk UIDL QUIT
	take_ids
	[ "${#ids[@]}" -eq 2 ]
	run -0 grep -cxF 1700000000.M1P1.h <(printf '%s\n' "${ids[@]}")
	files_on_disk
	[ "${found[*]}" = 'cur/1700000000.M1P1.h:2,FR cur/1700000000.M1P1.h:2,S' ]
	[ -z "$(troubles)" ]
	make_old "${inodes[1]}" ctime
	talk_on_disk UIDL 'RETR UID:1700000000.M1P1.h'
	files_on_disk
	printf '%s\n' "${found[@]}"
	# The first keeps its name; the second gets a new one with the same second and flags.
	[ "${#found[@]}" -eq 2 ]
	printf '%s\n' "${found[@]}" | grep -xF 'cur/1700000000.M1P1.h:2,S'
	renamed=$(printf '%s\n' "${found[@]}" | grep -vxF 'cur/1700000000.M1P1.h:2,S')
	[[ $renamed =~ ^cur/1700000000\.[^:]+:2,FR$ ]]
	unique=${renamed#cur/}
	unique=${unique%:*}
	[ "${#unique}" -le 70 ]
	# The new name is the unique-id from then on, also in this session.
	mapfile -t ids < <(printf '%s\n' "${lines[@]:1:2}" | cut -d ' ' -f 2 | sort)
	[ "${ids[*]}" = "$(printf '%s\n' 1700000000.M1P1.h "$unique" | sort | tr '\n' ' ' | sed 's/ $//')" ]
	[ "${lines[5]}" = first ]
	[ "$(grep -c 'renamed' log)" -eq 1 ]
	[ "$(troubles | wc -l)" -eq 1 ]
	talk_on_disk UIDL "RETR UID:$unique" "DELE UID:$unique" QUIT
	[ "${lines[5]}" = second ]
	[ -z "$(troubles)" ]
	files_on_disk
	[ "${found[*]}" = cur/1700000000.M1P1.h:2,S ]
}

@test "the first of two files with one unique part is never renamed, however old it is" {
	make_disk
	make_old "${inodes[0]}" ctime
	talk_on_disk UIDL QUIT
	files_on_disk
	[ "${found[*]}" = 'cur/1700000000.M1P1.h:2,FR cur/1700000000.M1P1.h:2,S' ]
	take_ids
	run -0 grep -cxF 1700000000.M1P1.h <(printf '%s\n' "${ids[@]}")
}

@test "a file is not renamed for having two names, nor in a read-only mailbox" {
	make_disk
	make_old "${inodes[1]}" ctime
	options+=(--read-only=yes)
	talk_on_disk UIDL 'RETR UID:1700000000.M1P1.h' QUIT
	[ "${lines[5]}" = first ]
	files_on_disk
	[ "${found[*]}" = 'cur/1700000000.M1P1.h:2,FR cur/1700000000.M1P1.h:2,S' ]
	# shellcheck disable=SC2016
	on_disk sh -c 'cd "$1/alice/cur" && rm *FR && ln *S 1700000000.M1P1.h:2,F' sh "$mail"
	make_old "${inodes[0]}" ctime
	options=("${options[@]:0:${#options[@]}-1}")
	talk_on_disk UIDL QUIT
	[ "${lines[1]}" = '1 1700000000.M1P1.h' ]
	[ "${lines[2]}" = . ]
	files_on_disk
	[ "${found[*]}" = 'cur/1700000000.M1P1.h:2,F cur/1700000000.M1P1.h:2,S' ]
}

@test "a deletion removes both names of a message, even if a neighbour renames one of them meanwhile" {
	for name in S F; do
		rm -f "$mail"/alice/*/*
		make_message alice/new/1.M1P1.h 'two names\n'
		ln "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,S"
		start_session "one$name"
		login "one$name"
		ask "one$name" 'DELE 1'
		case $name in
		S) mv "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,FS" ;;
		F) mv "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,F" ;;
		esac
		ask "one$name" QUIT
		[ "$reply" = '+OK goodbye' ]
		[ -z "$(files alice)" ]
	done
}

@test "of two files that swap their names, the marked one is deleted" {
	make_namesake
	start_session one
	login one
	ask one 'DELE UID:1.M1P1.h'
	mv "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,RS"
	mv "$mail/alice/cur/1.M1P1.h:2,F" "$mail/alice/cur/1.M1P1.h:2,S"
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(files alice)" = ./cur/1.M1P1.h:2,S ]
	[ "$(cat "$mail/alice/cur/1.M1P1.h:2,S")" = second ]
}

@test "a unique-id does not pass to an older file that appears later, in a session or at WAKE" {
	mv "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/tmp/older"
	make_later alice/new/1.M1P1.h alice/tmp/older 'younger\n'
	start_session one
	login one
	ask one SLEE
	cp -a "$mail/alice/tmp/older" copy
	mv "$mail/alice/tmp/older" "$mail/alice/cur/1.M1P1.h:2,S"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 2 messages' ]
	ask one 'DELE UID:1.M1P1.h'
	mv "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,"
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(cat "$mail"/alice/cur/*)" = first ]
}

# On overlayfs over another file system, the first change of a file gives it another inode in its
# directory.
@test "on overlayfs a renamed message is the same message" {
	needs_root
	mkdir disk upper work
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' QUIT >script
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount -t tmpfs tmpfs disk &&
		cp -r mail/alice disk && echo later >disk/alice/new/2.M1P1.h &&
		mount -t overlay -o lowerdir=disk,upperdir=upper,workdir=work overlay mail &&
		mkfifo to && { "$@" <to >out 2>log & } && exec 4>to && head -n 3 script >&4 &&
		until grep -q "marked as deleted" out; do :; done &&
		mv "mail/alice/cur/1.M1P1.h:2,S" "mail/alice/cur/1.M1P1.h:2,F" &&
		tail -n 1 script >&4 && exec 4>&- && wait && find mail/alice -name "*P1*"' \
		sh "$HANDLER" "${options[@]}" >found || skip 'there is no overlayfs here'
	grep -q '^+OK goodbye' out
	[ "$(cat found)" = mail/alice/new/2.M1P1.h ]
}

# Only mailboxes of 1,000 messages and more are cached as a whole.
@test "a session keeps the unique-ids that it has shown, even if another session's cache has others" {
	touch "$mail"/alice/cur/{2000..3100}.M1P1.h:2,S
	make_namesake
	start_session one "$HANDLER" "${options[@]}" --read-only=yes
	login one
	ask one 'UIDL 2'
	stand_in=${reply#+OK 2 }
	is_stand_in "$stand_in"
	ask one SLEE
	rm "$mail/alice/cur/1.M1P1.h:2,S"
	rm -f "$mail"/alice/.pop3-handler.cache
	as_alice 'UIDL 1' STAT QUIT
	[ "${lines[0]}" = '+OK 1 1.M1P1.h' ]
	[ -s "$mail/alice/.pop3-handler.cache" ]
	ask one WAKE
	ask one 'UIDL 1'
	[ "$reply" = "+OK 1 $stand_in" ]
	ask one QUIT
}
