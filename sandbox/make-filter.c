/* SPDX-License-Identifier: ISC
 *
 * Writes filter.h when the program is built: the system calls that a session may use, as a
 * filter for seccomp. At run time it would cost each session a library and 0.15 milliseconds.
 *
 * make-filter ARCHITECTURE, as meson calls it. */
#include <seccomp.h>

#include <asm/ioctls.h>
#include <errno.h>
#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>

/* For the session, the C library, GnuTLS, libcrypt, libsystemd. Landlock says for which files. */
/* clang-format off */
static const char *const calls[] = {
	/* the client, the log */
	"getpeername", "getsockopt", "poll", "ppoll", "read", "recvfrom", "sendmsg", "sendto",
	"setsockopt", "shutdown", "write", "writev",
	/* files */
	"close", "faccessat", "faccessat2", "fadvise64", "fallocate", "fcntl", "fdatasync", "flock",
	"fstat", "fstatfs", "fsync", "getcwd", "getdents64", "lseek", "newfstatat", "openat", "pread64",
	"pwrite64", "readlink", "renameat", "renameat2", "statx", "unlinkat", "utimensat",
	/* memory */
	"brk", "futex", "madvise", "mremap", "munmap",
	/* clocks, chance, signals, the end */
	"clock_getres", "clock_gettime", "clock_nanosleep", "exit_group", "getrandom",
	"gettimeofday", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"time",
	/* who am I, and how much memory is there: qsort(3) asks */
	"geteuid", "getpid", "sysinfo",
	/* the stage after login */
	"landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
};
/* clang-format on */

/* Calls that are allowed if one argument has a value, as far as a mask goes. */
static const struct {
	const char *name;
	struct scmp_arg_cmp condition;
} conditions[] = {
	{ "ioctl", { 1, SCMP_CMP_MASKED_EQ, UINT32_MAX, FIONREAD } },
	{ "ioctl", { 1, SCMP_CMP_MASKED_EQ, UINT32_MAX, TCGETS } },
	{ "mmap", { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
	{ "mmap2", { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
	{ "mprotect", { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } },
};

/* `condition` may be NULL. A call that only other architectures have is ignored. */
static int allow(scmp_filter_ctx filter, const char *name, const struct scmp_arg_cmp *condition)
{
	int number = seccomp_syscall_resolve_name(name);

	if (number == __NR_SCMP_ERROR)
		return -EINVAL;
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, condition ? 1 : 0, condition);
}

static int add_rules(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls) && r == 0; i++)
		r = allow(filter, calls[i], NULL);
	for (size_t i = 0; i < sizeof(conditions) / sizeof(*conditions) && r == 0; i++)
		r = allow(filter, conditions[i].name, &conditions[i].condition);
	return r;
}

/* Writes the filter as the initialiser of an array. */
static int print_instructions(scmp_filter_ctx filter)
{
	struct sock_filter instruction;
	FILE *file = tmpfile();
	int r;

	if (!file)
		return -errno;
	r = seccomp_export_bpf(filter, fileno(file));
	rewind(file);
	printf("#include <linux/filter.h>\n\n"
	       "static const struct sock_filter seccomp_filter[] = {\n");
	while (r == 0 && fread(&instruction, sizeof(instruction), 1, file) == 1)
		printf("\t{ 0x%x, %u, %u, 0x%x },\n", instruction.code, instruction.jt,
		       instruction.jf, instruction.k);
	printf("};\n");
	(void)fclose(file);
	return r;
}

int main(int argc, char *argv[])
{
	/* Where sandbox/seccomp.c can go on after a signal, a refused call raises one. */
	bool can_trap =
		argc > 1 && (strcmp(argv[1], "x86_64") == 0 || strcmp(argv[1], "aarch64") == 0);
	scmp_filter_ctx filter = seccomp_init(can_trap ? SCMP_ACT_TRAP : SCMP_ACT_ERRNO(EPERM));
	uint32_t wanted = argc == 2 ? seccomp_arch_resolve_name(argv[1]) : 0;
	int r;

	if (argc != 2 || !filter)
		return EX_USAGE;
	r = wanted == 0 ? -EINVAL : seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
	if (r == 0)
		r = seccomp_arch_add(filter, wanted);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
	if (r == 0)
		r = add_rules(filter);
	if (r == 0)
		r = print_instructions(filter);
	seccomp_release(filter);
	if (r < 0)
		fprintf(stderr, "cannot make a filter for %s: %s\n", argv[1], strerror(-r));
	return r == 0 && fflush(stdout) == 0 ? EX_OK : EX_SOFTWARE;
}
