/* SPDX-License-Identifier: ISC
 * Packets over SOCK_SEQPACKET. Each wait has a limit, so a stalled keeper stops no process. */
#include "channel.h"

#include "lib/util.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

/* Space for two descriptors. */
union control {
	struct cmsghdr header;
	char octets[CMSG_SPACE(2 * sizeof(int))];
};

int channel_send(int fd, void *packet, size_t octets, const int fds[2])
{
	union control control = { 0 };
	struct iovec piece = { packet, octets };
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
	size_t count = fds ? (size_t)(fds[0] >= 0) + (fds[1] >= 0) : 0;

	if (count > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(count * sizeof(int)),
						   .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), fds[0] < 0 ? fds + 1 : fds, count * sizeof(int));
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int wait_for(int fd, int64_t ms, const sigset_t *blocked)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };
	int r = ppoll(&polled, 1, &left, blocked);

	return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

ssize_t channel_receive(int fd, void *space, size_t octets, int ret_fds[2], int64_t ms)
{
	union control control;
	struct iovec piece = { space, octets };
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header;
	ssize_t n = ms > 0 ? wait_for(fd, ms, NULL) : 0;

	ret_fds[0] = ret_fds[1] = -1;
	if (n < 0)
		return n;
	n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fds, CMSG_DATA(header),
		       MIN(header->cmsg_len - CMSG_LEN(0), 2 * sizeof(int)));
	return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

int channel_await(int fd, void *ret_answer, size_t octets, int64_t ms)
{
	static const sigset_t none; /* blocks no signal */
	const int32_t *error = ret_answer;
	ssize_t n = wait_for(fd, ms, &none);

	if (n == 0)
		n = util_read(fd, ret_answer, octets);
	if (n == -EINTR || n == sizeof(struct channel_request)) /* SIGTERM, or CHANNEL_END */
		return -ECANCELED;
	return n == (ssize_t)octets && *error <= 0 ? 0 : -EIO;
}

int channel_tell(int fd, const void *request, size_t octets)
{
	return TEMP_FAILURE_RETRY(write(fd, request, octets)) == (ssize_t)octets ? 0 : -EIO;
}
