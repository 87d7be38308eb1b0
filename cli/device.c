/* SPDX-License-Identifier: BSD-3-Clause */
#include "device.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/text.h"
#include "base/unix-path.h"
#include "complain.h"
#include "exit.h"

#define NAME_OPTION ",name="

/* ---- reading ---- */

static bool is_socket(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISSOCK(st.st_mode);
}

/* The number behind "fd:", -1: it is none. */
static int fd_number(const char *text)
{
	char *end;
	long fd;

	if (strncmp(text, "fd:", 3) || text[3] < '0' || text[3] > '9')
		return -1;
	fd = strtol(text + 3, &end, 10);
	return *end || fd > INT_MAX ? -1 : (int)fd;
}

static bool fd_is_socket(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISSOCK(st.st_mode);
}

/* Whether there is such a device is another question. */
static bool is_kernel_address(const char *text)
{
	struct vfm_vfio_place place = {.size = sizeof(place)};

	return vfm_vfio_find(text, &place, NULL, 0) != -EINVAL;
}

/* A path that leads nowhere may be a server's that is not there yet: connecting will tell. */
static int find_kind(const char *text, enum cli_device_kind *kind)
{
	struct stat st;
	int fd = fd_number(text);

	*kind = CLI_DEVICE_VFIO_USER;
	if (!strncmp(text, "unix:", 5))
		return text[5] ? 0 : -EINVAL;
	if (fd >= 0)
		*kind = fd_is_socket(fd) ? CLI_DEVICE_VFIO_USER : CLI_DEVICE_KERNEL;
	else if (is_kernel_address(text))
		*kind = CLI_DEVICE_KERNEL;
	else
		return is_socket(text) || (strchr(text, '/') && stat(text, &st) && errno == ENOENT)
			       ? 0 : -EINVAL;
	return 0;
}

bool cli_device_is_one(const char *text)
{
	enum cli_device_kind kind;

	return strstr(text, NAME_OPTION) || !find_kind(text, &kind);
}

/* The end of a long one tells more than its beginning. */
static void name_by_text(struct cli_device *d)
{
	size_t len = strlen(d->text);
	size_t skip = len < VFM_NAME_MAX ? 0 : len - (VFM_NAME_MAX - 1);

	memcpy(d->name, d->text + skip, len - skip + 1);
	text_make_printable(d->name);
}

static int set_name(struct cli_device *d, const char *name, unsigned number,
		    enum cli_device_names names)
{
	if (name && (!*name || strlen(name) >= VFM_NAME_MAX))
		return -EINVAL;
	if (name)
		snprintf(d->name, sizeof(d->name), "%.63s", name);
	else if (names == CLI_DEVICE_BY_NUMBER)
		snprintf(d->name, sizeof(d->name), "dev%u", number);
	else
		name_by_text(d);
	return 0;
}

static int read_one(struct cli_devices *devices, const char *text, enum cli_device_names names)
{
	struct cli_device *d = &devices->device[devices->count];
	const char *name = strstr(text, NAME_OPTION);
	size_t len = name ? (size_t)(name - text) : strlen(text);

	d->text = strndup(text, len);
	devices->count++;
	if (!d->text)
		return -ENOMEM;
	if (set_name(d, name ? name + strlen(NAME_OPTION) : NULL, devices->count - 1, names))
		return -EINVAL;
	for (unsigned i = 0; i + 1 < devices->count; i++)
		if (!strcmp(devices->device[i].name, d->name))
			return -EEXIST;
	return find_kind(d->text, &d->kind);
}

static int complain_of_text(const char *command, const char *text, int error)
{
	if (error == -ENOMEM)
		return complain_of(command, CLI_EXIT_FAILED, "no memory");
	if (error == -EEXIST)
		return complain_of(command, CLI_EXIT_USAGE,
				   "\"%.100s\": a device of that name was given already", text);
	return cli_device_complain(command, text);
}

int cli_device_complain(const char *command, const char *text)
{
	return complain_of(command, CLI_EXIT_USAGE,
			   "\"%.100s\" is %s: give unix:PATH or a socket's path, a PCI address, a "
			   "UUID, /sys/..., /dev/vfio/devices/vfioN or fd:N", text,
			   unix_path_is_other(text) ? "there, and no device" : "no device");
}

int cli_devices_read(struct cli_devices *devices, const char *command, const char *const *text,
		     unsigned count, enum cli_device_names names)
{
	int ret = 0;

	memset(devices, 0, sizeof(*devices));
	if (!count)
		return complain_of(command, CLI_EXIT_USAGE, "DEVICE is missing; see --help");
	for (unsigned i = 0; i < count && !ret; i++) {
		ret = read_one(devices, text[i], names);
		if (ret)
			ret = complain_of_text(command, text[i], ret);
	}
	if (ret)
		cli_devices_close(devices);
	return ret;
}

/* ---- opening ---- */

static bool absent(int ret)
{
	return ret == -ENOENT || ret == -ECONNREFUSED;
}

static int connect_server(struct cli_device *d, char *why, size_t size)
{
	struct vfm_vfio_user_options options = {.size = sizeof(options)};
	const char *path = strncmp(d->text, "unix:", 5) ? d->text : d->text + 5;
	int fd = fd_number(d->text);

	if (fd >= 0)
		return vfm_vfio_user_new(fd, &options, &d->client, why, size);
	return vfm_vfio_user_connect_path(path, &options, &d->client, why, size);
}

/* The reason alone: what it is about stands before it on the line. */
static void explain(struct cli_device *d, int ret, const char *why)
{
	const char *path = strncmp(d->text, "unix:", 5) ? d->text : d->text + 5;
	size_t len = strlen(path);

	if (!strncmp(why, path, len) && !strncmp(why + len, ": ", 2))
		why += len + 2;
	d->hint = absent(ret)	      ? "is its server running?" :
		  ret == -ENOTCONN    ? "is that a vfio-user server?" :
					NULL;
	snprintf(d->why, sizeof(d->why), "%s%s%s", *why ? why : strerror(-ret),
		 d->hint ? ": " : "", d->hint ? d->hint : "");
}

static int open_vfio_user(struct cli_device *d)
{
	char why[VFM_VFIO_USER_WHY_MAX] = "";
	int ret = connect_server(d, why, sizeof(why));

	if (!ret && !d->raw)
		ret = vfm_device_new_vfio_user(d->client, d->name, &d->device);
	if (ret)
		explain(d, ret, why);
	return ret;
}

/* What sysfs has of it; an fd out of a group has no way there. */
static void look_up(struct cli_device *d)
{
	struct vfm_vfio_place place = {.size = sizeof(place)};
	int fd = fd_number(d->text), ret = 0;

	if (fd >= 0)
		ret = sysfs_path_of_fd(SYSFS_ROOT, fd, place.sysfs, sizeof(place.sysfs));
	else
		vfm_vfio_find(d->text, &place, NULL, 0);
	d->in_sysfs = !ret && *place.sysfs && !sysfs_read(place.sysfs, &d->sysfs);
}

/* Bound to another driver it may open, and migrate. */
static void explain_kernel(struct cli_device *d, int ret, const char *why)
{
	const char *better = d->in_sysfs ? sysfs_better_driver(&d->sysfs) : NULL;

	snprintf(d->why, sizeof(d->why), "%s%s%s%s", *why ? why : strerror(-ret),
		 better ? "; " : "", better ? better : "", better ? " has migration" : "");
}

static int open_kernel(struct cli_devices *devices, struct cli_device *d)
{
	char why[VFM_VFIO_WHY_MAX] = "";
	int ret = 0;

	look_up(d);
	if (!devices->space)
		ret = vfm_vfio_space_new(VFM_VFIO_ANY, &devices->space);
	if (!ret)
		ret = vfm_vfio_open(devices->space, d->text, &d->vfio, why, sizeof(why));
	if (!ret && !d->raw)
		ret = vfm_device_new_vfio(d->vfio, d->name, &d->device);
	if (ret)
		explain_kernel(d, ret, why);
	return ret;
}

static int open_one(struct cli_devices *devices, struct cli_device *d)
{
	int ret;

	d->why[0] = '\0';
	d->hint = NULL;
	ret = d->kind == CLI_DEVICE_KERNEL ? open_kernel(devices, d) : open_vfio_user(d);
	text_make_printable(d->why);
	return ret;
}

unsigned cli_devices_open(struct cli_devices *devices)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < devices->count; i++)
		failed += open_one(devices, &devices->device[i]) != 0;
	return failed;
}

int cli_devices_open_or_complain(struct cli_devices *devices, const char *command)
{
	if (!cli_devices_open(devices))
		return 0;
	for (unsigned i = 0; i < devices->count; i++)
		if (*devices->device[i].why)
			complain_of(command, CLI_EXIT_FAILED, "%s: %s", devices->device[i].text,
				    devices->device[i].why);
	return CLI_EXIT_FAILED;
}

static void close_one(struct cli_device *d)
{
	vfm_device_free(d->device);
	vfm_vfio_close(d->vfio);
	vfm_vfio_user_free(d->client);
	d->device = NULL;
	d->vfio = NULL;
	d->client = NULL;
}

int cli_device_shut(struct cli_device *d)
{
	if (fd_number(d->text) >= 0)
		return -ENOTSUP;
	close_one(d);
	return 0;
}

int cli_device_reopen(struct cli_devices *devices, struct cli_device *d)
{
	int ret = cli_device_shut(d);

	return ret ? ret : open_one(devices, d);
}

void cli_devices_close(struct cli_devices *devices)
{
	for (unsigned i = 0; i < devices->count; i++) {
		close_one(&devices->device[i]);
		free(devices->device[i].text);
	}
	vfm_vfio_space_free(devices->space);
	memset(devices, 0, sizeof(*devices));
}

/* ---- looking ---- */

static int get_bar(struct cli_device *d, unsigned i, uint64_t *bytes)
{
	struct vfm_vfio_user_region served = {.size = sizeof(served)};
	struct vfm_vfio_region region = {.size = sizeof(region)};
	int ret;

	if (d->client) {
		ret = vfm_vfio_user_get_region(d->client, i, &served);
		*bytes = served.bytes;
		vfm_vfio_user_region_clear(&served);
	} else {
		ret = vfm_vfio_get_region(d->vfio, i, &region);
		*bytes = region.bytes;
		vfm_vfio_region_clear(&region);
	}
	return ret;
}

/* Servers may refuse it in some states: then they are not known. */
static void identify_bars(struct cli_device *d, struct vfm_identity *identity)
{
	int ret = 0;

	for (unsigned i = 0; i < VFM_BARS && !ret; i++)
		ret = get_bar(d, i, &identity->bar[i]);
	identity->has_bars = !ret;
}

static uint64_t smallest_page(struct cli_device *d)
{
	struct vfm_vfio_user_agreed agreed = {.size = sizeof(agreed)};

	if (!d->client)
		return (uint64_t)sysconf(_SC_PAGESIZE);
	return vfm_vfio_user_get_agreed(d->client, &agreed) ? 0 : agreed.pgsizes & -agreed.pgsizes;
}

void cli_device_identify(struct cli_device *d, struct vfm_identity *identity)
{
	identity->size = sizeof(*identity);
	vfm_identity_init(identity, d->device);
	if (d->in_sysfs) {
		snprintf(identity->driver, sizeof(identity->driver), "%s", d->sysfs.driver);
		snprintf(identity->type, sizeof(identity->type), "%s", d->sysfs.type);
	}
	identify_bars(d, identity);
	identity->page_size = smallest_page(d);
}

char *cli_device_advise(const struct cli_device *d, char *buffer)
{
	struct vfm_device_info info = {.size = sizeof(info)};

	buffer[0] = '\0';
	if (!d->device) {
		snprintf(buffer, CLI_DEVICE_WHY_MAX, "%s", d->why);
		return buffer;
	}
	vfm_device_get_info(d->device, &info);
	if (info.mig_flags & VFM_MIG_STOP_COPY)
		return buffer;
	if (d->in_sysfs)
		return sysfs_advise(&d->sysfs, buffer, CLI_DEVICE_WHY_MAX);
	snprintf(buffer, CLI_DEVICE_WHY_MAX, "%s",
		 d->client ? "its server does not offer migration" : "its driver has no migration");
	return buffer;
}
