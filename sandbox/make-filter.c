/* SPDX-License-Identifier: ISC
 * Writes filter.h at build time: the seccomp filters of sessions, before login and after it. At run
 * time this would cost each session a library and 0.15 milliseconds. libseccomp knows the numbers
 * of the calls, but its own filter for these conditions takes 0.05 milliseconds more to load. */
#include "lib/util.h"
#include "sandbox.h"

#include <seccomp.h>

#include <assert.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>

#define INSTRUCTIONS_MAX 255 /* the reach of a jump */
#define CONDITIONS_MAX 3
#define CHAIN_MAX 4 /* calls that are compared one by one */

/* A condition for half of an argument. */
struct condition {
	uint16_t jump; /* BPF_JEQ, BPF_JGT: must be true; BPF_JSET: must be false */
	unsigned half; /* 2 N: the lower one of argument N, all of an int; 2 N + 1: the upper one */
	uint32_t value;
};

/* clang-format off */
/* The action in each of the filters: 'c' allow under the conditions, else refuse; 'a' allow; 'r'
 * refuse; 'n' notify the keeper, which decides; 'k' kill the process. */
#define ACTION(title, letters, ...) { (title), (letters), { __VA_ARGS__ }, 0, 0 }
#define CALL(title, ...) ACTION(title, "cca", __VA_ARGS__)
#define TALKER(title, ...) ACTION(title, "rca", __VA_ARGS__)
#define DEADLY(title) ACTION(title, "kka")
#define IS(argument, number) { BPF_JEQ, 2 * (argument), (number) }
#define HAS_NOT(argument, bits) { BPF_JSET, 2 * (argument), (uint32_t)(bits) }
#define HAS_ONLY(argument, bits) HAS_NOT((argument), ~(bits))
#define IS_NULL(argument) IS((argument), 0), { BPF_JEQ, 2 * (argument) + 1, 0 }
#define IS_CLOCK HAS_NOT(0, INT32_MIN) /* negative: the processor time of another process */
/* Not standard input, output or error: other processes may share these, such as a log file. */
#define IS_OUR_FILE { BPF_JGT, 0, STDERR_FILENO }

/* Calls of the session, the C library, GnuTLS and libcrypt. Landlock decides about files. */
static struct call {
	const char *name, *actions;
	struct condition conditions[CONDITIONS_MAX];
	int number;    /* negative: this architecture does not have it */
	size_t target; /* the index of its instruction */
} calls[] = {
	/* client and log; without shutdown(2) of the log's socket, which all sessions share */
	CALL("poll"), CALL("ppoll"), CALL("read"), CALL("write"), CALL("writev"),
	CALL("recvfrom", IS(0, STDIN_FILENO)),
	CALL("sendto", HAS_ONLY(3, MSG_DONTWAIT | MSG_NOSIGNAL), IS_NULL(4)),
	CALL("setitimer", IS(0, ITIMER_REAL)), CALL("shutdown", IS(0, STDOUT_FILENO)),
	/* files; Landlock does not restrict times and locks, nor (in version 2) O_TRUNC */
	CALL("close"), CALL("faccessat"), CALL("faccessat2"), CALL("fdatasync"),
	CALL("fstat"), CALL("fstatfs"), CALL("fsync"), CALL("getcwd"), CALL("getdents64"),
	CALL("newfstatat"), CALL("pread64"), CALL("readlink"), CALL("readlinkat"),
	CALL("renameat"), CALL("statx"),
	CALL("fadvise64", IS_OUR_FILE, IS(3, POSIX_FADV_DONTNEED)),
	CALL("fallocate", IS_OUR_FILE, IS(1, FALLOC_FL_KEEP_SIZE)),
	CALL("fcntl", IS_OUR_FILE, IS(1, F_OFD_SETLK)),
	CALL("flock", IS_OUR_FILE, IS(1, LOCK_EX | LOCK_NB)),
	CALL("lseek", IS_OUR_FILE),
	CALL("mkdirat", HAS_ONLY(2, S_IRWXU)),
	CALL("openat", HAS_NOT(2, O_TRUNC), HAS_ONLY(3, S_IRUSR | S_IWUSR)),
	CALL("pwrite64", IS_OUR_FILE),
	CALL("renameat2", HAS_ONLY(4, RENAME_NOREPLACE)),
	CALL("unlinkat", IS(2, 0)),
	CALL("utimensat", IS_OUR_FILE, IS_NULL(1)),
	/* memory; mremap(2) could extend a shared mapping to what was unmapped */
	CALL("brk"), CALL("munmap"),
	CALL("futex", IS(1, FUTEX_WAKE_PRIVATE)),
	CALL("madvise", IS(2, MADV_DONTNEED)),
	CALL("mmap", HAS_NOT(2, PROT_EXEC), HAS_NOT(3, MAP_SHARED)),
	/* clocks, random numbers, signals, exit */
	CALL("clock_getres", IS_CLOCK), CALL("clock_gettime", IS_CLOCK),
	CALL("clock_nanosleep", IS_CLOCK), CALL("timer_settime"), CALL("timer_delete"),
	CALL("exit_group"), CALL("getrandom"),
	CALL("restart_syscall"), CALL("rt_sigaction"), CALL("rt_sigprocmask"),
	CALL("rt_sigreturn"), CALL("time"),
	/* ids; the size of memory, for qsort(3) */
	CALL("geteuid"), CALL("getpid"), CALL("sysinfo"),
	/* login */
	ACTION("landlock_add_rule", "cra"), ACTION("landlock_create_ruleset", "cra"),
	ACTION("landlock_restrict_self", "cnn"),
	ACTION("setresgid", "rnn"), ACTION("setresuid", "rnn"),
	TALKER("capget"), TALKER("capset"), TALKER("getresgid"), TALKER("getresuid"),
	TALKER("prctl", IS(0, PR_SET_DUMPABLE), IS_NULL(1)),
	TALKER("sendmsg", IS(0, SANDBOX_CONTROL_FD)), /* closed before a session reads */
	/* calls that no session makes by accident */
	DEADLY("bpf"), DEADLY("execve"), DEADLY("execveat"), DEADLY("io_uring_enter"),
	DEADLY("io_uring_register"), DEADLY("io_uring_setup"), DEADLY("ptrace"),
};
/* clang-format on */

/* The filter is written from its end, so that the targets of jumps are known. */
static struct sock_filter instructions[INSTRUCTIONS_MAX];
static size_t start = INSTRUCTIONS_MAX;

/* Returns the index of the instruction. Its jumps lead to those that were put earlier. */
static size_t put(uint16_t code, uint32_t value, size_t if_true, size_t if_false)
{
	size_t next = start--;

	assert(next > 0);
	instructions[start] = (struct sock_filter)BPF_JUMP(code, value, (uint8_t)(if_true - next),
							   (uint8_t)(if_false - next));
	return start;
}

#define PUT_LOAD(offset) put(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset), start, start)
#define PUT_RETURN(action) put(BPF_RET | BPF_K, (action), start, start)

static size_t put_conditions(const struct condition *conditions, bool is_little, size_t allowed,
			     size_t refused)
{
	size_t next = allowed;

	for (size_t i = CONDITIONS_MAX; i-- > 0;) {
		const struct condition *condition = &conditions[i];
		unsigned half = is_little ? condition->half : condition->half ^ 1;

		if (condition->jump == 0)
			continue;
		(void)put(BPF_JMP | condition->jump | BPF_K, condition->value,
			  condition->jump == BPF_JSET ? refused : next,
			  condition->jump == BPF_JSET ? next : refused);
		next = PUT_LOAD(offsetof(struct seccomp_data, args) + half * sizeof(uint32_t));
	}
	return next;
}

static int compare_calls(const void *left, const void *right)
{
	return ((const struct call *)left)->number - ((const struct call *)right)->number;
}

/* A tree, because the kernel runs the filter for every call number when it loads it. */
static size_t put_tree(const struct call *first, size_t count, size_t other)
{
	const struct call *middle = first + count / 2;
	size_t right, left = other;

	if (count > CHAIN_MAX) {
		right = put_tree(middle, count - count / 2, other);
		left = put_tree(first, count / 2, other);
		return put(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)middle->number, right, left);
	}
	while (count-- > 0)
		left = put(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)first[count].number,
			   first[count].target, left);
	return left;
}

/* For sessions without a keeper, with one, and with one in a build with sanitizers. */
static const char *const filters[] = { "alone", "talker", "asking" };

static void make(uint32_t architecture, uint32_t refusal, size_t filter)
{
	size_t killed, refused, notified, allowed, missing = 0;

	start = INSTRUCTIONS_MAX;
	killed = PUT_RETURN(SECCOMP_RET_KILL_PROCESS);
	refused = PUT_RETURN(refusal);
	notified = PUT_RETURN(SECCOMP_RET_USER_NOTIF);
	allowed = PUT_RETURN(SECCOMP_RET_ALLOW);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct call *call = &calls[i];
		char action = call->actions[filter];

		call->number = seccomp_syscall_resolve_name_arch(architecture, call->name);
		assert(call->number != __NR_SCMP_ERROR);
		missing += call->number < 0;
		call->target = action == 'k' ? killed :
			       action == 'r' ? refused :
			       action == 'n' ? notified :
			       action == 'a' ? allowed :
					       put_conditions(call->conditions,
							      architecture & __AUDIT_ARCH_LE,
							      allowed, refused);
	}
	qsort(calls, ARRAY_SIZE(calls), sizeof(calls[0]), compare_calls);
	/* Sanitizers make more calls than these. */
	(void)put_tree(calls + missing, ARRAY_SIZE(calls) - missing,
		       filter == ARRAY_SIZE(filters) - 1 ? allowed : refused);
	allowed = PUT_LOAD(offsetof(struct seccomp_data, nr));
	(void)put(BPF_JMP | BPF_JEQ | BPF_K, architecture, allowed, killed);
	(void)PUT_LOAD(offsetof(struct seccomp_data, arch));
}

int main(int argc, char *argv[])
{
	uint32_t architecture = argc == 2 ? seccomp_arch_resolve_name(argv[1]) : 0;
	/* A refused call raises SIGSYS where the handler in sandbox.c can make the call fail. */
	bool can_trap = architecture == SCMP_ARCH_X86_64 || architecture == SCMP_ARCH_AARCH64;

	if (architecture == 0) {
		(void)fprintf(stderr, "make-filter ARCHITECTURE\n");
		return EX_USAGE;
	}
	printf("#include <linux/filter.h>\n\n#define SECCOMP_ARCHITECTURE 0x%x\n", architecture);
	for (size_t filter = 0; filter < ARRAY_SIZE(filters); filter++) {
		make(architecture, can_trap ? SECCOMP_RET_TRAP : SECCOMP_RET_ERRNO | EPERM, filter);
		printf("\nstatic const struct sock_fprog seccomp_%s = { %zu, (struct sock_filter[]){\n",
		       filters[filter], INSTRUCTIONS_MAX - start);
		for (size_t i = start; i < INSTRUCTIONS_MAX; i++)
			printf("\t{ 0x%x, %u, %u, 0x%x },\n", instructions[i].code,
			       instructions[i].jt, instructions[i].jf, instructions[i].k);
		printf("} };\n");
	}
	return fflush(stdout) == 0 ? EX_OK : EX_SOFTWARE;
}
