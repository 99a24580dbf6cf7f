/* SPDX-License-Identifier: ISC
 * tls/signing.c: the module in two processes, a keeper with the private keys and a server without
 * them for real clients. The requests that the keeper refuses to sign. Renewals of certificates. */
#include "lib/util.h"
#include "settings.h"
#include "tap.h"
#include "tls.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define SECONDS_MAX 300 /* of the whole test */

static const struct tls_functions *functions;

/* A buffer, so that log lines do not mix with TAP. */
static char logged[4096];

static void log_line(struct log_quota *quota, enum log_event id, const struct log_field *fields,
		     const char *format, ...)
{
	size_t end = strlen(logged);
	va_list arguments;

	(void)quota;
	(void)id;
	(void)fields;
	va_start(arguments, format);
	(void)vsnprintf(logged + end, sizeof(logged) - end, format, arguments);
	va_end(arguments);
}

static const char *quote(const char *text)
{
	static char quotes[2][64];
	static unsigned next;
	char *quoted = quotes[next++ % ARRAY_SIZE(quotes)];

	(void)snprintf(quoted, sizeof(quotes[0]), "'%s'", text);
	return quoted;
}

/* Runs a shell command in the directory of the test. */
__attribute__((format(printf, 1, 2))) static bool shell(const char *format, ...)
{
	auto_free char *command = NULL;
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = vasprintf(&command, format, arguments);
	va_end(arguments);
	return r > 0 && system(command) == 0; /* NOLINT(cert-env33-c) */
}

/* Makes NAME.pem, a private key followed by its self-signed certificate, and NAME.crt, the
 * certificate. */
static bool make_certificate(const char *name, const char *kind)
{
	return shell("openssl genpkey -quiet -algorithm %s -out %s.key 2>>errors &&"
		     " openssl req -x509 -key %s.key -subj /CN=localhost -days 9 -out %s.crt"
		     " -addext subjectAltName=DNS:localhost 2>>errors &&"
		     " cat %s.key %s.crt >%s.new && chmod 600 %s.new && mv %s.new %s.pem",
		     kind, name, name, name, name, name, name, name, name, name);
}

static struct tls *make_tls(const struct settings *settings)
{
	struct tls *tls = calloc(1, functions->size);

	if (tls)
		*tls = (struct tls){ functions, settings, .public_fd = -1, .log = log_line,
				     .quote = quote };
	return tls;
}

/* ---- The keeper ---- */

static struct tls *make_keeper(const struct settings *settings)
{
	struct tls *tls = make_tls(settings);

	if (tls)
		tls->is_keeper = true;
	return tls;
}

/* Sends the public file, then answers requests for signatures. */
static void keep(struct tls *tls, int channel)
{
	union {
		struct cmsghdr header;
		char octets[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec piece = { &(char){ 0 }, 1 };
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct tls_signing signing;
	struct tls_signature signature;

	if (functions->load(tls) < 0) {
		(void)fprintf(stderr, "%s\n", logged);
		return;
	}
	memcpy(CMSG_DATA(&control.header), &tls->public_fd, sizeof(int));
	if (sendmsg(channel, &message, 0) < 0)
		return;
	while (recv(channel, &signing, sizeof(signing), 0) == sizeof(signing)) {
		(void)functions->sign(tls, &signing, &signature);
		(void)send(channel, &signature, sizeof(signature), 0);
	}
}

static pid_t start_keeper(const struct settings *settings, int *ret_channel, int *ret_public_fd)
{
	union {
		struct cmsghdr header;
		char octets[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char octet;
	struct iovec piece = { &octet, 1 };
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	int channels[2];
	pid_t pid;

	*ret_public_fd = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channels) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)close(channels[0]);
		keep(make_keeper(settings), channels[1]);
		_exit(0);
	}
	(void)close(channels[1]);
	*ret_channel = channels[0];
	if (recvmsg(channels[0], &message, MSG_CMSG_CLOEXEC) == 1 && control.header.cmsg_len > 0)
		memcpy(ret_public_fd, CMSG_DATA(&control.header), sizeof(int));
	return pid;
}

/* ---- The server ---- */

struct socket_stream {
	struct stream stream;
	int fd;
};

static ssize_t read_socket(struct stream *base, void *space, size_t octets)
{
	ssize_t n = recv(((struct socket_stream *)base)->fd, space, octets, MSG_DONTWAIT);

	return n < 0 ? -errno : n;
}

static ssize_t write_socket(struct stream *base, const void *octets, size_t count)
{
	ssize_t n = send(((struct socket_stream *)base)->fd, octets, count,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

static const struct stream_functions socket_functions = { .read = read_socket,
							  .write = write_socket };

static int signatures; /* requested by this process */

static int ask(void *context, const struct tls_signing *signing, struct tls_signature *ret)
{
	int channel = *(int *)context;

	signatures++;
	if (send(channel, signing, sizeof(*signing), 0) != sizeof(*signing) ||
	    recv(channel, ret, sizeof(*ret), 0) != sizeof(*ret))
		return -EIO;
	return ret->error;
}

/* Serves one client with a goodbye. */
static int serve(struct tls *tls, int fd)
{
	static const char goodbye[] = "+OK goodbye\r\n";
	struct socket_stream socket_stream = { { .functions = &socket_functions }, fd };
	struct stream *stream = NULL;
	struct pollfd poll_fd = { .fd = fd };
	char octets[100];
	int r = functions->new_stream(tls, &socket_stream.stream, &stream);

	if (r < 0)
		return r;
	while ((r = stream->functions->handshake(stream)) == -EAGAIN) {
		poll_fd.events = stream->wants_write ? POLLOUT : POLLIN;
		(void)poll(&poll_fd, 1, -1);
	}
	if (r == 0)
		r = (int)MIN(stream->functions->write(stream, goodbye, strlen(goodbye)), 0);
	if (r < 0)
		(void)fprintf(stderr, "%s\n", stream->tls_problem ? stream->tls_problem : "?");
	if (r == 0)
		(void)stream->functions->close(stream);
	(void)shutdown(fd, SHUT_WR);
	while (recv(fd, octets, sizeof(octets), 0) > 0)
		;
	stream->functions->free(stream);
	return r;
}

/* Serves one connection of a client command, which gets the port in $PORT and exits with 0 if it
 * accepts the server. Returns the result of serve(), or 1 if the client failed. */
static int connect_client(struct tls *tls, const char *command)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof(address);
	auto_fd int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -1;
	char port[12];
	int status = -1, r;
	pid_t pid;

	if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	(void)snprintf(port, sizeof(port), "%d", ntohs(address.sin_port));
	(void)setenv("PORT", port, 1);
	pid = fork();
	if (pid == 0) {
		(void)execlp("sh", "sh", "-c", command, NULL);
		_exit(1);
	}
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	r = serve(tls, fd);
	util_drop(&fd);
	(void)waitpid(pid, &status, 0);
	return r < 0 ? r : status != 0;
}

/* ---- Handshakes ---- */

/* Forks for each handshake, because the keys are gone after it. */
static int handshake_alone(const struct settings *settings, int channel, int public_fd,
			   const char *command, int expected)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		struct tls *tls = make_tls(settings);
		unsigned char ticket_key[TLS_TICKET_KEY_OCTETS] = "key";
		int r;

		tls->ticket_key = ticket_key;
		tls->public_fd = public_fd;
		tls->sign = ask;
		tls->sign_context = &channel;
		r = connect_client(tls, command);
		if (r != 0 || signatures != expected || *logged)
			(void)fprintf(stderr, "# %d, %d signatures, %s\n", r, signatures, logged);
		functions->free(tls);
		_exit(r != 0 || signatures != expected || *logged);
	}
	(void)waitpid(pid, &status, 0);
	return status;
}

static void test_handshakes(const char *name, const char *kind, const char *const *clients)
{
	char *certs[] = { NULL, NULL };
	struct settings settings = { .tls_cert = certs };
	int channel, public_fd;
	pid_t pid;

	if (!tap(make_certificate(name, kind) && asprintf(&certs[0], "%s.pem", name) > 0,
		 "%s: openssl makes it", name))
		return;
	pid = start_keeper(&settings, &channel, &public_fd);
	for (size_t i = 0; clients[i]; i++) {
		char command[1000];

		(void)snprintf(
			command, sizeof(command),
			strncmp(clients[i], "-", 1) == 0 ?
				"exec openssl s_client -connect 127.0.0.1:$PORT -CAfile %s.crt "
				"-verify_return_error -servername localhost -ign_eof %s "
				"</dev/null 2>>errors | grep -q '^+OK goodbye'" :
				"exec gnutls-cli -p $PORT --x509cafile %s.crt --priority '%s' "
				"--sni-hostname localhost --verify-hostname localhost 127.0.0.1 "
				"</dev/null 2>>errors | grep -q '^+OK goodbye'",
			name, clients[i]);
		(void)fflush(stdout);
		tap(handshake_alone(&settings, channel, public_fd, command, 1) == 0, "%s: %s", name,
		    clients[i]);
	}
	(void)close(channel);
	(void)close(public_fd);
	(void)waitpid(pid, NULL, 0);
	free(certs[0]);
}

/* ---- Requests that are signed, and those that are refused ---- */

#define CONTEXT                                                            \
	"                                                                " \
	"TLS 1.3, server CertificateVerify"

static struct tls_signing signing_13(uint32_t generation, uint32_t algorithm, uint32_t hash_octets)
{
	struct tls_signing signing = { .generation = generation,
				       .algorithm = algorithm,
				       .count = sizeof(CONTEXT) + hash_octets };

	memset(signing.octets, 'h', sizeof(signing.octets));
	memcpy(signing.octets, CONTEXT, sizeof(CONTEXT));
	return signing;
}

static struct tls_signing signing_12(uint32_t generation, uint32_t algorithm, unsigned char curve,
				     unsigned char octets)
{
	struct tls_signing signing = { .generation = generation,
				       .algorithm = algorithm,
				       .count = 68U + octets };

	memset(signing.octets, 'r', sizeof(signing.octets));
	memcpy(signing.octets + 64, (unsigned char[]){ 3, 0, curve, octets, 4 }, 5);
	return signing;
}

static int result_of(struct tls *tls, struct tls_signing signing)
{
	struct tls_signature signature;
	int r = functions->sign(tls, &signing, &signature);

	return r == signature.error && (r < 0) == (signature.count == 0) ? r : 1;
}

/* The inode of the public file identifies a generation. */
static uint32_t generation_of(const struct tls *tls)
{
	struct stat status = { 0 };

	return fstat(tls->public_fd, &status) == 0 ? (uint32_t)status.st_ino : 0;
}

static void test_refusals(void)
{
	char first[] = "p256.pem", second[] = "rsa.pem", third[] = "ed25519.pem";
	char *certs[] = { first, second, third, NULL };
	struct settings settings = { .tls_cert = certs };
	struct tls *tls = make_keeper(&settings);
	uint32_t ec = GNUTLS_SIGN_ECDSA_SHA256, generation;
	struct tls_signing good, bad;
	int wrong = 0;

	if (!tap(functions->load(tls) == 0, "a keeper loads its keys"))
		return;
	generation = generation_of(tls);
	tap(result_of(tls, signing_13(generation, ec, 32)) == 0 &&
		    result_of(tls, signing_13(generation, ec, 48)) == 0,
	    "TLS 1.3 is signed with a hash of 32 or 48 octets");
	tap(result_of(tls, signing_12(generation, ec, 23, 65)) == 0 &&
		    result_of(tls, signing_12(generation, ec, 24, 97)) == 0 &&
		    result_of(tls, signing_12(generation, ec, 25, 133)) == 0 &&
		    result_of(tls, signing_12(generation, ec, 29, 32)) == 0,
	    "TLS 1.2 is signed with a point of each curve");
	for (int version = 12; version <= 13; version++) {
		good = version == 12 ? signing_12(generation, ec, 29, 32) :
				       signing_13(generation, ec, 32);
		for (uint32_t count = 0; count < 300; count++) {
			bad = good;
			bad.count = count;
			wrong += count != good.count && (version == 12 || count != 146) &&
				 result_of(tls, bad) != -EPERM;
		}
		bad.count = UINT32_MAX;
		wrong += result_of(tls, bad) != -EPERM;
		tap(wrong == 0, "1.%d: no shorter or longer text is signed", version - 10);
		/* Flips each bit of the fixed part. */
		for (unsigned bit = version == 12 ? 64 * 8 : 0;
		     bit < (version == 12 ? 68 : sizeof(CONTEXT)) * 8; bit++) {
			bad = good;
			bad.octets[bit / 8] ^= (unsigned char)(1U << bit % 8);
			wrong += result_of(tls, bad) != -EPERM;
		}
		tap(wrong == 0,
		    "1.%d: no text with a changed bit before the hash or the point is signed",
		    version - 10);
	}
	bad = signing_12(generation, ec, 23, 65);
	bad.octets[68] = 2;
	tap(result_of(tls, bad) == -EPERM, "a compressed point is not signed");
	bad = signing_13(generation, ec, 32);
	memcpy(bad.octets + 64, "TLS 1.3, client CertificateVerify", 33);
	tap(result_of(tls, bad) == -EPERM, "a client's CertificateVerify is not signed");
	tap(result_of(tls, signing_13(generation, ec, 64)) == -EPERM,
	    "no hash of TLS 1.3 has 64 octets");
	for (uint32_t algorithm = 0; algorithm < 300; algorithm++) {
		bool is_good = algorithm == GNUTLS_SIGN_ECDSA_SHA256 ||
			       algorithm == GNUTLS_SIGN_ECDSA_SHA384 ||
			       algorithm == GNUTLS_SIGN_ECDSA_SHA512 ||
			       algorithm == GNUTLS_SIGN_ECDSA_SECP256R1_SHA256 ||
			       algorithm == GNUTLS_SIGN_ECDSA_SECP384R1_SHA384 ||
			       algorithm == GNUTLS_SIGN_ECDSA_SECP521R1_SHA512 ||
			       (algorithm >= GNUTLS_SIGN_ECDSA_SHA3_256 &&
				algorithm <= GNUTLS_SIGN_ECDSA_SHA3_512);
		int r = result_of(tls, signing_13(generation, algorithm, 32));

		wrong += r != (is_good ? 0 : -EPERM);
	}
	tap(wrong == 0, "an ECDSA key signs only with ECDSA and at least SHA-256");
	bad = signing_13(generation, GNUTLS_SIGN_RSA_SHA256, 32);
	bad.key = 1;
	tap(result_of(tls, bad) == 0, "an RSA key signs");
	for (size_t i = 0; i < 4; i++) {
		static const uint32_t algorithms[] = { GNUTLS_SIGN_RSA_RAW, GNUTLS_SIGN_RSA_SHA1,
						       GNUTLS_SIGN_RSA_MD5,
						       GNUTLS_SIGN_RSA_SHA224 };

		bad.algorithm = algorithms[i];
		wrong += result_of(tls, bad) != -EPERM;
	}
	tap(wrong == 0, "it does not sign with SHA-1, MD5, SHA-224, or without a hash");
	bad = signing_13(generation, GNUTLS_SIGN_EDDSA_ED25519, 32);
	bad.key = 2;
	tap(result_of(tls, bad) == 0, "an Ed25519 key signs");
	bad.key = 3;
	tap(result_of(tls, bad) == -EPERM, "there is no fourth key");
	bad.key = UINT32_MAX;
	tap(result_of(tls, bad) == -EPERM, "there is no last key");
	tap(result_of(tls, signing_13(generation + 1, ec, 32)) == -EPERM &&
		    result_of(tls, signing_13(0, ec, 32)) == -EPERM,
	    "another generation has no keys");
	functions->free(tls);
}

/* ---- The public file, and renewal ---- */

static void test_public_file(void)
{
	char cert[] = "p256.pem", other[] = "rsa.pem", ca[] = "ca.pem";
	char *certs[] = { cert, other, NULL };
	struct settings settings = { .tls_cert = certs, .tls_client_ca = ca };
	struct tls *tls = make_keeper(&settings);
	char text[65536] = "";
	ssize_t n;
	int fd, begun = 0;

	/* $() cuts off the last line end. */
	if (!tap(shell("printf %%s \"$(cat p384.crt)\" >ca.pem") && functions->load(tls) == 0,
		 "a keeper makes a public file, also of a file without a last line end"))
		return;
	fd = tls->public_fd;
	n = util_pread(fd, text, sizeof(text) - 1, 0);
	for (const char *at = text; (at = memmem(at, (size_t)(text + n - at), "-----BEGIN ", 11));
	     at++)
		begun++;
	tap(begun == 3 && !memmem(text, (size_t)n, "KEY", 3),
	    "it has the certificates, but no key from their files");
	tap(pwrite(fd, "x", 1, 0) < 0 && ftruncate(fd, 0) < 0 && pwrite(fd, "x", 1, n) < 0 &&
		    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0,
	    "it cannot be changed");
	functions->free(tls);
}

/* The first check sees a change, the second reports it as complete, the third sees none. */
static bool is_renewed(struct tls *tls)
{
	return !functions->has_changed(tls) && functions->has_changed(tls) &&
	       !functions->has_changed(tls);
}

static void test_renewal(void)
{
	char cert[] = "live/cert.pem", key[] = "live/key.pem";
	char *certs[] = { cert, NULL }, *keys[] = { key, NULL };
	struct settings settings = { .tls_cert = certs, .tls_key = keys };
	struct tls *tls = make_keeper(&settings), *fresh;
	uint32_t ec = GNUTLS_SIGN_ECDSA_SHA256, first, second;

	/* The layout of certbot. */
	if (!tap(shell("mkdir live archive && cp p256.crt archive/cert1.pem &&"
		       " cp p256.key archive/key1.pem && chmod 600 archive/key1.pem &&"
		       " ln -s ../archive/cert1.pem live/cert.pem &&"
		       " ln -s ../archive/key1.pem live/key.pem"),
		 "certificate and key are symbolic links"))
		return;
	tap(functions->load(tls) == 0 && !functions->has_changed(tls) &&
		    !functions->has_changed(tls),
	    "the loaded files have not changed");
	first = generation_of(tls);
	tap(make_certificate("again", "EC -pkeyopt ec_paramgen_curve:P-256") &&
		    shell("cp again.crt archive/cert2.pem && cp again.key archive/key2.pem &&"
			  " ln -sf ../archive/cert2.pem live/cert.pem"),
	    "a link points to a new certificate");
	tap(is_renewed(tls), "that is seen");
	*logged = '\0';
	fresh = make_keeper(&settings);
	tap(functions->load(fresh) == -EBADMSG && fresh->public_fd == -1 &&
		    strcmp(logged, "tls-key = 'live/key.pem' is not the key of tls-cert = "
				   "'live/cert.pem'") == 0,
	    "it is not used without its key");
	tap(!functions->has_changed(tls) && !functions->has_changed(tls) &&
		    tls->tried_stamps == fresh->tried_stamps &&
		    result_of(fresh, signing_13(first, ec, 32)) == -EPERM &&
		    result_of(tls, signing_13(first, ec, 32)) == 0,
	    "until the files change again, the old key signs");
	functions->free(fresh);
	fresh = make_keeper(&settings);
	tap(shell("ln -sf ../archive/key2.pem live/key.pem") && is_renewed(tls) &&
		    functions->load(fresh) == 0,
	    "with its key it is used");
	second = generation_of(fresh);
	tap(result_of(tls, signing_13(first, ec, 32)) == 0 &&
		    result_of(fresh, signing_13(first, ec, 32)) == -EPERM &&
		    result_of(fresh, signing_13(second, ec, 32)) == 0 && first != second,
	    "each certificate has its own key");
	tap(shell("cp again.crt archive/cert2.pem") && is_renewed(fresh),
	    "a file that is overwritten is noticed");
	functions->free(tls);
	functions->free(fresh);
}

int main(int argc, char *argv[])
{
	static const char *const all[] = {
		"-tls1_3",
		"-tls1_3 -groups P-384",
		"-tls1_3 -groups X448:P-256", /* a second ClientHello */
		"-tls1_2",
		"-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256",
		"-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384",
		"NORMAL:-VERS-ALL:+VERS-TLS1.3",
		"NORMAL:-VERS-ALL:+VERS-TLS1.2",
		NULL,
	};
	static const char *const rsa[] = {
		"-tls1_3",
		"-tls1_2",
		"-tls1_2 -groups X25519",
		"-tls1_2 -groups P-256",
		"-tls1_2 -groups P-384",
		"-tls1_2 -groups P-521",
		"-tls1_2 -sigalgs RSA+SHA256",
		"-tls1_2 -sigalgs RSA+SHA384",
		"-tls1_2 -sigalgs RSA+SHA512",
		"-tls1_2 -sigalgs RSA-PSS+SHA256",
		"-tls1_3 -sigalgs RSA-PSS+SHA512",
		"NORMAL:-VERS-ALL:+VERS-TLS1.3",
		"NORMAL:-VERS-ALL:+VERS-TLS1.2",
		NULL,
	};
	char folder[] = "/tmp/test-signing.XXXXXX";
	void *module = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;

	functions = module ? dlsym(module, "tls_functions") : NULL;
	if (!functions || !mkdtemp(folder) || chdir(folder) < 0)
		return 1;
	(void)alarm(SECONDS_MAX);
	(void)umask(077);
	test_handshakes("p256", "EC -pkeyopt ec_paramgen_curve:P-256", all);
	test_handshakes("p384", "EC -pkeyopt ec_paramgen_curve:P-384", all);
	test_handshakes("rsa", "RSA -pkeyopt rsa_keygen_bits:2048", rsa);
	test_handshakes("pss", "RSA-PSS -pkeyopt rsa_keygen_bits:2048",
			(const char *const[]){ "-tls1_3", "-tls1_2", NULL });
	test_handshakes("rsa8192", "RSA -pkeyopt rsa_keygen_bits:8192",
			(const char *const[]){ "-tls1_3", "-tls1_2", NULL });
	test_handshakes("ed25519", "ED25519", all);
	test_refusals();
	test_public_file();
	test_renewal();
	if (tap_failures > 0)
		(void)shell("sed 's/^/# /' errors");
	(void)shell("rm -r '%s'", folder);
	return tap_end();
}
