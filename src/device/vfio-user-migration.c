/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device features and migration data. What the server does not carry is answered here, without
 * asking it: a feature of the extension is used only where both ends announced it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vfio-migrate/device.h>
#include "base/checked.h"
#include "base/cleanup.h"
#include "device/vfio-user-client.h"

/* ---- features ---- */

VFM_API int vfm_vfio_user_feature(struct vfm_vfio_user *client, uint32_t flags, const void *in,
				  size_t in_len, void *out, size_t out_max, size_t *out_len)
{
	struct vfm_vfio_user_feature ask = {.flags = flags};
	struct vfm_vfio_user_feature head;
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DEVICE_FEATURE,
		.cancellable = true,
		.timeout_ms = client->options.transition_timeout_ms,
		.out = {{&ask, sizeof(ask)}, {(void *)in, in_len}},
		.reply = &head, .reply_max = sizeof(head),
		.data = out, .data_max = out_max,
		/* A reply to SET repeats the request. */
		.slack = in_len > out_max ? in_len - out_max : 0,
	};
	size_t most = VFM_VFIO_USER_FIXED_MAX + client->agreed.max_data_xfer;
	int ret;

	if (in_len > VFM_VFIO_USER_FIXED_MAX - sizeof(ask) || out_max > most - sizeof(ask))
		return -EINVAL;
	ask.argsz = (uint32_t)(sizeof(ask) + MAX(in_len, out_max));
	if ((flags & VFM_FEATURE_GET) && !(flags & VFM_FEATURE_PROBE))
		call.reply_min = sizeof(head);
	ret = vfio_user_call(client, &call);
	if (ret < 0)
		return ret;
	if (out_len)
		*out_len = call.reply_size > sizeof(head)
				   ? MIN(call.reply_size - sizeof(head), out_max)
				   : 0;
	return 0;
}

/* GET a payload of exactly @size bytes. */
static int get_feature(struct vfm_vfio_user *client, uint32_t index, void *out, size_t size)
{
	size_t got;
	int ret = vfm_vfio_user_feature(client, index | VFM_FEATURE_GET, NULL, 0, out, size, &got);

	if (ret < 0)
		return ret;
	if (got != size)
		return vfio_user_lose(client, "feature %u with %zu bytes where %zu are due", index,
				      got, size);
	return 0;
}

/* Servers answer EINVAL for what they do not know, kernels ENOTTY. */
static bool is_unsupported(int ret)
{
	return ret == -EINVAL || ret == -ENOTTY || ret == -EOPNOTSUPP || ret == -ENOSYS;
}

VFM_API int vfm_vfio_user_feature_probe(struct vfm_vfio_user *client, uint32_t flags)
{
	int ret = vfm_vfio_user_feature(client, flags | VFM_FEATURE_PROBE, NULL, 0, NULL, 0, NULL);

	if (!ret)
		return 1;
	return is_unsupported(ret) ? 0 : ret;
}

VFM_API int vfm_vfio_user_get_mig_flags(struct vfm_vfio_user *client, uint32_t *flags)
{
	struct vfm_vfio_user_migration migration;
	int ret = get_feature(client, VFM_FEATURE_MIGRATION, &migration, sizeof(migration));

	*flags = 0;
	if (is_unsupported(ret))
		return 0;
	if (ret < 0)
		return ret;
	*flags = (uint32_t)migration.flags &
		 (VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY);
	if (!(client->agreed.ext & VFM_VFIO_USER_EXT_P2P))
		*flags &= ~(uint32_t)VFM_MIG_P2P;
	return 0;
}

VFM_API int vfm_vfio_user_get_mig_state(struct vfm_vfio_user *client, enum vfm_state *state)
{
	struct vfm_vfio_user_mig_state got;
	int ret = get_feature(client, VFM_FEATURE_MIG_DEVICE_STATE, &got, sizeof(got));

	if (ret < 0)
		return ret;
	if (got.device_state >= VFM_STATE_COUNT)
		return -EPROTO;
	*state = (enum vfm_state)got.device_state;
	return 0;
}

VFM_API int vfm_vfio_user_set_mig_state(struct vfm_vfio_user *client, enum vfm_state state)
{
	struct vfm_vfio_user_mig_state set = {.device_state = state, .data_fd = UINT32_MAX};

	return vfm_vfio_user_feature(client, VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET, &set,
				     sizeof(set), NULL, 0, NULL);
}

/* ---- data ---- */

/* One data request at a time: more would make MMIO wait longer, and mix up the stream. */
static int data_begin(struct vfm_vfio_user *client)
{
	int ret = 0;

	pthread_mutex_lock(&client->lock);
	if (client->data_busy)
		ret = -EBUSY;
	else if (client->held)
		ret = -ECANCELED;
	else
		client->data_busy = true;
	pthread_mutex_unlock(&client->lock);
	return ret;
}

static void data_end(struct vfm_vfio_user *client)
{
	pthread_mutex_lock(&client->lock);
	client->data_busy = false;
	pthread_mutex_unlock(&client->lock);
}

/* Only the size field is true: the reply may be padded up to what was asked for. */
static ssize_t read_chunk(struct vfm_vfio_user *client, void *buf, uint32_t len)
{
	struct vfm_vfio_user_mig_data ask = {.argsz = (uint32_t)sizeof(ask) + len, .size = len};
	struct vfm_vfio_user_mig_data head;
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_MIG_DATA_READ,
		.cancellable = true, .is_stream = true,
		.timeout_ms = client->options.transition_timeout_ms,
		.out = {{&ask, sizeof(ask)}},
		.reply = &head, .reply_min = sizeof(head), .reply_max = sizeof(head),
		.data = buf, .data_max = len,
	};
	int ret = vfio_user_call(client, &call);

	if (ret < 0)
		return ret;
	if (head.size > len || head.size > call.reply_size - sizeof(head))
		return vfio_user_lose(client, "%u bytes of data announced, %zu sent, %u asked for",
				      head.size, call.reply_size - sizeof(head), len);
	return (ssize_t)head.size;
}

VFM_API ssize_t vfm_vfio_user_mig_data_read(struct vfm_vfio_user *client, void *buf, size_t len)
{
	ssize_t ret = data_begin(client);

	if (ret < 0)
		return ret;
	ret = read_chunk(client, buf, (uint32_t)MIN(len, (size_t)client->agreed.data_chunk));
	data_end(client);
	return ret;
}

static int write_chunk(struct vfm_vfio_user *client, const void *buf, uint32_t len)
{
	struct vfm_vfio_user_mig_data head = {.argsz = (uint32_t)sizeof(head) + len, .size = len};
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_MIG_DATA_WRITE,
		.cancellable = true, .is_stream = true,
		.timeout_ms = client->options.transition_timeout_ms,
		.out = {{&head, sizeof(head)}, {(void *)buf, len}},
		.slack = sizeof(head),
	};

	return vfio_user_call(client, &call);
}

VFM_API int vfm_vfio_user_mig_data_write(struct vfm_vfio_user *client, const void *buf, size_t len)
{
	const unsigned char *at = buf;
	uint32_t part;
	int ret = data_begin(client);

	if (ret < 0)
		return ret;
	for (; len && !ret; len -= part, at += part) {
		part = (uint32_t)MIN(len, (size_t)client->agreed.data_chunk);
		ret = write_chunk(client, at, part);
	}
	data_end(client);
	return ret;
}

/* ---- sizes ---- */

VFM_API int vfm_vfio_user_get_data_size(struct vfm_vfio_user *client, uint64_t *size)
{
	struct vfm_vfio_user_data_size got;
	int ret;

	*size = VFM_SIZE_UNKNOWN;
	if (!(client->agreed.ext & VFM_VFIO_USER_EXT_DATA_SIZE))
		return 0;
	ret = get_feature(client, VFM_FEATURE_MIG_DATA_SIZE, &got, sizeof(got));
	if (ret < 0)
		return ret;
	if (got.stop_copy_length > INT64_MAX)
		return -EIO;
	*size = got.stop_copy_length;
	return 0;
}

static bool opted_in(struct vfm_vfio_user *client)
{
	bool optin;

	pthread_mutex_lock(&client->lock);
	optin = client->optin;
	pthread_mutex_unlock(&client->lock);
	return optin;
}

VFM_API int vfm_vfio_user_get_precopy_info(struct vfm_vfio_user *client,
					   struct vfm_precopy_info *info)
{
	struct vfm_vfio_user_precopy_info got;
	int ret;

	if (!(client->agreed.ext & VFM_VFIO_USER_EXT_PRECOPY_INFO))
		return -EOPNOTSUPP;
	ret = get_feature(client, VFM_VFIO_USER_FEATURE_PRECOPY_INFO, &got, sizeof(got));
	if (ret < 0)
		return ret;
	info->argsz = sizeof(*info);
	info->flags = opted_in(client) ? got.flags : 0;
	info->initial_bytes = got.initial_bytes;
	info->dirty_bytes = got.dirty_bytes;
	return 0;
}

VFM_API int vfm_vfio_user_optin_precopy_info(struct vfm_vfio_user *client)
{
	int ret;

	if (!(client->agreed.ext & VFM_VFIO_USER_EXT_REINIT))
		return -EOPNOTSUPP;
	ret = vfm_vfio_user_feature(client, VFM_FEATURE_MIG_PRECOPY_INFOV2 | VFM_FEATURE_SET, NULL,
				    0, NULL, 0, NULL);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&client->lock);
	client->optin = true;
	pthread_mutex_unlock(&client->lock);
	return 0;
}

/* ---- dirty logging ---- */

VFM_API int vfm_vfio_user_log_start(struct vfm_vfio_user *client,
				    const struct vfm_vfio_user_logging_range *ranges,
				    unsigned count, uint64_t *page_size)
{
	struct vfm_vfio_user_logging_control control = {.page_size = *page_size,
							.num_ranges = count};
	size_t size = sizeof(control) + count * sizeof(*ranges);
	CLEANUP(cleanup_free) unsigned char *buf = NULL;
	struct vfm_vfio_user_logging_control taken;
	size_t got;
	int ret;

	if (count > VFM_VFIO_USER_LOG_RANGES_MAX || !is_power_of_two(*page_size))
		return -EINVAL;
	buf = malloc(size);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, &control, sizeof(control));
	if (count)
		memcpy(buf + sizeof(control), ranges, count * sizeof(*ranges));
	ret = vfm_vfio_user_feature(client, VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET, buf,
				    size, &taken, sizeof(taken), &got);
	if (ret < 0 || got < sizeof(taken))
		return ret;
	if (!is_power_of_two(taken.page_size))
		return vfio_user_lose(client, "dirty logging in pages of %llu bytes",
				      (unsigned long long)taken.page_size);
	*page_size = taken.page_size;
	return 0;
}

VFM_API int vfm_vfio_user_log_stop(struct vfm_vfio_user *client)
{
	return vfm_vfio_user_feature(client, VFM_FEATURE_DMA_LOGGING_STOP | VFM_FEATURE_SET, NULL,
				     0, NULL, 0, NULL);
}

/* A report under way: the whole range, and room for the reply to one question. */
struct report {
	uint64_t iova;
	uint64_t page_size;
	uint64_t *bitmap;  /* of the whole range */
	uint64_t *buf;     /* a struct vfm_vfio_user_logging_report, then the bits */
	uint64_t most;     /* bytes of memory that one question may ask for */
};

#define REPORT_HEAD (sizeof(struct vfm_vfio_user_logging_report) / sizeof(uint64_t))

/* OR @pages bits of @bits into @bitmap from bit @first on; bits behind the last are ignored. */
static void or_bits(uint64_t *bitmap, uint64_t first, const uint64_t *bits, uint64_t pages)
{
	for (uint64_t i = 0; i * 64 < pages; i++) {
		uint64_t left = pages - i * 64;
		uint64_t word = left < 64 ? bits[i] & ((UINT64_C(1) << left) - 1) : bits[i];
		uint64_t at = first + i * 64;
		unsigned shift = at % 64;

		if (!word)
			continue;
		bitmap[at / 64] |= word << shift;
		if (shift && word >> (64 - shift))
			bitmap[at / 64 + 1] |= word >> (64 - shift);
	}
}

/* [iova, iova + size) is inside one mapping and not above report->most. */
static int report_one(struct vfm_vfio_user *client, const struct report *report, uint64_t iova,
		      uint64_t size)
{
	struct vfm_vfio_user_logging_report ask = {
		.iova = iova, .length = size, .page_size = report->page_size};
	uint64_t pages = size / report->page_size;
	size_t words = (size_t)div_round_up(pages, 64);
	size_t want = sizeof(ask) + words * sizeof(uint64_t);
	size_t got;
	int ret = vfm_vfio_user_feature(client, VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET,
					&ask, sizeof(ask), report->buf, want, &got);

	if (ret < 0)
		return ret;
	if (got != want)
		return vfio_user_lose(client, "a dirty log of %zu bytes where %zu are due", got,
				      want);
	or_bits(report->bitmap, (iova - report->iova) / report->page_size,
		report->buf + REPORT_HEAD, pages);
	return 0;
}

static int report_piece(struct vfm_vfio_user *client, const struct report *report,
			const struct vfio_user_map *piece)
{
	uint64_t part;
	int ret = 0;

	if (!is_aligned(piece->iova - report->iova, report->page_size) ||
	    !is_aligned(piece->size, report->page_size))
		return -EINVAL;
	for (uint64_t done = 0; done < piece->size && !ret; done += part) {
		part = MIN(piece->size - done, report->most);
		ret = report_one(client, report, piece->iova + done, part);
	}
	return ret;
}

VFM_API int vfm_vfio_user_log_report(struct vfm_vfio_user *client, uint64_t iova, uint64_t size,
				     uint64_t page_size, uint64_t *bitmap)
{
	/* Half a transfer of bits: servers count their head into the limit. */
	size_t bytes = client->agreed.max_data_xfer / 2 & ~(size_t)7;
	CLEANUP(cleanup_free) uint64_t *buf = NULL;
	struct report report = {.iova = iova, .page_size = page_size, .bitmap = bitmap};
	struct vfio_user_map piece;
	uint64_t done = 0;
	int ret = 0;

	if (!is_power_of_two(page_size) || !is_aligned(size, page_size) ||
	    !checked_mul_u64(bytes * 8, page_size, &report.most))
		return -EINVAL;
	bytes = (size_t)MIN(bytes, div_round_up(size / page_size, 64) * 8);
	report.buf = buf = malloc(sizeof(uint64_t) * REPORT_HEAD + bytes);
	if (!buf)
		return -ENOMEM;
	while (done < size && !ret &&
	       vfio_user_next_mapped(client, iova + done, size - done, &piece)) {
		if (piece.flags & VFM_VFIO_USER_DMA_WRITEABLE)
			ret = report_piece(client, &report, &piece);
		done = piece.iova + piece.size - iova;
	}
	return ret;
}
