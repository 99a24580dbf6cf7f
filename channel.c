/* SPDX-License-Identifier: ISC
 * Packets over SOCK_SEQPACKET. Nobody waits for the keeper for longer than it is told. */
#include "channel.h"

#include "lib/util.h"

#include <poll.h>
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

static int wait_for(int fd, int64_t ms)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	int64_t end_ms = util_now_ms() + ms, left_ms;
	int r;

	do {
		left_ms = MIN(MAX(end_ms - util_now_ms(), 0), INT32_MAX);
		r = poll(&polled, 1, (int)left_ms);
	} while (r < 0 && errno == EINTR);
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
	ssize_t n = wait_for(fd, ms);

	ret_fds[0] = ret_fds[1] = -1;
	if (n < 0)
		return n;
	n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fds, CMSG_DATA(header),
		       MIN(header->cmsg_len - CMSG_LEN(0), 2 * sizeof(int)));
	return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

static int await_answer(int fd, void *ret_answer, size_t octets, int64_t ms)
{
	ssize_t n = wait_for(fd, ms);

	if (n == 0)
		n = util_read(fd, ret_answer, octets);
	if (n == sizeof(struct channel_request)) /* CHANNEL_END */
		return -ECANCELED;
	return n == (ssize_t)octets ? 0 : -EIO;
}

int channel_await(int fd, struct channel_answer *ret_answer, int64_t ms)
{
	int r = await_answer(fd, ret_answer, sizeof(*ret_answer), ms);

	return r == 0 && ret_answer->error > 0 ? -EIO : r;
}

int channel_tell(int fd, enum channel_type type)
{
	const struct channel_request request = { .type = type };

	return write(fd, &request, sizeof(request)) < 0 ? -errno : 0;
}

int channel_ask(int fd, const void *request, size_t octets, struct channel_answer *ret_answer,
		int64_t ms)
{
	ssize_t n = TEMP_FAILURE_RETRY(write(fd, request, octets));

	return n == (ssize_t)octets ? channel_await(fd, ret_answer, ms) : -EIO;
}

int channel_sign(int fd, const struct tls_signing *signing, struct tls_signature *ret, int64_t ms)
{
	const struct channel_signing packet = { { .type = CHANNEL_SIGN }, *signing };
	ssize_t n = TEMP_FAILURE_RETRY(write(fd, &packet, sizeof(packet)));
	int r = n == sizeof(packet) ? await_answer(fd, ret, sizeof(*ret), ms) : -EIO;

	return r ?: ret->error;
}
