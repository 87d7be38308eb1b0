/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/format.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <xxhash.h>
#include "base/checked.h"
#include "base/compiler.h"
#include "fsm/fsm.h"
#include "wire/text.h"

uint64_t file_digest(const void *data, size_t size, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, size, seed);
}

static uint64_t header_check(const struct file_header *header)
{
	return file_digest(header, offsetof(struct file_header, check), 0);
}

static uint64_t chunk_check(const struct file_chunk *chunk, uint64_t seed)
{
	return file_digest(chunk, offsetof(struct file_chunk, check), seed);
}

uint64_t file_put_header(struct file_header *out, const struct vfm_identity *identity)
{
	uint64_t check;

	memset(out, 0, sizeof(*out));
	memcpy(out->magic, FILE_MAGIC, sizeof(out->magic));
	out->version = put_le16(FILE_VERSION);
	out->size = put_le32(sizeof(*out));
	out->mig_flags = put_le32(identity->mig_flags);
	out->flags = put_le32(identity->has_bars ? FILE_FLAG_BARS : 0);
	out->pci_vendor = put_le16(identity->pci_vendor);
	out->pci_device = put_le16(identity->pci_device);
	out->pci_subsystem_vendor = put_le16(identity->pci_subsystem_vendor);
	out->pci_subsystem = put_le16(identity->pci_subsystem);
	out->page_size = put_le64(identity->page_size);
	for (unsigned i = 0; i < VFM_BARS && identity->has_bars; i++)
		out->bar[i] = put_le64(identity->bar[i]);
	wire_put_field(out->backend, sizeof(out->backend), identity->backend);
	wire_put_field(out->driver, sizeof(out->driver), identity->driver);
	wire_put_field(out->type, sizeof(out->type), identity->type);
	wire_put_field(out->name, sizeof(out->name), identity->name);
	check = header_check(out);
	out->check = put_le64(check);
	return check;
}

static int get_texts(const struct file_header *in, struct vfm_identity *identity)
{
	if (wire_get_field(in->backend, sizeof(in->backend), identity->backend) ||
	    wire_get_field(in->driver, sizeof(in->driver), identity->driver) ||
	    wire_get_field(in->type, sizeof(in->type), identity->type) ||
	    wire_get_field(in->name, sizeof(in->name), identity->name))
		return -EBADMSG;
	return *identity->backend && *identity->name ? 0 : -EBADMSG;
}

static int get_bars(const struct file_header *in, struct vfm_identity *identity)
{
	identity->has_bars = !!(get_le32(in->flags) & FILE_FLAG_BARS);
	for (unsigned i = 0; i < VFM_BARS; i++) {
		identity->bar[i] = get_le64(in->bar[i]);
		if (identity->bar[i] && !identity->has_bars)
			return -EBADMSG;
	}
	return 0;
}

static int validate(const struct file_header *in)
{
	uint32_t known = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY;
	uint64_t page_size = get_le64(in->page_size);
	uint32_t flags = get_le32(in->mig_flags);

	if (get_le16(in->reserved) || get_le32(in->size) != sizeof(*in) ||
	    get_le32(in->flags) & ~(uint32_t)FILE_FLAG_BARS)
		return -EBADMSG;
	if (flags & ~known || !(flags & VFM_MIG_STOP_COPY) || !fsm_caps_valid(flags))
		return -EBADMSG;
	return page_size && !is_power_of_two(page_size) ? -EBADMSG : 0;
}

int file_get_header(const struct file_header *in, struct vfm_identity *identity, uint64_t *seed)
{
	int ret;

	if (memcmp(in->magic, FILE_MAGIC, sizeof(in->magic)))
		return -EINVAL;
	if (get_le16(in->version) != FILE_VERSION)
		return -EPROTONOSUPPORT;
	*seed = get_le64(in->check);
	if (*seed != header_check(in))
		return -EBADMSG;
	ret = validate(in);
	if (ret)
		return ret;
	*identity = (struct vfm_identity){
		.size = sizeof(*identity),
		.mig_flags = get_le32(in->mig_flags),
		.pci_vendor = get_le16(in->pci_vendor),
		.pci_device = get_le16(in->pci_device),
		.pci_subsystem_vendor = get_le16(in->pci_subsystem_vendor),
		.pci_subsystem = get_le16(in->pci_subsystem),
		.page_size = get_le64(in->page_size),
	};
	ret = get_bars(in, identity);
	return ret ? ret : get_texts(in, identity);
}

void file_put_chunk(struct file_chunk *out, const struct file_chunk_head *head, uint64_t seed)
{
	*out = (struct file_chunk){
		.type = put_le32(head->type),
		.size = put_le32(head->size),
		.offset = put_le64(head->offset),
		.digest = put_le64(head->digest),
	};
	out->check = put_le64(chunk_check(out, seed));
}

int file_get_chunk(const struct file_chunk *in, uint64_t seed, uint64_t offset,
		   struct file_chunk_head *head)
{
	uint32_t type = get_le32(in->type);

	if (get_le64(in->check) != chunk_check(in, seed))
		return -EBADMSG;
	*head = (struct file_chunk_head){
		.type = (enum file_chunk_type)type,
		.size = get_le32(in->size),
		.offset = get_le64(in->offset),
		.digest = get_le64(in->digest),
	};
	if (head->offset != offset)
		return -EBADMSG;
	if (type == FILE_CHUNK_END)
		return head->size ? -EBADMSG : 0;
	if (type != FILE_CHUNK_DATA || !head->size || head->size > FILE_CHUNK_MAX ||
	    !range_within(offset, head->size, VFM_STATE_FILE_MAX))
		return -EBADMSG;
	return 0;
}
