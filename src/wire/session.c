/* SPDX-License-Identifier: BSD-3-Clause */
/* Heads that begin a session: HELLO, HELLO_REPLY, DESCRIBE, ANSWER, READY. */
#include "wire/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/checked.h"
#include "wire/format.h"
#include "wire/text.h"

size_t wire_put_hello(uint8_t *out, const struct wire_hello *hello)
{
	struct wire_hello_le le = {
		.version = put_le16(hello->version),
		.version_low = put_le16(hello->version_low),
		.intent = put_le16(hello->intent),
		.channel = put_le16(hello->channel),
		.features = put_le64(hello->features),
	};

	memcpy(le.token, hello->token, sizeof(le.token));
	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

static int validate_hello(const struct wire_hello *hello)
{
	if (!hello->version_low || hello->version_low > hello->version)
		return -EPROTO;
	switch (hello->intent) {
	case WIRE_INTENT_MIGRATE:
	case WIRE_INTENT_ASK:
		return hello->channel ? -EPROTO : 0;
	case WIRE_INTENT_CHANNEL:
		return hello->channel && hello->channel < WIRE_CHANNELS_MAX ? 0 : -EPROTO;
	default:
		return -EPROTO;
	}
}

int wire_get_hello(const void *head, size_t size, struct wire_hello *hello)
{
	const struct wire_hello_le *le = head;

	/* A later version's HELLO may be longer. */
	if (size < sizeof(*le) || size > WIRE_HELLO_MAX)
		return -EPROTO;
	*hello = (struct wire_hello){
		.version = get_le16(le->version),
		.version_low = get_le16(le->version_low),
		.intent = get_le16(le->intent),
		.channel = get_le16(le->channel),
		.features = get_le64(le->features),
	};
	memcpy(hello->token, le->token, sizeof(hello->token));
	return validate_hello(hello);
}

size_t wire_put_hello_reply(uint8_t *out, const struct wire_hello_reply *reply)
{
	struct wire_hello_reply_le le = {
		.version = put_le16(reply->version),
		.fate = put_le16(reply->fate),
		.features = put_le64(reply->features),
	};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

static int validate_hello_reply(const struct wire_hello_reply *reply)
{
	if (reply->fate > WIRE_FATE_NEVER)
		return -EPROTO;
	if (!reply->version && (reply->fate || reply->features))
		return -EPROTO;
	return 0;
}

int wire_get_hello_reply(const void *head, size_t size, struct wire_hello_reply *reply)
{
	const struct wire_hello_reply_le *le = head;

	if (size != sizeof(*le) || get_le32(le->reserved))
		return -EPROTO;
	*reply = (struct wire_hello_reply){
		.version = get_le16(le->version),
		.fate = get_le16(le->fate),
		.features = get_le64(le->features),
	};
	return validate_hello_reply(reply);
}

static void put_region(struct wire_region_le *le, const struct wire_region *region)
{
	wire_put_field(le->name, sizeof(le->name), region->name);
	le->gpa = put_le64(region->gpa);
	le->size = put_le64(region->size);
}

static void put_device(struct wire_device_le *le, const struct wire_device *device)
{
	wire_put_field(le->name, sizeof(le->name), device->name);
	wire_put_field(le->backend, sizeof(le->backend), device->backend);
	le->mig_flags = put_le32(device->mig_flags);
	le->pci_vendor = put_le16(device->pci_vendor);
	le->pci_device = put_le16(device->pci_device);
	le->pci_subsystem_vendor = put_le16(device->pci_subsystem_vendor);
	le->pci_subsystem = put_le16(device->pci_subsystem);
}

size_t wire_put_describe(uint8_t *out, const struct wire_describe *describe)
{
	struct wire_describe_le *le = (struct wire_describe_le *)out;
	struct wire_region_le *regions = (struct wire_region_le *)(le + 1);
	struct wire_device_le *devices;

	assert(describe->region_count <= VFM_REGIONS_MAX);
	assert(describe->device_count <= VFM_DEVICES_MAX);
	le->page_size = put_le32(describe->page_size);
	le->device_chunk = put_le32(describe->device_chunk);
	le->region_count = put_le32(describe->region_count);
	le->device_count = put_le32(describe->device_count);
	for (uint32_t i = 0; i < describe->region_count; i++)
		put_region(&regions[i], &describe->regions[i]);
	devices = (struct wire_device_le *)(regions + describe->region_count);
	for (uint32_t i = 0; i < describe->device_count; i++)
		put_device(&devices[i], &describe->devices[i]);
	return (size_t)((uint8_t *)(devices + describe->device_count) - out);
}

static int get_region(const struct wire_region_le *le, struct wire_region *region)
{
	uint64_t end;

	region->gpa = get_le64(le->gpa);
	region->size = get_le64(le->size);
	if (!region->size || !is_aligned(region->gpa | region->size, VFM_PAGE_SIZE))
		return -EPROTO;
	if (!checked_add_u64(region->gpa, region->size, &end) || !le->name[0])
		return -EPROTO;
	return wire_get_field(le->name, sizeof(le->name), region->name);
}

/* Migration flags are carried as they are: they are compared, and a newer device may have more. */
static int get_device(const struct wire_device_le *le, struct wire_device *device)
{
	device->mig_flags = get_le32(le->mig_flags);
	device->pci_vendor = get_le16(le->pci_vendor);
	device->pci_device = get_le16(le->pci_device);
	device->pci_subsystem_vendor = get_le16(le->pci_subsystem_vendor);
	device->pci_subsystem = get_le16(le->pci_subsystem);
	if (!le->name[0] || !le->backend[0])
		return -EPROTO;
	if (wire_get_field(le->name, sizeof(le->name), device->name))
		return -EPROTO;
	return wire_get_field(le->backend, sizeof(le->backend), device->backend);
}

static int validate_describe(const struct wire_describe *describe, size_t size)
{
	if (!is_power_of_two(describe->page_size) || describe->page_size < VFM_PAGE_SIZE ||
	    describe->page_size > WIRE_PAGE_SIZE_MAX)
		return -EPROTO;
	if (!describe->device_chunk || describe->device_chunk > WIRE_CHUNK_MAX ||
	    !is_aligned(describe->device_chunk, VFM_PAGE_SIZE))
		return -EPROTO;
	if (describe->region_count > VFM_REGIONS_MAX || describe->device_count > VFM_DEVICES_MAX)
		return -EPROTO;
	if (size != sizeof(struct wire_describe_le) +
			    describe->region_count * sizeof(struct wire_region_le) +
			    describe->device_count * sizeof(struct wire_device_le))
		return -EPROTO;
	return 0;
}

static int get_describe_lists(const struct wire_describe_le *le, struct wire_describe *describe)
{
	const struct wire_region_le *regions = (const struct wire_region_le *)(le + 1);
	const struct wire_device_le *devices;

	for (uint32_t i = 0; i < describe->region_count; i++)
		if (get_region(&regions[i], &describe->regions[i]))
			return -EPROTO;
	devices = (const struct wire_device_le *)(regions + describe->region_count);
	for (uint32_t i = 0; i < describe->device_count; i++)
		if (get_device(&devices[i], &describe->devices[i]))
			return -EPROTO;
	return 0;
}

int wire_get_describe(const void *head, size_t size, struct wire_describe *describe)
{
	const struct wire_describe_le *le = head;

	if (size < sizeof(*le))
		return -EPROTO;
	describe->page_size = get_le32(le->page_size);
	describe->device_chunk = get_le32(le->device_chunk);
	describe->region_count = get_le32(le->region_count);
	describe->device_count = get_le32(le->device_count);
	if (validate_describe(describe, size))
		return -EPROTO;
	return get_describe_lists(le, describe);
}

/* A line, which is never empty. Returns the bytes that it takes. */
static size_t put_line(uint8_t *out, const char *text)
{
	struct wire_line_le *le = (struct wire_line_le *)out;
	size_t length = strnlen(text, VFM_ERROR_TEXT_MAX - 1);

	if (!length) {
		text = "?";
		length = 1;
	}
	le->length = put_le16((uint16_t)length);
	wire_text_clean(le->text, text, length);
	return sizeof(*le) + length;
}

size_t wire_put_answer(uint8_t *out, const struct wire_answer *answer)
{
	struct wire_answer_le *le = (struct wire_answer_le *)out;
	bool all = answer->count <= WIRE_REASONS_MAX;
	uint32_t whole = all ? answer->count : WIRE_REASONS_MAX - 1;
	uint8_t *at = out + sizeof(*le);
	char more[VFM_ERROR_TEXT_MAX];

	le->count = put_le32(all ? answer->count : WIRE_REASONS_MAX);
	for (uint32_t i = 0; i < whole; i++)
		at += put_line(at, answer->reasons[i]);
	if (!all) {
		snprintf(more, sizeof(more), "and %u reasons more", answer->count - whole);
		at += put_line(at, more);
	}
	return (size_t)(at - out);
}

/* One line from @left bytes at @at. Returns the bytes that it took, 0: none that is right. */
static size_t get_line(const uint8_t *at, size_t left, char reason[static VFM_ERROR_TEXT_MAX])
{
	const struct wire_line_le *le = (const struct wire_line_le *)at;
	size_t length;

	if (left < sizeof(*le))
		return 0;
	length = get_le16(le->length);
	if (!length || length >= VFM_ERROR_TEXT_MAX || length > left - sizeof(*le))
		return 0;
	if (!wire_text_valid(le->text, length))
		return 0;
	memcpy(reason, le->text, length);
	reason[length] = '\0';
	return sizeof(*le) + length;
}

int wire_get_answer(const void *head, size_t size, struct wire_answer *answer)
{
	const struct wire_answer_le *le = head;
	const uint8_t *at = (const uint8_t *)head + sizeof(*le);
	size_t left, taken;

	if (size < sizeof(*le))
		return -EPROTO;
	left = size - sizeof(*le);
	answer->count = get_le32(le->count);
	if (answer->count > WIRE_REASONS_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < answer->count; i++) {
		taken = get_line(at, left, answer->reasons[i]);
		if (!taken)
			return -EPROTO;
		at += taken;
		left -= taken;
	}
	return left ? -EPROTO : 0;
}

size_t wire_put_ready(uint8_t *out, const struct wire_ready *ready)
{
	struct wire_ready_le le = {.window = put_le32(ready->window)};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

int wire_get_ready(const void *head, size_t size, struct wire_ready *ready)
{
	const struct wire_ready_le *le = head;

	if (size != sizeof(*le) || get_le32(le->reserved))
		return -EPROTO;
	ready->window = get_le32(le->window);
	if (ready->window < WIRE_WINDOW_MIN || ready->window > WIRE_WINDOW_MAX)
		return -EPROTO;
	return 0;
}
