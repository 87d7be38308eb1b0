/* SPDX-License-Identifier: BSD-3-Clause */
/* The version exchange: what both sides can, as JSON. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "sim/serve.h"

/* What the client announced; the specification's defaults where it said nothing. */
struct offer {
	uint32_t max_transfer;
	bool has_extension;
	uint32_t extension;
};

static const struct {
	const char *key;
	uint32_t bit;
} members[] = {
	{"p2p", VFM_VFIO_USER_EXT_P2P},
	{"data_size", VFM_VFIO_USER_EXT_DATA_SIZE},
	{"precopy_info", VFM_VFIO_USER_EXT_PRECOPY_INFO},
	{"reinit", VFM_VFIO_USER_EXT_REINIT},
};

static int read_transfer(struct json_object *caps, struct offer *offer)
{
	struct json_object *value;
	int64_t number;

	if (!json_object_object_get_ex(caps, "max_data_xfer_size", &value))
		return 0;
	number = json_object_get_int64(value);
	if (!json_object_is_type(value, json_type_int) || number < VFM_VFIO_USER_XFER_MIN)
		return -EINVAL;
	offer->max_transfer = (uint32_t)MIN(number, (int64_t)VFM_VFIO_USER_XFER_LIMIT);
	return 0;
}

static void read_extension(struct json_object *caps, struct offer *offer)
{
	struct json_object *ext, *value;
	unsigned i;

	if (!json_object_object_get_ex(caps, VFM_VFIO_USER_EXT_KEY, &ext) ||
	    !json_object_is_type(ext, json_type_object) ||
	    !json_object_object_get_ex(ext, "version", &value) ||
	    json_object_get_int64(value) != VFM_VFIO_USER_EXT_VERSION)
		return;
	offer->has_extension = true;
	for (i = 0; i < ARRAY_SIZE(members); i++)
		if (json_object_object_get_ex(ext, members[i].key, &value) &&
		    json_object_is_type(value, json_type_boolean) &&
		    json_object_get_boolean(value))
			offer->extension |= members[i].bit;
}

static int read_caps(struct json_object *root, struct offer *offer)
{
	struct json_object *caps;

	if (!json_object_is_type(root, json_type_object))
		return -EINVAL;
	if (!json_object_object_get_ex(root, "capabilities", &caps))
		return 0;
	if (!json_object_is_type(caps, json_type_object))
		return -EINVAL;
	read_extension(caps, offer);
	return read_transfer(caps, offer);
}

/* @text has @size bytes, the last of which must be its only NUL. */
static int parse_offer(const char *text, size_t size, struct offer *offer)
{
	struct json_tokener *tokener;
	struct json_object *root;
	int ret = -EINVAL;

	*offer = (struct offer){.max_transfer = VFM_VFIO_USER_XFER_DEFAULT};
	if (!size)
		return 0;
	if (strnlen(text, size) != size - 1)
		return -EINVAL;
	tokener = json_tokener_new_ex(VFM_VFIO_USER_JSON_DEPTH);
	if (!tokener)
		return -ENOMEM;
	root = json_tokener_parse_ex(tokener, text, (int)size);
	if (root && json_tokener_get_error(tokener) == json_tokener_success)
		ret = read_caps(root, offer);
	json_object_put(root);
	json_tokener_free(tokener);
	return ret;
}

static const char *bool_word(uint32_t bits, uint32_t bit)
{
	return bits & bit ? "true" : "false";
}

/* Ours, in words; returns bytes with the NUL. */
static size_t write_caps(const struct server *s, bool with_extension, char *out, size_t room)
{
	uint32_t ext = s->opts->extension;
	int used, i;

	used = snprintf(out, room,
			"{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u,"
			"\"max_dma_maps\":%u,\"pgsizes\":%u,\"write_multiple\":true",
			VFM_VFIO_USER_FDS_LIMIT, s->opts->max_transfer, DMA_MAPS_MAX,
			SIM_PAGE_SIZE);
	if (with_extension) {
		used += snprintf(out + used, room - (size_t)used, ",\"%s\":{\"version\":%d",
				 VFM_VFIO_USER_EXT_KEY, VFM_VFIO_USER_EXT_VERSION);
		for (i = 0; i < (int)ARRAY_SIZE(members); i++)
			used += snprintf(out + used, room - (size_t)used, ",\"%s\":%s",
					 members[i].key, bool_word(ext, members[i].bit));
		used += snprintf(out + used, room - (size_t)used, "}");
	}
	used += snprintf(out + used, room - (size_t)used, "}}");
	return (size_t)used + 1;
}

static void agree(struct server *s, const struct offer *offer)
{
	uint32_t known = VFM_MIG_STOP_COPY | VFM_MIG_PRE_COPY;

	s->extension = offer->extension & s->opts->extension;
	if (!(s->extension & VFM_VFIO_USER_EXT_PRECOPY_INFO))
		s->extension &= ~(uint32_t)VFM_VFIO_USER_EXT_REINIT;
	s->client_transfer = MIN(offer->max_transfer, s->opts->max_transfer);
	if (s->extension & VFM_VFIO_USER_EXT_P2P)
		known |= VFM_MIG_P2P;
	sim_limit_flags(s->sim, known);
	s->negotiated = true;
}

int serve_version(struct server *s)
{
	struct vfm_vfio_user_version in, *out;
	char text[1024];
	struct offer offer;
	size_t size;
	int ret;

	memcpy(&in, s->payload, sizeof(in));
	if (in.major != VFM_VFIO_USER_MAJOR)
		return -EINVAL;
	ret = parse_offer((const char *)s->payload + sizeof(in), s->size - sizeof(in), &offer);
	if (ret)
		return ret;
	agree(s, &offer);
	out = serve_reply(s, sizeof(*out));
	out->major = in.major;
	out->minor = MIN(in.minor, (uint16_t)VFM_VFIO_USER_MINOR);
	size = write_caps(s, offer.has_extension && s->opts->extension, text, sizeof(text));
	memcpy(serve_reply(s, size), text, size);
	return 0;
}
