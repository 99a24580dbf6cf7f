/* SPDX-License-Identifier: ISC
 *
 * Writes filter.h when the program is built: the system calls that a session may use, as a
 * filter for seccomp. At run time it would cost each session a library and 0.15 milliseconds;
 * libseccomp knows the numbers, but its filter of the same conditions takes 0.05 more to load.
 *
 * make-filter ARCHITECTURE, as meson calls it. */
#include <seccomp.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define INSTRUCTIONS_MAX 255 /* a jump goes no further */
#define CONDITIONS_MAX 3
#define CHAIN_MAX 4 /* calls that are compared one after the other */

/* What half of an argument must be. */
struct condition {
	uint16_t jump; /* BPF_JEQ or BPF_JGT: this must hold; BPF_JSET: it must not */
	unsigned half; /* of argument N: 2 N is the lower one, all that the kernel sees of an int */
	uint32_t value;
};

/* clang-format off */
#define IS(argument, number) { BPF_JEQ, 2 * (argument), (number) }
#define HAS_NOT(argument, bits) { BPF_JSET, 2 * (argument), (uint32_t)(bits) }
#define HAS_ONLY(argument, bits) HAS_NOT((argument), ~(bits))
#define IS_NULL(argument) IS((argument), 0), { BPF_JEQ, 2 * (argument) + 1, 0 }
/* Descriptors that others share, as a log that is a file, are only written to. */
#define IS_OUR_FILE { BPF_JGT, 0, STDERR_FILENO }

/* For the session, the C library, GnuTLS and libcrypt. Landlock says for which files. */
static const struct call {
	const char *name;
	struct condition conditions[CONDITIONS_MAX];
} calls[] = {
	/* the client, the log: if its connected socket were shut down, all sessions were silent */
	{ "poll", {} }, { "ppoll", {} }, { "read", {} }, { "write", {} }, { "writev", {} },
	{ "recvfrom", { IS(0, STDIN_FILENO) } },
	{ "sendto", { HAS_ONLY(3, MSG_DONTWAIT | MSG_NOSIGNAL), IS_NULL(4) } },
	{ "shutdown", { IS(0, STDOUT_FILENO) } },
	/* files: Landlock knows nothing of times and locks, and its version 2 nothing of O_TRUNC */
	{ "close", {} }, { "faccessat", {} }, { "faccessat2", {} }, { "fadvise64", {} },
	{ "fdatasync", {} }, { "fstat", {} }, { "fstatfs", {} }, { "fsync", {} }, { "getcwd", {} },
	{ "getdents64", {} }, { "newfstatat", {} }, { "pread64", {} }, { "readlink", {} },
	{ "renameat", {} }, { "statx", {} },
	{ "fallocate", { IS_OUR_FILE, IS(1, FALLOC_FL_KEEP_SIZE) } },
	{ "fcntl", { IS_OUR_FILE, IS(1, F_OFD_SETLK) } },
	{ "flock", { IS_OUR_FILE, IS(1, LOCK_EX | LOCK_NB) } },
	{ "lseek", { IS_OUR_FILE } },
	{ "openat", { HAS_NOT(2, O_TRUNC), HAS_ONLY(3, S_IRUSR | S_IWUSR) } },
	{ "pwrite64", { IS_OUR_FILE } },
	{ "renameat2", { HAS_ONLY(4, RENAME_NOREPLACE) } },
	{ "unlinkat", { IS(2, 0) } },
	{ "utimensat", { IS_OUR_FILE, IS_NULL(1) } },
	/* memory */
	{ "brk", {} }, { "munmap", {} },
	{ "futex", { IS(1, FUTEX_WAKE_PRIVATE) } },
	{ "madvise", { IS(2, MADV_DONTNEED) } },
	{ "mmap", { HAS_NOT(2, PROT_EXEC), HAS_NOT(3, MAP_SHARED) } },
	{ "mprotect", { HAS_NOT(2, PROT_EXEC) } },
	{ "mremap", { HAS_ONLY(3, MREMAP_MAYMOVE) } },
	/* clocks, chance, signals, the end */
	{ "clock_getres", {} }, { "clock_gettime", {} }, { "clock_nanosleep", {} },
	{ "exit_group", {} }, { "getrandom", {} }, { "gettimeofday", {} },
	{ "restart_syscall", {} }, { "rt_sigaction", {} }, { "rt_sigprocmask", {} },
	{ "rt_sigreturn", {} }, { "time", {} },
	/* who am I, and how much memory is there: qsort(3) asks */
	{ "geteuid", {} }, { "getpid", {} }, { "sysinfo", {} },
	/* the stage after login */
	{ "landlock_add_rule", {} }, { "landlock_create_ruleset", {} },
	{ "landlock_restrict_self", {} },
};
/* clang-format on */

/* Calls that no session makes by accident. */
static const char *const deadly[] = {
	"bpf",	  "execve", "execveat", "io_uring_enter", "io_uring_register", "io_uring_setup",
	"ptrace",
};

/* What a system call leads to. */
struct leaf {
	uint32_t number;
	size_t target;
};

/* The filter is written from its end, so that jumps go to what is there already. */
struct filter {
	struct sock_filter instructions[INSTRUCTIONS_MAX];
	size_t start;
	uint32_t architecture;
	struct leaf leaves[ARRAY_SIZE(calls) + ARRAY_SIZE(deadly)];
	size_t leaf_count;
};

/* Returns where the instruction is; its jumps go to what was put before it. */
static size_t put(struct filter *filter, uint16_t code, uint32_t value, size_t if_true,
		  size_t if_false)
{
	size_t next = filter->start--;

	assert(next > 0);
	filter->instructions[next - 1] = (struct sock_filter)BPF_JUMP(
		code, value, (uint8_t)(if_true - next), (uint8_t)(if_false - next));
	return filter->start;
}

static size_t put_load(struct filter *filter, size_t offset)
{
	return put(filter, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, filter->start,
		   filter->start);
}

static size_t put_return(struct filter *filter, uint32_t action)
{
	return put(filter, BPF_RET | BPF_K, action, filter->start, filter->start);
}

static size_t put_conditions(struct filter *filter, const struct condition *conditions,
			     size_t allowed, size_t refused)
{
	bool is_little = filter->architecture & __AUDIT_ARCH_LE;
	size_t next = allowed;

	for (size_t i = CONDITIONS_MAX; i-- > 0;) {
		const struct condition *condition = &conditions[i];
		unsigned half = is_little ? condition->half : condition->half ^ 1;

		if (condition->jump == 0)
			continue;
		(void)put(filter, BPF_JMP | condition->jump | BPF_K, condition->value,
			  condition->jump == BPF_JSET ? refused : next,
			  condition->jump == BPF_JSET ? next : refused);
		next = put_load(filter,
				offsetof(struct seccomp_data, args) + half * sizeof(uint32_t));
	}
	return next;
}

/* A call that only other architectures have is ignored. */
static void add_leaf(struct filter *filter, const char *name, size_t target)
{
	int number = seccomp_syscall_resolve_name_arch(filter->architecture, name);

	assert(number != __NR_SCMP_ERROR);
	if (number >= 0)
		filter->leaves[filter->leaf_count++] = (struct leaf){ (uint32_t)number, target };
}

static int compare_leaves(const void *left, const void *right)
{
	const struct leaf *a = left, *b = right;

	return (a->number > b->number) - (a->number < b->number);
}

/* A tree, because the kernel follows it for each call when the filter is loaded. */
static size_t put_tree(struct filter *filter, const struct leaf *leaves, size_t count, size_t other)
{
	const struct leaf *middle = leaves + count / 2;
	size_t right, left = other;

	if (count > CHAIN_MAX) {
		right = put_tree(filter, middle, count - count / 2, other);
		left = put_tree(filter, leaves, count / 2, other);
		return put(filter, BPF_JMP | BPF_JGE | BPF_K, middle->number, right, left);
	}
	while (count-- > 0)
		left = put(filter, BPF_JMP | BPF_JEQ | BPF_K, leaves[count].number,
			   leaves[count].target, left);
	return left;
}

static void make(struct filter *filter, uint32_t refusal)
{
	size_t killed = put_return(filter, SECCOMP_RET_KILL_PROCESS);
	size_t refused = put_return(filter, refusal);
	size_t allowed = put_return(filter, SECCOMP_RET_ALLOW);

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		add_leaf(filter, calls[i].name,
			 put_conditions(filter, calls[i].conditions, allowed, refused));
	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
		add_leaf(filter, deadly[i], killed);
	qsort(filter->leaves, filter->leaf_count, sizeof(filter->leaves[0]), compare_leaves);
	(void)put_tree(filter, filter->leaves, filter->leaf_count, refused);
	allowed = put_load(filter, offsetof(struct seccomp_data, nr));
	(void)put(filter, BPF_JMP | BPF_JEQ | BPF_K, filter->architecture, allowed, killed);
	(void)put_load(filter, offsetof(struct seccomp_data, arch));
}

int main(int argc, char *argv[])
{
	/* Where sandbox/seccomp.c can go on after a signal, a refused call raises one. */
	bool can_trap =
		argc > 1 && (strcmp(argv[1], "x86_64") == 0 || strcmp(argv[1], "aarch64") == 0);
	static struct filter filter = { .start = INSTRUCTIONS_MAX };

	filter.architecture = argc == 2 ? seccomp_arch_resolve_name(argv[1]) : 0;
	if (filter.architecture == 0) {
		(void)fprintf(stderr, "make-filter ARCHITECTURE\n");
		return EX_USAGE;
	}
	make(&filter, can_trap ? SECCOMP_RET_TRAP : SECCOMP_RET_ERRNO | EPERM);
	printf("#include <linux/filter.h>\n\n"
	       "static const struct sock_filter seccomp_filter[] = {\n");
	for (const struct sock_filter *i = filter.instructions + filter.start;
	     i < filter.instructions + INSTRUCTIONS_MAX; i++)
		printf("\t{ 0x%x, %u, %u, 0x%x },\n", i->code, i->jt, i->jf, i->k);
	printf("};\n");
	return fflush(stdout) == 0 ? EX_OK : EX_SOFTWARE;
}
