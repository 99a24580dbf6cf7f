/* SPDX-License-Identifier: ISC
 * Seccomp: which system calls the process can make. */
#include "sandbox/seccomp.h"

#include "lib/util.h"
#include "sandbox/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

static volatile sig_atomic_t refused_call = -1;

/* Notes a refused call, which then goes on as one that has failed. */
static void note_refusal(int signal_number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal_number;
	/* Somebody sent it, or a tracer (in the tests) lets the call fail and sets the error. */
	if (info->si_code <= 0 || info->si_syscall == -1)
		return;
	refused_call = info->si_syscall;
#if defined(__x86_64__)
	user->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
	user->uc_mcontext.regs[0] = (uint64_t)-EPERM;
#else
	(void)user; /* the filter lets it fail without a signal */
#endif
}

bool seccomp_is_available(void)
{
	uint32_t action = SECCOMP_RET_TRAP;

	return UTIL_HAS_ASAN || syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* The kernel logs the calls that kill: a compromised process cannot suppress that. */
int seccomp_enter(void)
{
	struct sigaction action = { .sa_sigaction = note_refusal, .sa_flags = SA_SIGINFO };
	struct sock_filter instructions[ARRAY_SIZE(seccomp_filter)];
	const struct sock_fprog program = { ARRAY_SIZE(instructions), instructions };

	if (UTIL_HAS_ASAN)
		return 0;
	memcpy(instructions, seccomp_filter, sizeof(instructions));
	if (sigaction(SIGSYS, &action, NULL) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &program) < 0)
		return -errno;
	return 0;
}

int seccomp_take_refusal(void)
{
	int refused = refused_call;

	refused_call = -1;
	return refused;
}
