/* SPDX-License-Identifier: ISC
 * A preloaded library: replaces the session's seccomp filter by one that refuses nothing but still
 * notifies the keeper, and starts threads that repeatedly request the ids of other users. They
 * report on standard error that they have tried often enough, and which ids they got. */
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES 2000

static long (*real)(long number, ...);

/* Whether this thread has an id that the keeper must not grant; the account's is 61001. */
static int is_somebody_else(long id)
{
	unsigned ids[6];

	(void)real(SYS_getresuid, ids, ids + 1, ids + 2);
	(void)real(SYS_getresgid, ids + 3, ids + 4, ids + 5);
	for (int i = 0; i < 6; i++) {
		if (ids[i] == (unsigned)id)
			return 1;
	}
	return 0;
}

static void *race(void *context)
{
	long id = (long)(intptr_t)context, got = 0;

	for (long i = 0;; i++) {
		(void)real(SYS_setresgid, id, id, id);
		(void)real(SYS_setresuid, id, id, id);
		(void)real(SYS_setresuid, 61001, id, 61001);
		(void)real(SYS_landlock_restrict_self, 63, id == 0);
		if (is_somebody_else(id) && got++ == 0)
			(void)dprintf(STDERR_FILENO, "a thread has become %ld\n", id);
		if (i == TRIES)
			(void)dprintf(STDERR_FILENO, "a thread has tried to be %ld\n", id);
	}
	return NULL;
}

static long install(long flags)
{
	struct sock_filter instructions[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setresuid, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setresgid, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_restrict_self, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(instructions) / sizeof(*instructions),
					    instructions };
	long fd = real(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	pthread_t thread;

	if (fd < 0 || pthread_create(&thread, NULL, race, (void *)0) != 0 ||
	    pthread_create(&thread, NULL, race, (void *)61002) != 0)
		return -1;
	return fd;
}

long syscall(long number, ...)
{
	long arguments[6];
	va_list list;

	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	/* A filter of one instruction only tries whether the kernel supports it. */
	if (number == SYS_seccomp && arguments[0] == SECCOMP_SET_MODE_FILTER &&
	    ((const struct sock_fprog *)arguments[2])->len > 1)
		return install(arguments[1]);
	return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
		    arguments[5]);
}
