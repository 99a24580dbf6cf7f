# SPDX-License-Identifier: ISC
# shellcheck shell=bash
# A real systemd as PID 1 of its own namespaces, on an overlay of this machine's root file system, which is
# discarded at the end. Needs root.

# boot: boots below BATS_FILE_TMPDIR. Tests run commands there with `inside`.
boot() {
	local machine=$BATS_FILE_TMPDIR/machine build
	build=$(dirname "$HANDLER")
	mkdir "$machine"
	# shellcheck disable=SC2016
	unshare --pid --mount --uts --ipc --cgroup --net --fork --kill-child bash -euc '
		machine=$1 build=$2
		mount --make-rprivate /
		mount -t tmpfs -o mode=755 tmpfs "$machine"
		mkdir "$machine/upper" "$machine/work" "$machine/root"
		mount -t overlay overlay -o "lowerdir=/,upperdir=$machine/upper,workdir=$machine/work" "$machine/root"
		cd "$machine/root"
		mount -t proc proc proc
		mount -t sysfs sysfs sys
		mount -t cgroup2 cgroup2 sys/fs/cgroup
		mount -t tmpfs -o mode=755 tmpfs run
		mount -t tmpfs tmpfs tmp
		mount --rbind /dev dev
		# The build and its source, wherever they are.
		for folder in "$build" "$3"; do
			mkdir -p ".$folder"
			[ -e ".$folder/meson.build" ] || [ -e ".$folder/build.ninja" ] ||
				mount --bind "$folder" ".$folder"
		done
		rm -rf etc/systemd/system/*.wants usr/local/lib/systemd var/log/journal var/lib/systemd/catalog
		mkdir old
		# Leaves a chroot, if there is one: in a chroot there are no user namespaces.
		exec nsenter --mount=proc/self/ns/mnt --wd=. bash -euc "$4"
	' boot "$machine" "$build" "$(dirname "$BATS_TEST_DIRNAME")" '
		mount --make-rprivate /
		pivot_root . old
		umount -l old
		mount --make-rshared / # needed for credentials
		ip link set lo up
		hostname machine
		exec env -i container=unshare PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
			/lib/systemd/systemd --system --unit=basic.target
	' >"$BATS_FILE_TMPDIR/console" 2>&1 3>&- &
	echo $! >"$BATS_FILE_TMPDIR/boot.pid"
	come_up "$!" "$((SECONDS + 60))" || {
		cat "$BATS_FILE_TMPDIR/console"
		return 1
	}
}

# come_up PID END: waits until the systemd below PID is up; END is in SECONDS.
come_up() {
	until pgrep -P "$1" -x systemd >"$BATS_FILE_TMPDIR/systemd.pid" &&
		inside systemctl is-active --quiet basic.target 2>/dev/null; do
		kill -0 "$1" && [ "$SECONDS" -lt "$2" ] || return 1
	done
}

# inside COMMAND...: runs a command in the machine.
inside() {
	nsenter --target "$(cat "$BATS_FILE_TMPDIR/systemd.pid")" --all --root --wd \
		env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@" 3>&-
}

# with_client [ARGUMENT...]: runs a Python script from standard input there, that has a Client.
with_client() {
	{
		cat "$BATS_TEST_DIRNAME/client.py"
		cat <<-'END'
			import os, signal, subprocess, sys, time
			def run(command):
			    return subprocess.run(command, shell=True, check=True, text=True, capture_output=True).stdout.strip()
			def wait_for(condition):
			    end = time.monotonic() + TIMEOUT
			    while not condition():
			        assert time.monotonic() < end
			def logged(text):
			    wait_for(lambda: text in run('journalctl -b -o cat -t pop3-handler'))
		END
		cat
	} >scenario.py
	inside timeout 50 /usr/bin/python3 - "$@" <scenario.py
}

power_off() {
	local pid
	pid=$(cat "$BATS_FILE_TMPDIR/boot.pid")
	kill -s KILL "$pid"
	wait "$pid" 2>/dev/null || true
}
