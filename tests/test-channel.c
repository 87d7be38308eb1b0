/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels over every kind of socket, broken in every way; addresses, connecting and listening. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <vfio-migrate/connect.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "channel/address.h"
#include "channel/channel.h"

#define PATIENCE_S 20 /* for whatever should come at once */

/* ---- pairs of connected sockets ---- */

static void pair_socketpair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* Through the public helpers; the listener is not needed afterwards. */
static void pair_by_address(const char *address, int fds[2])
{
	char bound[256], why[256] = "";
	int listener = vfm_listen(address, why, sizeof(why));

	if (listener < 0)
		fail_msg("%s", why);
	assert_int_equal(vfm_listen_address(listener, bound, sizeof(bound)), 0);
	fds[0] = vfm_connect(bound, PATIENCE_S * 1000, why, sizeof(why));
	if (fds[0] < 0)
		fail_msg("%s", why);
	fds[1] = vfm_accept(listener);
	assert_true(fds[1] >= 0);
	close(listener);
}

static void pair_tcp(int fds[2])
{
	pair_by_address("tcp:127.0.0.1:0", fds);
}

static char scratch[] = "/tmp/test-channel-XXXXXX";

static void scratch_path(char *out, size_t size, const char *prefix, const char *name)
{
	assert_true((size_t)snprintf(out, size, "%s%s/%s", prefix, scratch, name) < size);
}

static void pair_unix(int fds[2])
{
	char address[128], path[128];

	scratch_path(address, sizeof(address), "unix:", "pair");
	pair_by_address(address, fds);
	scratch_path(path, sizeof(path), "", "pair");
	assert_int_equal(unlink(path), 0);
}

typedef void pair_fn(int fds[2]);

static pair_fn *const pairs[] = {pair_socketpair, pair_unix, pair_tcp};

struct two {
	struct channel *a, *b;
};

static void set_buffer(int fd, int option, int size)
{
	if (size)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size)), 0);
}

/* Buffer sizes of 0: as the system has them. */
static struct two channels_of(pair_fn *make, bool nonblocking, int send_buffer, int recv_buffer)
{
	struct two two;
	int fds[2];

	make(fds);
	for (int i = 0; i < 2; i++) {
		if (nonblocking)
			assert_int_equal(fcntl(fds[i], F_SETFL, O_NONBLOCK), 0);
		set_buffer(fds[i], SO_SNDBUF, send_buffer);
		set_buffer(fds[i], SO_RCVBUF, recv_buffer);
	}
	assert_int_equal(channel_new_fd(fds[0], &two.a), 0);
	assert_int_equal(channel_new_fd(fds[1], &two.b), 0);
	return two;
}

static void close_two(struct two *two)
{
	channel_close(two->a);
	channel_close(two->b);
}

/* ---- a call in another thread ---- */

struct call {
	struct channel *ch;
	int (*fn)(struct channel *ch, struct iovec *iov, int count);
	struct iovec *iov;
	int count;
	int ret;
	pthread_t thread;
};

static void *call_thread(void *arg)
{
	struct call *call = arg;

	call->ret = call->fn(call->ch, call->iov, call->count);
	return NULL;
}

static void call_start(struct call *call)
{
	assert_int_equal(pthread_create(&call->thread, NULL, call_thread, call), 0);
}

static int call_end(struct call *call)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	assert_int_equal(pthread_timedjoin_np(call->thread, NULL, &until), 0);
	return call->ret;
}

static int send_bytes(struct channel *ch, const void *data, size_t size)
{
	struct iovec iov = {(void *)data, size};

	return channel_send(ch, &iov, 1);
}

static int recv_bytes(struct channel *ch, void *data, size_t size)
{
	struct iovec iov = {data, size};

	return channel_recv(ch, &iov, 1);
}

/* ---- bytes arrive ---- */

#define BLOB (3u << 20)

/* Cut @size bytes into elements of odd sizes, empty ones among them. Returns how many. */
static int cut_up(struct iovec *iov, int max, uint8_t *data, size_t size, unsigned seed)
{
	int count = 0;

	while (size) {
		size_t piece = count + 1 < max ? rand_r(&seed) % (2 * BLOB / (unsigned)max) : size;

		piece = MIN(piece, size);
		iov[count++] = (struct iovec){data, piece};
		data += piece;
		size -= piece;
	}
	return count;
}

static void transfer_blob(pair_fn *make, bool nonblocking, int buffer, int max)
{
	struct two two = channels_of(make, nonblocking, buffer, 0);
	uint8_t *out = malloc(BLOB), *in = calloc(1, BLOB);
	struct iovec *out_iov = calloc((size_t)max, sizeof(*out_iov));
	struct iovec *in_iov = calloc((size_t)max, sizeof(*in_iov));
	struct call call = {.ch = two.a, .fn = channel_send, .iov = out_iov};

	assert_true(out && in && out_iov && in_iov);
	for (size_t i = 0; i < BLOB; i++)
		out[i] = (uint8_t)(i * 31 + i / 251);
	call.count = cut_up(out_iov, max, out, BLOB, 1);
	call_start(&call);
	assert_int_equal(channel_recv(two.b, in_iov, cut_up(in_iov, max, in, BLOB, 2)), 0);
	assert_int_equal(call_end(&call), 0);
	assert_memory_equal(in, out, BLOB);
	close_two(&two);
	free(out);
	free(in);
	free(out_iov);
	free(in_iov);
}

static void test_transfer(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
			transfer_blob(pairs[i], nonblocking, 0, 3);
			/* A small buffer: every call is cut short many times. Not on the receiving
			 * side: a TCP window below one segment is a matter of timers. */
			transfer_blob(pairs[i], nonblocking, 4096, 100);
			/* More elements than one system call takes. */
			transfer_blob(pairs[i], nonblocking, 0, 3 * IOV_MAX);
		}
	}
}

static void test_nothing_to_transfer(void **state)
{
	struct two two = channels_of(pair_socketpair, false, 0, 0);
	struct iovec empty[2] = {{NULL, 0}, {NULL, 0}};

	assert_int_equal(channel_send(two.a, NULL, 0), 0);
	assert_int_equal(channel_send(two.a, empty, 2), 0);
	/* Would block if it asked the socket. */
	assert_int_equal(channel_recv(two.b, NULL, 0), 0);
	assert_int_equal(channel_recv(two.b, empty, 2), 0);
	close_two(&two);
	channel_close(NULL);
}

/* ---- ends ---- */

static int send_until_error(struct channel *ch)
{
	static const uint8_t block[4096];
	int ret = 0;

	for (int i = 0; i < 10000 && !ret; i++)
		ret = send_bytes(ch, block, sizeof(block));
	return ret;
}

static void test_peer_gone(void **state)
{
	uint8_t byte[2];

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct two two = channels_of(pairs[i], false, 0, 0);

		/* One byte of two, then nothing. A SIGPIPE would end the test. */
		assert_int_equal(send_bytes(two.b, "x", 1), 0);
		channel_close(two.b);
		assert_int_equal(recv_bytes(two.a, byte, 2), -ECONNRESET);
		assert_int_equal(send_until_error(two.a), -ECONNRESET);
		channel_close(two.a);
	}
}

static void check_ended(int ret)
{
	assert_true(ret == -ECANCELED || ret == -ECONNRESET);
}

/* A receiver that waits and a sender whose peer does not read. */
static void shutdown_wakes(pair_fn *make, bool nonblocking)
{
	struct two two = channels_of(make, nonblocking, 4096, 4096);
	uint8_t *data = calloc(1, BLOB), byte;
	struct iovec out = {data, BLOB}, in = {&byte, 1};
	struct call sender = {.ch = two.a, .fn = channel_send, .iov = &out, .count = 1};
	struct call receiver = {.ch = two.a, .fn = channel_recv, .iov = &in, .count = 1};

	assert_non_null(data);
	call_start(&sender);
	call_start(&receiver);
	/* The sender has got as far as this, and not to its end. */
	assert_int_equal(recv_bytes(two.b, &byte, 1), 0);
	channel_shutdown(two.a);
	check_ended(call_end(&sender));
	check_ended(call_end(&receiver));
	assert_int_equal(send_bytes(two.a, "x", 1), -ECANCELED);
	assert_int_equal(recv_bytes(two.a, &byte, 1), -ECANCELED);
	channel_shutdown(two.a);
	close_two(&two);
	free(data);
}

static void test_shutdown_wakes(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		shutdown_wakes(pairs[i], false);
		shutdown_wakes(pairs[i], true);
	}
}

/* What has arrived already is not given out after a shutdown. */
static void test_shutdown_hides_data(void **state)
{
	struct two two = channels_of(pair_socketpair, false, 0, 0);
	uint8_t byte;

	assert_int_equal(send_bytes(two.b, "x", 1), 0);
	channel_shutdown(two.a);
	assert_int_equal(recv_bytes(two.a, &byte, 1), -ECANCELED);
	close_two(&two);
}

static atomic_int interrupts;

static void on_signal(int number)
{
	atomic_fetch_add(&interrupts, 1);
}

static void test_interrupted(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, before; /* no SA_RESTART */
	struct two two = channels_of(pair_tcp, false, 0, 0);
	uint8_t bytes[2] = {0};
	struct iovec iov = {bytes, 2};
	struct call call = {.ch = two.b, .fn = channel_recv, .iov = &iov, .count = 1};

	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	call_start(&call);
	for (int i = 0; i < 20; i++)
		assert_int_equal(pthread_kill(call.thread, SIGUSR1), 0);
	assert_int_equal(send_bytes(two.a, "a", 1), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(pthread_kill(call.thread, SIGUSR1), 0);
	assert_int_equal(send_bytes(two.a, "b", 1), 0);
	assert_int_equal(call_end(&call), 0);
	assert_true(atomic_load(&interrupts) > 0);
	assert_memory_equal(bytes, "ab", 2);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	close_two(&two);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_wrong_fd(void **state)
{
	struct channel *ch = NULL;
	int fds[2];

	assert_int_equal(channel_new_fd(-1, &ch), -EBADF);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(channel_new_fd(fds[0], &ch), -ENOTSOCK);
	assert_false(is_open(fds[0]));
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(channel_new_fd(fds[0], &ch), -EPROTOTYPE);
	assert_false(is_open(fds[0]));
	close(fds[1]);
	assert_null(ch);
}

/* ---- faults ---- */

#define MESSAGE 64

static const struct channel_faults no_faults = CHANNEL_NO_FAULTS;

/* two.a is wrapped. */
static struct two faulty(const struct channel_faults *faults)
{
	struct two two = channels_of(pair_socketpair, false, 0, 0);
	struct channel *wrapped;

	assert_int_equal(channel_new_fault(two.a, faults, &wrapped), 0);
	two.a = wrapped;
	return two;
}

static void fill_message(uint8_t message[static MESSAGE])
{
	for (unsigned i = 0; i < MESSAGE; i++)
		message[i] = (uint8_t)(i + 1);
}

/* In three elements with an empty one: positions fall on, before and behind borders. */
static int message_iov(struct iovec iov[static 4], uint8_t message[static MESSAGE])
{
	iov[0] = (struct iovec){message, 10};
	iov[1] = (struct iovec){message + 10, 0};
	iov[2] = (struct iovec){message + 10, 1};
	iov[3] = (struct iovec){message + 11, MESSAGE - 11};
	return 4;
}

static void test_no_fault(void **state)
{
	struct two two = faulty(&no_faults);
	uint8_t message[MESSAGE], got[MESSAGE];
	struct iovec iov[4];

	fill_message(message);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(channel_send(two.a, iov, message_iov(iov, message)), 0);
		assert_int_equal(recv_bytes(two.b, got, MESSAGE), 0);
		assert_memory_equal(got, message, MESSAGE);
		assert_int_equal(send_bytes(two.b, message, MESSAGE), 0);
		memset(got, 0, sizeof(got));
		assert_int_equal(channel_recv(two.a, iov, message_iov(iov, got)), 0);
		assert_memory_equal(got, message, MESSAGE);
	}
	close_two(&two);
}

static void cut_send(unsigned after)
{
	struct channel_faults faults = CHANNEL_NO_FAULTS;
	uint8_t message[MESSAGE], got[MESSAGE], more;
	struct iovec iov[4];
	struct two two;

	faults.cut_send_after = after;
	two = faulty(&faults);
	fill_message(message);
	/* Ending exactly at the cut is no failure: the bytes have left. */
	assert_int_equal(channel_send(two.a, iov, message_iov(iov, message)),
			 after < MESSAGE ? -ECONNRESET : 0);
	assert_int_equal(recv_bytes(two.b, got, after), 0);
	assert_memory_equal(got, message, after);
	assert_int_equal(recv_bytes(two.b, &more, 1), -ECONNRESET);
	/* Both directions, from both sides. */
	assert_int_equal(recv_bytes(two.a, &more, 1), -ECONNRESET);
	assert_int_equal(send_bytes(two.a, "x", 1), -ECONNRESET);
	assert_int_equal(send_until_error(two.b), -ECONNRESET);
	close_two(&two);
}

static void test_cut_send(void **state)
{
	for (unsigned after = 0; after <= MESSAGE; after++)
		cut_send(after);
}

static void cut_recv(unsigned after)
{
	struct channel_faults faults = CHANNEL_NO_FAULTS;
	uint8_t message[MESSAGE], got[MESSAGE] = {0}, more;
	struct iovec iov[4];
	struct two two;
	int sent;

	faults.cut_recv_after = after;
	two = faulty(&faults);
	fill_message(message);
	sent = send_bytes(two.b, message, MESSAGE);
	assert_true(sent == 0 || (after == 0 && sent == -ECONNRESET));
	assert_int_equal(channel_recv(two.a, iov, message_iov(iov, got)),
			 after < MESSAGE ? -ECONNRESET : 0);
	assert_memory_equal(got, message, after);
	for (unsigned i = after; i < MESSAGE; i++)
		assert_int_equal(got[i], 0);
	assert_int_equal(send_bytes(two.a, "x", 1), -ECONNRESET);
	assert_int_equal(recv_bytes(two.b, &more, 1), -ECONNRESET);
	close_two(&two);
}

static void test_cut_recv(void **state)
{
	for (unsigned after = 0; after <= MESSAGE; after++)
		cut_recv(after);
}

/* A side that sent its last word and only waits is cut off as well. */
static void test_cut_wakes_receiver(void **state)
{
	struct channel_faults faults = CHANNEL_NO_FAULTS;
	uint8_t byte;
	struct iovec iov = {&byte, 1};
	struct call call = {.fn = channel_recv, .iov = &iov, .count = 1};
	struct two two;

	faults.cut_send_after = 4;
	two = faulty(&faults);
	call.ch = two.a;
	call_start(&call);
	assert_int_equal(send_bytes(two.a, "last", 4), 0);
	assert_int_equal(call_end(&call), -ECONNRESET);
	close_two(&two);
}

static void check_one_wrong(const uint8_t *got, const uint8_t *message, unsigned at)
{
	for (unsigned i = 0; i < MESSAGE; i++)
		assert_int_equal(got[i] != message[i], i == at);
	assert_true(__builtin_popcount(got[at] ^ message[at]) == 1);
}

static void corrupt(unsigned send_at, unsigned recv_at)
{
	struct channel_faults faults = CHANNEL_NO_FAULTS;
	uint8_t message[MESSAGE], kept[MESSAGE], got[MESSAGE];
	struct iovec iov[4];
	struct two two;

	faults.corrupt_send_at = send_at;
	faults.corrupt_recv_at = recv_at;
	two = faulty(&faults);
	fill_message(message);
	fill_message(kept);
	assert_int_equal(channel_send(two.a, iov, message_iov(iov, message)), 0);
	assert_int_equal(recv_bytes(two.b, got, MESSAGE), 0);
	check_one_wrong(got, message, send_at);
	/* The caller's bytes, which may be the guest's, are as they were. */
	assert_memory_equal(message, kept, MESSAGE);
	assert_int_equal(send_bytes(two.b, message, MESSAGE), 0);
	assert_int_equal(channel_recv(two.a, iov, message_iov(iov, got)), 0);
	check_one_wrong(got, message, recv_at);
	/* Once only. */
	assert_int_equal(send_bytes(two.a, message, MESSAGE), 0);
	assert_int_equal(recv_bytes(two.b, got, MESSAGE), 0);
	assert_memory_equal(got, message, MESSAGE);
	close_two(&two);
}

static void test_corrupt(void **state)
{
	for (unsigned at = 0; at < MESSAGE; at++)
		corrupt(at, MESSAGE - 1 - at);
}

static void test_corrupt_before_cut(void **state)
{
	struct channel_faults faults = CHANNEL_NO_FAULTS;
	uint8_t got[4];
	struct two two;

	faults.corrupt_send_at = 3;
	faults.cut_send_after = 4;
	two = faulty(&faults);
	assert_int_equal(send_bytes(two.a, "abcdef", 6), -ECONNRESET);
	assert_int_equal(recv_bytes(two.b, got, 4), 0);
	assert_memory_equal(got, "abc", 3);
	assert_true(got[3] != 'd');
	assert_int_equal(recv_bytes(two.b, got, 1), -ECONNRESET);
	close_two(&two);
}

static void test_delay(void **state)
{
	struct channel_faults faults = CHANNEL_NO_FAULTS;
	uint64_t start = clock_ns();
	uint8_t byte;
	struct two two;

	faults.delay_send_us = 3000;
	faults.delay_recv_us = 2000;
	two = faulty(&faults);
	assert_int_equal(send_bytes(two.a, "x", 1), 0);
	assert_true(clock_ns() - start >= 3 * NS_PER_MSEC);
	assert_int_equal(send_bytes(two.b, "x", 1), 0);
	assert_int_equal(recv_bytes(two.a, &byte, 1), 0);
	assert_true(clock_ns() - start >= 5 * NS_PER_MSEC);
	close_two(&two);
}

/* An hour's delay ends at once, and so does a call inside of the wrapped channel. */
static void test_fault_shutdown(void **state)
{
	struct channel_faults faults = CHANNEL_NO_FAULTS;
	uint8_t byte = 0;
	struct iovec out = {&byte, 1}, in = {&byte, 1};
	struct call sender = {.fn = channel_send, .iov = &out, .count = 1};
	struct call receiver = {.fn = channel_recv, .iov = &in, .count = 1};
	struct two two;

	faults.delay_send_us = 3600000000u;
	two = faulty(&faults);
	sender.ch = receiver.ch = two.a;
	call_start(&sender);
	call_start(&receiver);
	channel_shutdown(two.a);
	check_ended(call_end(&sender));
	check_ended(call_end(&receiver));
	assert_int_equal(recv_bytes(two.a, &byte, 1), -ECANCELED);
	close_two(&two);
}

/* ---- addresses ---- */

static const struct {
	const char *text;
	const char *why; /* NULL: it is right */
	enum address_kind kind;
	const char *host; /* or the path */
	int number;       /* port or fd */
} addresses[] = {
	{"tcp:127.0.0.1:4444", NULL, ADDRESS_TCP, "127.0.0.1", 4444},
	{"tcp:[::1]:4444", NULL, ADDRESS_TCP, "::1", 4444},
	{"tcp:[fe80::1%eth0]:1", NULL, ADDRESS_TCP, "fe80::1%eth0", 1},
	{"tcp:host.example:0", NULL, ADDRESS_TCP, "host.example", 0},
	{"tcp:h:65535", NULL, ADDRESS_TCP, "h", 65535},
	{"tcp:[h]:1", NULL, ADDRESS_TCP, "h", 1},
	{"unix:/run/x.sock", NULL, ADDRESS_UNIX, "/run/x.sock", 0},
	{"unix:x:y", NULL, ADDRESS_UNIX, "x:y", 0},
	{"fd:0", NULL, ADDRESS_FD, NULL, 0},
	{"fd:2147483647", NULL, ADDRESS_FD, NULL, INT_MAX},
	{"", "expected tcp:HOST:PORT, unix:PATH or fd:NUMBER", 0, NULL, 0},
	{"127.0.0.1:4444", "expected tcp:HOST:PORT, unix:PATH or fd:NUMBER", 0, NULL, 0},
	{"TCP:h:1", "expected tcp:HOST:PORT, unix:PATH or fd:NUMBER", 0, NULL, 0},
	{"exec:rm", "expected tcp:HOST:PORT, unix:PATH or fd:NUMBER", 0, NULL, 0},
	{"tcp:", "expected tcp:HOST:PORT", 0, NULL, 0},
	{"tcp:4444", "expected tcp:HOST:PORT", 0, NULL, 0},
	{"tcp::4444", "expected tcp:HOST:PORT", 0, NULL, 0},
	{"tcp:[]:1", "expected tcp:HOST:PORT", 0, NULL, 0},
	{"tcp:[::1]", "expected tcp:HOST:PORT", 0, NULL, 0},
	{"tcp:[::1]4444", "expected tcp:HOST:PORT", 0, NULL, 0},
	{"tcp:[::1:4444", "expected tcp:HOST:PORT", 0, NULL, 0},
	{"tcp:::1:4444", "expected tcp:HOST:PORT", 0, NULL, 0},
	{"tcp:fe80::1:4444", "brackets", 0, NULL, 0},
	{"tcp:h:", "the port is a number", 0, NULL, 0},
	{"tcp:h:x", "the port is a number", 0, NULL, 0},
	{"tcp:h:-1", "the port is a number", 0, NULL, 0},
	{"tcp:h:+1", "the port is a number", 0, NULL, 0},
	{"tcp:h: 1", "the port is a number", 0, NULL, 0},
	{"tcp:h:65536", "the port is a number", 0, NULL, 0},
	{"tcp:h:99999999999999999999", "the port is a number", 0, NULL, 0},
	{"tcp:h:1x", "the port is a number", 0, NULL, 0},
	{"unix:", "expected unix:PATH", 0, NULL, 0},
	{"fd:", "expected fd:NUMBER", 0, NULL, 0},
	{"fd:-1", "expected fd:NUMBER", 0, NULL, 0},
	{"fd:x", "expected fd:NUMBER", 0, NULL, 0},
	{"fd:2147483648", "expected fd:NUMBER", 0, NULL, 0},
};

static void check_address(size_t i)
{
	struct address address = {0};
	char why[200] = "";
	int ret = address_parse(addresses[i].text, &address, why, sizeof(why));

	if (addresses[i].why) {
		assert_int_equal(ret, -EINVAL);
		assert_int_equal(vfm_address_check(addresses[i].text, NULL, 0), -EINVAL);
		if (!strstr(why, addresses[i].why) || strchr(why, '\n'))
			fail_msg("\"%s\" gives \"%s\"", addresses[i].text, why);
		assert_int_equal(vfm_connect(addresses[i].text, 0, NULL, 0), -EINVAL);
		assert_int_equal(vfm_listen(addresses[i].text, NULL, 0), -EINVAL);
		return;
	}
	if (ret)
		fail_msg("\"%s\": %s", addresses[i].text, why);
	assert_int_equal(vfm_address_check(addresses[i].text, why, sizeof(why)), 0);
	assert_int_equal(address.kind, addresses[i].kind);
	if (address.kind == ADDRESS_TCP)
		assert_string_equal(address.host, addresses[i].host);
	if (address.kind == ADDRESS_UNIX)
		assert_string_equal(address.path.sun_path, addresses[i].host);
	assert_int_equal(address.kind == ADDRESS_TCP  ? address.port
			 : address.kind == ADDRESS_FD ? address.fd
						      : 0,
			 addresses[i].number);
}

static void test_addresses(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		check_address(i);
}

static void test_long_address(void **state)
{
	struct address address;
	char text[2000] = "unix:", why[40];
	size_t longest = sizeof(address.path.sun_path) - 1;

	memset(text + 5, 'p', longest);
	assert_int_equal(address_parse(text, &address, NULL, 0), 0);
	assert_int_equal(strlen(address.path.sun_path), longest);
	text[5 + longest] = 'p';
	assert_int_equal(address_parse(text, &address, why, sizeof(why)), -EINVAL);
	assert_int_equal(strlen(why), sizeof(why) - 1);
	memset(text, 'h', sizeof(text) - 10);
	memcpy(text, "tcp:", 4);
	strcpy(text + sizeof(text) - 10, ":1");
	assert_int_equal(address_parse(text, &address, NULL, 0), -EINVAL);
}

/* ---- connecting ---- */

static int int_option(int fd, int level, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
	return value;
}

static void check_set_up(int fd, bool tcp)
{
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(int_option(fd, SOL_SOCKET, SO_KEEPALIVE));
	if (tcp) {
		assert_true(int_option(fd, IPPROTO_TCP, TCP_NODELAY));
		assert_true(int_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT) > 0);
		assert_true(int_option(fd, IPPROTO_TCP, TCP_KEEPIDLE) < 60);
	}
}

static void test_connected_set_up(void **state)
{
	int fds[2];

	for (int tcp = 0; tcp < 2; tcp++) {
		if (tcp)
			pair_tcp(fds);
		else
			pair_unix(fds);
		check_set_up(fds[0], tcp);
		check_set_up(fds[1], tcp);
		close(fds[0]);
		close(fds[1]);
	}
}

static void test_ipv6(void **state)
{
	int listener = vfm_listen("tcp:[::1]:0", NULL, 0), fds[2];
	char address[64];

	if (listener < 0)
		skip(); /* this host has no IPv6 */
	assert_int_equal(vfm_listen_address(listener, address, sizeof(address)), 0);
	assert_int_equal(strncmp(address, "tcp:[::1]:", 10), 0);
	close(listener);
	pair_by_address("tcp:[::1]:0", fds);
	close(fds[0]);
	close(fds[1]);
}

static void test_connect_refused(void **state)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char address[128], why[200];

	/* Bound, so that nobody else listens there either. */
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(vfm_listen_address(fd, address, sizeof(address)), 0);
	assert_int_equal(vfm_connect(address, 5000, why, sizeof(why)), -ECONNREFUSED);
	assert_non_null(strstr(why, "Connection refused"));
	close(fd);
	scratch_path(address, sizeof(address), "unix:", "nobody");
	assert_int_equal(vfm_connect(address, 5000, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "nobody"));
	assert_int_equal(vfm_connect("tcp:127.0.0.1:0", 5000, why, sizeof(why)), -EINVAL);
	assert_true(vfm_connect("tcp:[fe80::1%nowhere]:1", 5000, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, "fe80::1%nowhere"));
}

/* A listener whose queue is full and that nobody empties. */
static void connect_in_vain(int family, const struct sockaddr *sa, socklen_t size,
			    const char *address)
{
	int fds[4];
	char why[200];

	for (int i = 0; i < 4; i++) {
		fds[i] = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(fds[i] >= 0);
		(void)connect(fds[i], sa, size);
	}
	assert_int_equal(vfm_connect(address, 50, why, sizeof(why)), -ETIMEDOUT);
	assert_int_equal(vfm_connect(address, 0, why, sizeof(why)), -ETIMEDOUT);
	assert_non_null(strstr(why, "timed out"));
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

static void test_connect_timeout_tcp(void **state)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char address[64];

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &size), 0);
	assert_int_equal(vfm_listen_address(fd, address, sizeof(address)), 0);
	connect_in_vain(AF_INET, (struct sockaddr *)&sin, sizeof(sin), address);
	close(fd);
}

static void test_connect_timeout_unix(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char address[128];

	scratch_path(sun.sun_path, sizeof(sun.sun_path), "", "full");
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(vfm_listen_address(fd, address, sizeof(address)), 0);
	connect_in_vain(AF_UNIX, (struct sockaddr *)&sun, sizeof(sun), address);
	close(fd);
	unlink(sun.sun_path);
}

static void test_inherited_connection(void **state)
{
	char address[32], why[200];
	int fds[2], listener;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	snprintf(address, sizeof(address), "fd:%d", fds[0]);
	assert_int_equal(vfm_connect(address, 0, why, sizeof(why)), fds[0]);
	check_set_up(fds[0], false);
	close(fds[0]);
	assert_int_equal(vfm_connect(address, 0, why, sizeof(why)), -EBADF);
	close(fds[1]);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	snprintf(address, sizeof(address), "fd:%d", fds[0]);
	assert_int_equal(vfm_connect(address, 0, why, sizeof(why)), -ENOTSOCK);
	close(fds[0]);
	close(fds[1]);
	listener = vfm_listen("tcp:127.0.0.1:0", NULL, 0);
	snprintf(address, sizeof(address), "fd:%d", listener);
	assert_int_equal(vfm_connect(address, 0, why, sizeof(why)), -ENOTCONN);
	assert_non_null(strstr(why, "connected"));
	close(listener);
}

/* ---- listening ---- */

static void test_accept_none(void **state)
{
	int fd = vfm_listen("tcp:127.0.0.1:0", NULL, 0);

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(vfm_accept(fd), -EAGAIN);
	close(fd);
	assert_int_equal(vfm_accept(-1), -EBADF);
}

static void test_listen_address(void **state)
{
	char address[128], expected[128];
	int fd = vfm_listen("tcp:127.0.0.1:0", NULL, 0), fds[2];

	assert_int_equal(vfm_listen_address(fd, address, sizeof(address)), 0);
	assert_int_equal(strncmp(address, "tcp:127.0.0.1:", 14), 0);
	assert_true(atoi(address + 14) > 0);
	assert_int_equal(vfm_listen_address(fd, address, 10), -ENOSPC);
	close(fd);
	scratch_path(expected, sizeof(expected), "unix:", "named");
	fd = vfm_listen(expected, NULL, 0);
	assert_int_equal(vfm_listen_address(fd, address, sizeof(address)), 0);
	assert_string_equal(address, expected);
	assert_int_equal(vfm_listen_address(fd, address, 5), -ENOSPC);
	close(fd);
	unlink(expected + 5);
	assert_int_equal(vfm_listen_address(-1, address, sizeof(address)), -EBADF);
	pair_socketpair(fds);
	assert_int_equal(vfm_listen_address(fds[0], address, sizeof(address)), -EAFNOSUPPORT);
	close(fds[0]);
	close(fds[1]);
}

static void test_port_in_use(void **state)
{
	char address[64], why[200];
	int fd = vfm_listen("tcp:127.0.0.1:0", NULL, 0);

	assert_int_equal(vfm_listen_address(fd, address, sizeof(address)), 0);
	assert_int_equal(vfm_listen(address, why, sizeof(why)), -EADDRINUSE);
	assert_non_null(strstr(why, "in use"));
	close(fd);
}

/* Whatever the umask. */
static void test_unix_is_owners(void **state)
{
	char address[128];
	mode_t before = umask(0);
	struct stat st;
	int fd;

	scratch_path(address, sizeof(address), "unix:", "private");
	fd = vfm_listen(address, NULL, 0);
	umask(before);
	assert_true(fd >= 0);
	assert_int_equal(lstat(address + 5, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	close(fd);
	unlink(address + 5);
}

static void test_unix_in_use(void **state)
{
	char address[128], why[200];
	int fd, again;

	scratch_path(address, sizeof(address), "unix:", "used");
	fd = vfm_listen(address, NULL, 0);
	assert_true(fd >= 0);
	assert_int_equal(vfm_listen(address, why, sizeof(why)), -EADDRINUSE);
	assert_non_null(strstr(why, "used"));
	/* The attempt did not even show up as a connection. */
	assert_int_equal(vfm_accept(fd), -EAGAIN);
	close(fd);
	/* Now it is stale. */
	again = vfm_listen(address, why, sizeof(why));
	assert_true(again >= 0);
	fd = vfm_connect(address, 1000, why, sizeof(why));
	assert_true(fd >= 0);
	close(fd);
	close(again);
	unlink(address + 5);
}

static void test_unix_keeps_others(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char address[128], link[128];
	struct stat st;
	int fd;

	/* A file is not ours to remove. */
	scratch_path(address, sizeof(address), "unix:", "file");
	fd = open(address + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(vfm_listen(address, NULL, 0), -EADDRINUSE);
	assert_int_equal(lstat(address + 5, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	unlink(address + 5);
	/* Nor a socket of another kind that is in use, nor one that does not listen yet. */
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		scratch_path(address, sizeof(address), "unix:", "other");
		strcpy(sun.sun_path, address + 5);
		fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
		assert_int_equal(vfm_listen(address, NULL, 0), -EADDRINUSE);
		close(fd);
		unlink(sun.sun_path);
	}
	/* Nor a link, wherever it leads. */
	scratch_path(link, sizeof(link), "", "link");
	assert_int_equal(symlink("nowhere", link), 0);
	scratch_path(address, sizeof(address), "unix:", "link");
	assert_int_equal(vfm_listen(address, NULL, 0), -EADDRINUSE);
	unlink(link);
}

static void test_unix_directory(void **state)
{
	char address[128], why[200];
	int lock;

	scratch_path(address, sizeof(address), "unix:", "missing/socket");
	assert_int_equal(vfm_listen(address, why, sizeof(why)), -ENOENT);
	lock = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	scratch_path(address, sizeof(address), "unix:", "locked");
	assert_int_equal(vfm_listen(address, why, sizeof(why)), -EBUSY);
	close(lock);
}

#define RACERS 4

static void *race_to_listen(void *arg)
{
	return (void *)(intptr_t)vfm_listen(arg, NULL, 0);
}

/* Several find the same stale socket: one gets it, and keeps it. */
static void race_once(char *address)
{
	pthread_t threads[RACERS];
	int winner = -1, client;
	void *ret;

	close(vfm_listen(address, NULL, 0));
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race_to_listen, address), 0);
	for (int i = 0; i < RACERS; i++) {
		assert_int_equal(pthread_join(threads[i], &ret), 0);
		if ((intptr_t)ret >= 0) {
			assert_int_equal(winner, -1);
			winner = (int)(intptr_t)ret;
		} else {
			assert_int_equal((intptr_t)ret, -EADDRINUSE);
		}
	}
	assert_true(winner >= 0);
	client = vfm_connect(address, 1000, NULL, 0);
	assert_true(client >= 0);
	close(client);
	client = vfm_accept(winner);
	assert_true(client >= 0);
	close(client);
	close(winner);
}

static void test_unix_race(void **state)
{
	char address[128];

	scratch_path(address, sizeof(address), "unix:", "race");
	for (int i = 0; i < 50; i++)
		race_once(address);
	unlink(address + 5);
}

static void test_inherited_listener(void **state)
{
	char address[128], bound[64], why[200];
	int fd = socket(AF_INET, SOCK_STREAM, 0), client, fds[2];

	assert_int_equal(listen(fd, 1), 0);
	snprintf(address, sizeof(address), "fd:%d", fd);
	assert_int_equal(vfm_listen(address, why, sizeof(why)), fd);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(vfm_accept(fd), -EAGAIN);
	assert_int_equal(vfm_listen_address(fd, bound, sizeof(bound)), 0);
	/* "any address" is one that can be connected to. */
	client = vfm_connect(bound, 5000, why, sizeof(why));
	assert_true(client >= 0);
	close(client);
	close(fd);
	pair_socketpair(fds);
	snprintf(address, sizeof(address), "fd:%d", fds[0]);
	assert_int_equal(vfm_listen(address, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "listening"));
	assert_true(is_open(fds[0]));
	close(fds[0]);
	close(fds[1]);
}

static int make_scratch(void **state)
{
	return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state)
{
	return rmdir(scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transfer),
		cmocka_unit_test(test_nothing_to_transfer),
		cmocka_unit_test(test_peer_gone),
		cmocka_unit_test(test_shutdown_wakes),
		cmocka_unit_test(test_shutdown_hides_data),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_wrong_fd),
		cmocka_unit_test(test_no_fault),
		cmocka_unit_test(test_cut_send),
		cmocka_unit_test(test_cut_recv),
		cmocka_unit_test(test_cut_wakes_receiver),
		cmocka_unit_test(test_corrupt),
		cmocka_unit_test(test_corrupt_before_cut),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_fault_shutdown),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_long_address),
		cmocka_unit_test(test_connected_set_up),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_connect_timeout_tcp),
		cmocka_unit_test(test_connect_timeout_unix),
		cmocka_unit_test(test_inherited_connection),
		cmocka_unit_test(test_accept_none),
		cmocka_unit_test(test_listen_address),
		cmocka_unit_test(test_port_in_use),
		cmocka_unit_test(test_unix_is_owners),
		cmocka_unit_test(test_unix_in_use),
		cmocka_unit_test(test_unix_keeps_others),
		cmocka_unit_test(test_unix_directory),
		cmocka_unit_test(test_unix_race),
		cmocka_unit_test(test_inherited_listener),
	};

	return cmocka_run_group_tests_name("channel", tests, make_scratch, remove_scratch);
}
