/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/compiler.h"
#include "tests/fake-vfio-user.h"

unsigned char fake_stream_byte(size_t at)
{
	return (unsigned char)(at * 131 + (at >> 8) * 7 + (at >> 16));
}

/* ---- messages ---- */

static void send_all(int fd, const void *bytes, size_t len, const int *fds, unsigned count)
{
	char control[CMSG_SPACE(VFM_VFIO_USER_FDS_LIMIT * sizeof(int))]
		__attribute__((aligned(__alignof__(struct cmsghdr)))) = {0};
	struct iovec iov = {(void *)bytes, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;

	if (count) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)),
							.cmsg_level = SOL_SOCKET,
							.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, count * sizeof(int));
	}
	while (iov.iov_len) {
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		iov.iov_base = (char *)iov.iov_base + sent;
		iov.iov_len -= (size_t)sent;
		msg.msg_controllen = 0;
	}
}

void fake_send(struct fake *fake, const void *bytes, size_t len)
{
	send_all(fake->fd, bytes, len, NULL, 0);
}

static void reply(struct fake *fake, const struct fake_message *msg, int error,
		  const void *payload, size_t len, const int *fds, unsigned count)
{
	struct vfm_vfio_user_header header = {
		.id = msg->header.id,
		.command = msg->header.command,
		.size = (uint32_t)(sizeof(header) + len),
		.flags = VFM_VFIO_USER_TYPE_REPLY | (error ? VFM_VFIO_USER_FLAG_ERROR : 0),
		.error = (uint32_t)error,
	};
	unsigned char *bytes;

	if (msg->header.flags & VFM_VFIO_USER_FLAG_NO_REPLY)
		return;
	bytes = malloc(sizeof(header) + len);
	memcpy(bytes, &header, sizeof(header));
	if (len)
		memcpy(bytes + sizeof(header), payload, len);
	send_all(fake->fd, bytes, sizeof(header) + len, fds, count);
	free(bytes);
}

void fake_reply(struct fake *fake, const struct fake_message *msg, int error, const void *payload,
		size_t len)
{
	reply(fake, msg, error, payload, len, NULL, 0);
}

void fake_reply_fds(struct fake *fake, const struct fake_message *msg, const void *payload,
		    size_t len, const int *fds, unsigned count)
{
	reply(fake, msg, 0, payload, len, fds, count);
}

static void take_fds(struct fake_message *msg, struct msghdr *got)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(got); c; c = CMSG_NXTHDR(got, c)) {
		unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		memcpy(msg->fds + msg->fd_count, CMSG_DATA(c), count * sizeof(int));
		msg->fd_count += count;
	}
}

static bool receive_all(struct fake *fake, struct fake_message *msg, void *buf, size_t len)
{
	char control[CMSG_SPACE(VFM_VFIO_USER_FDS_LIMIT * sizeof(int))]
		__attribute__((aligned(__alignof__(struct cmsghdr))));
	struct iovec iov = {buf, len};
	ssize_t got;

	while (iov.iov_len) {
		struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				     .msg_controllen = sizeof(control)};

		got = recvmsg(fake->fd, &hdr, MSG_CMSG_CLOEXEC);
		if (got <= 0)
			return false;
		take_fds(msg, &hdr);
		iov.iov_base = (char *)iov.iov_base + got;
		iov.iov_len -= (size_t)got;
	}
	return true;
}

bool fake_receive(struct fake *fake, struct fake_message *msg)
{
	msg->fd_count = 0;
	if (!receive_all(fake, msg, &msg->header, sizeof(msg->header)))
		return false;
	msg->len = msg->header.size - sizeof(msg->header);
	return msg->len <= FAKE_MESSAGE_MAX && receive_all(fake, msg, msg->payload, msg->len);
}

void fake_keep(struct fake *fake, const struct fake_message *msg)
{
	unsigned char *payload = fake->kept.payload;

	fake->kept = *msg;
	fake->kept.payload = payload;
	memcpy(payload, msg->payload, msg->len);
	fake->has_kept = true;
}

void fake_die(struct fake *fake)
{
	shutdown(fake->fd, SHUT_RDWR);
}

/* ---- the device ---- */

static void serve_version(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_version version = {fake->major, VFM_VFIO_USER_MINOR};
	char buf[VFM_VFIO_USER_VERSION_DATA_MAX];
	size_t len = fake->version ? strlen(fake->version) + 1 : 0;

	memcpy(buf, &version, sizeof(version));
	if (len)
		memcpy(buf + sizeof(version), fake->version, len);
	fake_reply(fake, msg, 0, buf, sizeof(version) + len);
}

static void serve_device_info(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_device_info info = {sizeof(info),
						 VFM_DEVICE_FLAG_RESET | VFM_DEVICE_FLAG_PCI,
						 VFM_PCI_NUM_REGIONS, VFM_PCI_NUM_IRQS};

	fake_reply(fake, msg, 0, &info, sizeof(info));
}

/* BAR0 has a sparse area and an fd; the configuration space has neither. */
static void serve_region_info(struct fake *fake, struct fake_message *msg)
{
	struct __attribute__((packed)) {
		struct vfm_vfio_user_region_info info;
		struct vfm_region_cap_type type;
		struct vfm_region_cap_sparse sparse;
		struct vfm_region_sparse_area area;
	} all = {.type = {{VFM_REGION_CAP_TYPE, 1, 48}, 7, 9},
		 .sparse = {{VFM_REGION_CAP_SPARSE_MMAP, 1, 0}, 1, 0},
		 .area = {4096, 8192}};
	int fd;

	memcpy(&all.info, msg->payload, sizeof(all.info));
	all.info.argsz = sizeof(all.info);
	all.info.flags = VFM_REGION_INFO_READ | VFM_REGION_INFO_WRITE;
	all.info.size = all.info.index == VFM_PCI_CONFIG_REGION ? FAKE_CONFIG_SIZE : 0;
	if (all.info.index != VFM_PCI_BAR0_REGION) {
		fake_reply(fake, msg, 0, &all.info, sizeof(all.info));
		return;
	}
	all.info.argsz = sizeof(all);
	all.info.flags |= VFM_REGION_INFO_MMAP | VFM_REGION_INFO_CAPS;
	all.info.size = FAKE_BAR0_SIZE;
	all.info.cap_offset = sizeof(all.info);
	fd = memfd_create("bar0", MFD_CLOEXEC);
	fake_reply_fds(fake, msg, &all, sizeof(all), &fd, 1);
	close(fd);
}

static void serve_irq_info(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_irq_info info;

	memcpy(&info, msg->payload, sizeof(info));
	info.flags = VFM_IRQ_INFO_EVENTFD | VFM_IRQ_INFO_NORESIZE;
	info.count = info.index == VFM_PCI_MSIX_IRQ ? FAKE_IRQS : 0;
	fake_reply(fake, msg, 0, &info, sizeof(info));
}

static void trigger(int fd)
{
	uint64_t one = 1;

	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		abort();
}

static void connect_irq(struct fake *fake, uint32_t irq, int fd)
{
	if (fake->irq_fds[irq] >= 0)
		close(fake->irq_fds[irq]);
	fake->irq_fds[irq] = fd;
}

static void serve_set_irqs(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_irq_set set;

	memcpy(&set, msg->payload, sizeof(set));
	fake->set_irqs++;
	if (set.start + set.count > FAKE_IRQS || (msg->fd_count && msg->fd_count != set.count)) {
		fake_reply(fake, msg, EINVAL, NULL, 0);
		return;
	}
	for (uint32_t i = 0; i < set.count; i++) {
		if (set.flags & VFM_IRQ_SET_DATA_EVENTFD)
			connect_irq(fake, set.start + i, msg->fd_count ? msg->fds[i] : -1);
		else if (set.flags & VFM_IRQ_SET_DATA_NONE || msg->payload[sizeof(set) + i])
			trigger(fake->irq_fds[set.start + i]);
	}
	if (set.flags & VFM_IRQ_SET_DATA_EVENTFD)
		msg->fd_count = 0;
	fake_reply(fake, msg, 0, NULL, 0);
}

static unsigned char *region(struct fake *fake, const struct vfm_vfio_user_region_rw *rw)
{
	if (rw->region == VFM_PCI_CONFIG_REGION && rw->offset + rw->count <= FAKE_CONFIG_SIZE)
		return fake->config + rw->offset;
	if (rw->region == VFM_PCI_BAR0_REGION && rw->offset + rw->count <= FAKE_BAR0_SIZE)
		return fake->bar0 + rw->offset;
	return NULL;
}

static void serve_region_rw(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_region_rw rw;
	unsigned char buf[sizeof(rw) + FAKE_BAR0_SIZE];
	unsigned char *at;

	memcpy(&rw, msg->payload, sizeof(rw));
	at = region(fake, &rw);
	if (!at) {
		fake_reply(fake, msg, EINVAL, NULL, 0);
		return;
	}
	memcpy(buf, &rw, sizeof(rw));
	if (msg->header.command == VFM_VFIO_USER_REGION_READ) {
		memcpy(buf + sizeof(rw), at, rw.count);
		fake_reply(fake, msg, 0, buf, sizeof(rw) + rw.count);
	} else {
		memcpy(at, msg->payload + sizeof(rw), rw.count);
		fake_reply(fake, msg, 0, buf, sizeof(rw));
	}
}

static void serve_write_multi(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_write_multi head;
	struct vfm_vfio_user_write_one one;

	memcpy(&head, msg->payload, sizeof(head));
	for (uint64_t i = 0; i < head.count; i++) {
		memcpy(&one, msg->payload + sizeof(head) + i * sizeof(one), sizeof(one));
		memcpy(fake->bar0 + one.offset,
		       (char *)&one + offsetof(struct vfm_vfio_user_write_one, data), one.count);
	}
	fake_reply(fake, msg, 0, &head, sizeof(head));
}

static void serve_map(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_dma_map *map = &fake->maps[fake->map_count++];

	memcpy(map, msg->payload, sizeof(*map));
	fake_reply(fake, msg, 0, NULL, 0);
}

static void serve_unmap(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_dma_unmap unmap;

	memcpy(&unmap, msg->payload, sizeof(unmap));
	for (unsigned i = 0; i < fake->map_count; i++)
		if (fake->maps[i].addr == unmap.addr && fake->maps[i].size == unmap.size) {
			fake->maps[i] = fake->maps[--fake->map_count];
			fake_reply(fake, msg, 0, &unmap, sizeof(unmap));
			return;
		}
	fake_reply(fake, msg, ENOENT, NULL, 0);
}

static bool in_one_map(const struct fake *fake, uint64_t iova, uint64_t len)
{
	for (unsigned i = 0; i < fake->map_count; i++)
		if (iova >= fake->maps[i].addr && iova + len <= fake->maps[i].addr +
								     fake->maps[i].size)
			return true;
	return false;
}

/* Every third page, counted from address 0, is dirty. */
static void serve_report(struct fake *fake, struct fake_message *msg)
{
	struct {
		struct vfm_vfio_user_feature head;
		struct vfm_vfio_user_logging_report report;
	} ask;
	static unsigned char buf[FAKE_MESSAGE_MAX];
	uint64_t pages;

	memcpy(&ask, msg->payload, sizeof(ask));
	if (!fake->logging || !in_one_map(fake, ask.report.iova, ask.report.length)) {
		fake_reply(fake, msg, ENOENT, NULL, 0);
		return;
	}
	pages = ask.report.length / ask.report.page_size;
	memset(buf, 0, sizeof(ask) + (pages + 63) / 64 * 8);
	memcpy(buf, &ask, sizeof(ask));
	for (uint64_t i = 0; i < pages; i++)
		if ((ask.report.iova / ask.report.page_size + i) % 3 == 0)
			buf[sizeof(ask) + i / 8] |= (unsigned char)(1 << i % 8);
	fake_reply(fake, msg, 0, buf, sizeof(ask) + (pages + 63) / 64 * 8);
}

static void serve_get(struct fake *fake, struct fake_message *msg, uint32_t index)
{
	struct {
		struct vfm_vfio_user_feature head;
		union {
			struct vfm_vfio_user_migration migration;
			struct vfm_vfio_user_mig_state state;
			struct vfm_vfio_user_data_size size;
			struct vfm_vfio_user_precopy_info precopy;
		} u;
	} answer = {.head.flags = index | VFM_FEATURE_GET};
	size_t len = sizeof(answer.head);

	if (index == VFM_FEATURE_MIGRATION && fake->mig_flags) {
		answer.u.migration.flags = fake->mig_flags;
		len += sizeof(answer.u.migration);
	} else if (index == VFM_FEATURE_MIG_DEVICE_STATE && fake->mig_flags) {
		answer.u.state.device_state = fake->state;
		len += sizeof(answer.u.state);
	} else if (index == VFM_FEATURE_MIG_DATA_SIZE) {
		answer.u.size.stop_copy_length = fake->data_size;
		len += sizeof(answer.u.size);
	} else if (index == VFM_VFIO_USER_FEATURE_PRECOPY_INFO &&
		   fake->state == VFM_STATE_PRE_COPY) {
		answer.u.precopy.flags = fake->precopy_flags;
		answer.u.precopy.initial_bytes = 1000;
		answer.u.precopy.dirty_bytes = 2000;
		len += sizeof(answer.u.precopy);
	} else {
		fake_reply(fake, msg, EINVAL, NULL, 0);
		return;
	}
	answer.head.argsz = (uint32_t)len;
	fake_reply(fake, msg, 0, &answer, len);
}

static void serve_set(struct fake *fake, struct fake_message *msg, uint32_t index)
{
	struct vfm_vfio_user_mig_state state;
	struct vfm_vfio_user_logging_control control;

	if (index == VFM_FEATURE_MIG_DEVICE_STATE) {
		memcpy(&state, msg->payload + sizeof(struct vfm_vfio_user_feature), sizeof(state));
		fake->state = state.device_state;
		fake->stream_pos = 0;
		fake->sink_len = 0;
	} else if (index == VFM_FEATURE_DMA_LOGGING_START) {
		fake->logging = true;
		memcpy(&control, msg->payload + sizeof(struct vfm_vfio_user_feature),
		       sizeof(control));
		if (fake->log_page_size)
			control.page_size = fake->log_page_size;
		memcpy(msg->payload + sizeof(struct vfm_vfio_user_feature), &control,
		       sizeof(control));
	} else if (index == VFM_FEATURE_DMA_LOGGING_STOP) {
		fake->logging = false;
	} else if (index == VFM_FEATURE_MIG_PRECOPY_INFOV2) {
		fake->optin = true;
	} else {
		fake_reply(fake, msg, EINVAL, NULL, 0);
		return;
	}
	fake_reply(fake, msg, 0, msg->payload, msg->len);
}

static void serve_feature(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_feature head;
	uint32_t index;

	memcpy(&head, msg->payload, sizeof(head));
	index = head.flags & VFM_FEATURE_MASK;
	if (head.flags & VFM_FEATURE_PROBE) {
		bool known = index >= VFM_FEATURE_DMA_LOGGING_START &&
			     index <= VFM_FEATURE_DMA_LOGGING_REPORT && !fake->no_logging;

		fake_reply(fake, msg, known ? 0 : EINVAL, &head, known ? sizeof(head) : 0);
	} else if (index == VFM_FEATURE_DMA_LOGGING_REPORT) {
		serve_report(fake, msg);
	} else if (head.flags & VFM_FEATURE_GET) {
		serve_get(fake, msg, index);
	} else {
		serve_set(fake, msg, index);
	}
}

static void serve_data_read(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_mig_data head;
	unsigned char *buf;
	size_t left = fake->stream_len - fake->stream_pos;
	uint32_t asked;

	memcpy(&head, msg->payload, sizeof(head));
	asked = head.size;
	head.size = (uint32_t)MIN(left, (size_t)asked);
	head.argsz = (uint32_t)sizeof(head) + head.size;
	buf = malloc(sizeof(head) + asked);
	memset(buf, 0xee, sizeof(head) + asked);
	memcpy(buf, &head, sizeof(head));
	for (uint32_t i = 0; i < head.size; i++)
		buf[sizeof(head) + i] = fake_stream_byte(fake->stream_pos++);
	fake_reply(fake, msg, 0, buf, sizeof(head) + (fake->pad ? asked : head.size));
	free(buf);
}

static void serve_data_write(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_mig_data head;

	memcpy(&head, msg->payload, sizeof(head));
	if (fake->sink_len + head.size > FAKE_STREAM_MAX || head.size != msg->len - sizeof(head)) {
		fake_reply(fake, msg, ENOMEM, NULL, 0);
		return;
	}
	memcpy(fake->sink + fake->sink_len, msg->payload + sizeof(head), head.size);
	fake->sink_len += head.size;
	fake_reply(fake, msg, 0, NULL, 0);
}

static void serve_reset(struct fake *fake, struct fake_message *msg)
{
	fake->state = VFM_STATE_RUNNING;
	fake->resets++;
	fake_reply(fake, msg, 0, NULL, 0);
}

static void (*const commands[])(struct fake *, struct fake_message *) = {
	[VFM_VFIO_USER_VERSION] = serve_version,
	[VFM_VFIO_USER_DMA_MAP] = serve_map,
	[VFM_VFIO_USER_DMA_UNMAP] = serve_unmap,
	[VFM_VFIO_USER_DEVICE_GET_INFO] = serve_device_info,
	[VFM_VFIO_USER_DEVICE_GET_REGION_INFO] = serve_region_info,
	[VFM_VFIO_USER_DEVICE_GET_IRQ_INFO] = serve_irq_info,
	[VFM_VFIO_USER_DEVICE_SET_IRQS] = serve_set_irqs,
	[VFM_VFIO_USER_REGION_READ] = serve_region_rw,
	[VFM_VFIO_USER_REGION_WRITE] = serve_region_rw,
	[VFM_VFIO_USER_DEVICE_RESET] = serve_reset,
	[VFM_VFIO_USER_REGION_WRITE_MULTI] = serve_write_multi,
	[VFM_VFIO_USER_DEVICE_FEATURE] = serve_feature,
	[VFM_VFIO_USER_MIG_DATA_READ] = serve_data_read,
	[VFM_VFIO_USER_MIG_DATA_WRITE] = serve_data_write,
};

static bool refused_when_stopped(const struct fake *fake, uint16_t command)
{
	if (!fake->strict_stop ||
	    (fake->state != VFM_STATE_STOP && fake->state != VFM_STATE_STOP_COPY))
		return false;
	return command != VFM_VFIO_USER_VERSION && command != VFM_VFIO_USER_REGION_READ &&
	       command != VFM_VFIO_USER_REGION_WRITE && command != VFM_VFIO_USER_DEVICE_FEATURE &&
	       command != VFM_VFIO_USER_MIG_DATA_READ;
}

void fake_serve(struct fake *fake, struct fake_message *msg)
{
	uint16_t command = msg->header.command;

	if (refused_when_stopped(fake, command))
		fake_reply(fake, msg, EINVAL, NULL, 0);
	else if (command < ARRAY_SIZE(commands) && commands[command])
		commands[command](fake, msg);
	else
		fake_reply(fake, msg, EOPNOTSUPP, NULL, 0);
}

static void close_fds(struct fake_message *msg)
{
	for (unsigned i = 0; i < msg->fd_count; i++)
		close(msg->fds[i]);
	msg->fd_count = 0;
}

static void *serve(void *arg)
{
	struct fake *fake = arg;
	struct fake_message msg = {.payload = malloc(FAKE_MESSAGE_MAX)};

	while (fake_receive(fake, &msg)) {
		fake->requests++;
		if (!fake->hook || !fake->hook(fake, &msg))
			fake_serve(fake, &msg);
		close_fds(&msg);
	}
	close_fds(&msg);
	free(msg.payload);
	fake_die(fake);
	return NULL;
}

/* ---- life ---- */

void fake_init(struct fake *fake)
{
	int fds[2];

	memset(fake, 0, sizeof(*fake));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	fake->client_fd = fds[0];
	fake->fd = fds[1];
	fake->major = VFM_VFIO_USER_MAJOR;
	fake->version = "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,"
			"\"write_multiple\":true,\"vfio_migrate\":{\"version\":1,\"p2p\":true,"
			"\"data_size\":true,\"precopy_info\":true,\"reinit\":true}}}";
	fake->mig_flags = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY;
	fake->state = VFM_STATE_RUNNING;
	fake->data_size = 12345;
	fake->sink = malloc(FAKE_STREAM_MAX);
	fake->kept.payload = malloc(FAKE_MESSAGE_MAX);
	assert_non_null(fake->sink);
	assert_non_null(fake->kept.payload);
	for (unsigned i = 0; i < FAKE_IRQS; i++)
		fake->irq_fds[i] = -1;
	memcpy(fake->config, (const unsigned char[]){0x34, 0x12, 0x78, 0x56}, 4);
	memcpy(fake->config + 0x2c, (const unsigned char[]){0xf4, 0x1a, 0x01, 0x11}, 4);
	assert_int_equal(sem_init(&fake->seen, 0, 0), 0);
}

void fake_start(struct fake *fake)
{
	assert_int_equal(pthread_create(&fake->thread, NULL, serve, fake), 0);
}

void fake_stop(struct fake *fake)
{
	pthread_join(fake->thread, NULL);
	close(fake->fd);
	for (unsigned i = 0; i < FAKE_IRQS; i++)
		if (fake->irq_fds[i] >= 0)
			close(fake->irq_fds[i]);
	sem_destroy(&fake->seen);
	free(fake->sink);
	free(fake->kept.payload);
}

struct vfm_vfio_user *fake_client(struct fake *fake, const struct vfm_vfio_user_options *options)
{
	struct vfm_vfio_user *client = NULL;
	char why[VFM_VFIO_USER_WHY_MAX];
	int ret = vfm_vfio_user_new(fake->client_fd, options, &client, why, sizeof(why));

	if (ret)
		print_error("no client: %s\n", why);
	assert_int_equal(ret, 0);
	return client;
}
