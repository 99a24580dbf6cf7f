/* SPDX-License-Identifier: ISC
 *
 * The only printer of log lines. Their arguments may come from the client, before login too. */
#include "log.h"

#include "util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <syslog.h>

#define LINE_OCTETS_MAX 1000
#define ESCAPE_OCTETS 4 /* \xNN */

static bool to_syslog; /* set once, by log_open() */

/* Standard error must not be used if it leads to the client. A terminal may: who sits there is
 * both. */
static bool is_clients(int fd)
{
	struct stat ours, theirs;

	return fstat(STDERR_FILENO, &ours) == 0 && fstat(fd, &theirs) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino &&
	       !isatty(STDERR_FILENO);
}

void log_open(int in_fd, int out_fd)
{
	to_syslog = is_clients(in_fd) || is_clients(out_fd);
	if (to_syslog)
		openlog("pop3-handler", LOG_PID | LOG_NDELAY, LOG_MAIL);
}

static void escape(const char *text, char *ret_text)
{
	for (; *text; text++) {
		if (*text >= ' ' && *text <= '~')
			*ret_text++ = *text;
		else
			ret_text += sprintf(ret_text, "\\x%02x", (unsigned char)*text);
	}
	*ret_text = '\0';
}

__attribute__((format(printf, 2, 0))) static void log_line(int priority, const char *format,
							   va_list arguments)
{
	char text[LINE_OCTETS_MAX + 1];
	char line[LINE_OCTETS_MAX * ESCAPE_OCTETS + 1];
	int saved_errno = errno;

	if (vsnprintf(text, sizeof(text), format, arguments) >= 0) {
		escape(text, line);
		if (to_syslog)
			syslog(priority, "%s", line);
		else
			(void)fprintf(stderr, "pop3-handler: %s\n", line);
	}
	errno = saved_errno;
}

void log_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(LOG_ERR, format, arguments);
	va_end(arguments);
}

void log_warning(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(LOG_WARNING, format, arguments);
	va_end(arguments);
}
