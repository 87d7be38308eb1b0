/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The version exchange: what we offer as JSON, and what to make of the server's answer. The members
 * are in vfio-user-protocol.h; each is a row in a table here.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include "base/cleanup.h"
#include "device/vfio-user-client.h"

static void cleanup_json(json_object **object)
{
	json_object_put(*object);
}

static const struct {
	const char *key;
	uint32_t bit;
} ext_members[] = {
	{"p2p", VFM_VFIO_USER_EXT_P2P},
	{"data_size", VFM_VFIO_USER_EXT_DATA_SIZE},
	{"precopy_info", VFM_VFIO_USER_EXT_PRECOPY_INFO},
	{"reinit", VFM_VFIO_USER_EXT_REINIT},
};

/* ---- our offer ---- */

/* Takes @value over, also on failure. */
static int add(json_object *object, const char *key, json_object *value)
{
	if (value && json_object_object_add(object, key, value) == 0)
		return 0;
	json_object_put(value);
	return -ENOMEM;
}

static uint32_t ext_offered(const struct vfm_vfio_user *client)
{
	return VFM_VFIO_USER_EXT_ALL & ~client->options.ext_off;
}

static int add_ext(json_object *caps, uint32_t offered)
{
	json_object *ext = json_object_new_object();
	int ret = add(caps, VFM_VFIO_USER_EXT_KEY, ext);

	if (!ret)
		ret = add(ext, "version", json_object_new_int(VFM_VFIO_USER_EXT_VERSION));
	for (unsigned i = 0; i < ARRAY_SIZE(ext_members) && !ret; i++)
		if (offered & ext_members[i].bit)
			ret = add(ext, ext_members[i].key, json_object_new_boolean(1));
	return ret;
}

static int add_caps(json_object *caps, const struct vfm_vfio_user *client)
{
	int ret = add(caps, "max_msg_fds", json_object_new_int64(VFM_VFIO_USER_FDS_LIMIT));

	if (!ret)
		ret = add(caps, "max_data_xfer_size",
			  json_object_new_int64(client->options.max_data_xfer));
	if (!ret)
		ret = add(caps, "write_multiple", json_object_new_boolean(1));
	if (!ret && ext_offered(client))
		ret = add_ext(caps, ext_offered(client));
	return ret;
}

/* Bytes with the NUL, or -ENOMEM. */
static int write_offer(const struct vfm_vfio_user *client, char *buf, size_t size)
{
	CLEANUP(cleanup_json) json_object *root = json_object_new_object();
	json_object *caps = json_object_new_object();
	const char *text;

	if (!root || add(root, "capabilities", caps) < 0) {
		if (!root)
			json_object_put(caps);
		return -ENOMEM;
	}
	if (add_caps(caps, client) < 0)
		return -ENOMEM;
	text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN);
	if (!text || strlen(text) >= size)
		return -ENOMEM;
	strcpy(buf, text);
	return (int)strlen(text) + 1;
}

/* ---- the server's answer ---- */

/* A whole number of at least @least; missing leaves the default. -EPROTO: something else. */
static int get_number(json_object *caps, const char *key, uint64_t least, uint64_t most,
		      uint64_t *value)
{
	json_object *number;
	int64_t got;

	if (!json_object_object_get_ex(caps, key, &number))
		return 0;
	if (!json_object_is_type(number, json_type_int))
		return -EPROTO;
	got = json_object_get_int64(number);
	if (got < 0 || (uint64_t)got < least)
		return -EPROTO;
	*value = MIN((uint64_t)got, most);
	return 0;
}

static bool get_true(json_object *object, const char *key)
{
	json_object *value;

	return json_object_object_get_ex(object, key, &value) &&
	       json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

static uint32_t get_ext(json_object *caps)
{
	json_object *ext, *version;
	uint32_t bits = 0;

	if (!json_object_object_get_ex(caps, VFM_VFIO_USER_EXT_KEY, &ext) ||
	    !json_object_is_type(ext, json_type_object) ||
	    !json_object_object_get_ex(ext, "version", &version) ||
	    !json_object_is_type(version, json_type_int) ||
	    json_object_get_int64(version) != VFM_VFIO_USER_EXT_VERSION)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(ext_members); i++)
		if (get_true(ext, ext_members[i].key))
			bits |= ext_members[i].bit;
	if (!(bits & VFM_VFIO_USER_EXT_PRECOPY_INFO))
		bits &= ~VFM_VFIO_USER_EXT_REINIT;
	return bits;
}

/* @caps may be NULL: the defaults of the specification. */
static int agree(struct vfm_vfio_user *client, json_object *caps)
{
	struct vfm_vfio_user_agreed *agreed = &client->agreed;
	uint64_t xfer = VFM_VFIO_USER_XFER_DEFAULT;
	uint64_t fds = VFM_VFIO_USER_FDS_DEFAULT;
	uint64_t maps = VFM_VFIO_USER_DMA_MAPS_DEFAULT;
	uint64_t pgsizes = VFM_VFIO_USER_PGSIZES_DEFAULT;

	if (get_number(caps, "max_data_xfer_size", VFM_VFIO_USER_XFER_MIN, UINT32_MAX, &xfer) < 0 ||
	    get_number(caps, "max_msg_fds", 1, VFM_VFIO_USER_FDS_LIMIT, &fds) < 0 ||
	    get_number(caps, "max_dma_maps", 1, VFM_VFIO_USER_DMA_MAPS_DEFAULT, &maps) < 0 ||
	    get_number(caps, "pgsizes", 1, UINT64_MAX, &pgsizes) < 0)
		return -EPROTO;
	agreed->max_data_xfer = (uint32_t)MIN(xfer, client->options.max_data_xfer);
	agreed->data_chunk = MIN(client->options.data_chunk, agreed->max_data_xfer);
	agreed->max_msg_fds = (uint32_t)fds;
	agreed->max_dma_maps = (uint32_t)maps;
	agreed->pgsizes = pgsizes;
	agreed->write_multi = get_true(caps, "write_multiple");
	agreed->ext = get_ext(caps) & ext_offered(client);
	return 0;
}

static int read_answer(struct vfm_vfio_user *client, const char *text, size_t size)
{
	CLEANUP(cleanup_json) json_object *root = NULL;
	json_object *caps = NULL;
	json_tokener *tokener;

	if (!size)
		return agree(client, NULL);
	if (strnlen(text, size) == size)
		return -EPROTO;
	tokener = json_tokener_new_ex(VFM_VFIO_USER_JSON_DEPTH);
	if (!tokener)
		return -ENOMEM;
	root = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
	json_tokener_free(tokener);
	if (!json_object_is_type(root, json_type_object))
		return -EPROTO;
	if (json_object_object_get_ex(root, "capabilities", &caps) &&
	    !json_object_is_type(caps, json_type_object))
		return -EPROTO;
	return agree(client, caps);
}

static int check_version(struct vfm_vfio_user *client, const struct vfm_vfio_user_version *version,
			 char *why, size_t why_size)
{
	if (version->major != VFM_VFIO_USER_MAJOR || version->minor > VFM_VFIO_USER_MINOR) {
		snprintf(why, why_size, "the server speaks version %u.%u, not %u.%u",
			 version->major, version->minor, VFM_VFIO_USER_MAJOR, VFM_VFIO_USER_MINOR);
		return -EPROTONOSUPPORT;
	}
	client->agreed.size = sizeof(client->agreed);
	client->agreed.major = version->major;
	client->agreed.minor = version->minor;
	return 0;
}

int vfio_user_negotiate(struct vfm_vfio_user *client, char *why, size_t why_size)
{
	struct vfm_vfio_user_version version = {VFM_VFIO_USER_MAJOR, VFM_VFIO_USER_MINOR};
	struct vfm_vfio_user_version answer;
	char offer[1024], text[VFM_VFIO_USER_VERSION_DATA_MAX];
	int len = write_offer(client, offer, sizeof(offer));
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_VERSION,
		.out = {{&version, sizeof(version)}, {offer, len < 0 ? 0 : (size_t)len}},
		.reply = &answer, .reply_min = sizeof(answer), .reply_max = sizeof(answer),
		.data = text, .data_max = sizeof(text),
	};
	int ret;

	if (len < 0)
		return len;
	ret = vfio_user_call(client, &call);
	if (ret < 0) {
		snprintf(why, why_size, "version exchange: %s", strerror(-ret));
		return ret;
	}
	ret = check_version(client, &answer, why, why_size);
	if (ret < 0)
		return ret;
	ret = read_answer(client, text, call.reply_size - sizeof(answer));
	if (ret < 0)
		snprintf(why, why_size, "the server's capabilities are no JSON, or out of range");
	return ret;
}
