/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection: how a client comes to be, how it loses its server, how it ends. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/cleanup.h"
#include "base/text.h"
#include "base/unix-path.h"
#include "device/vfio-user-client.h"

/* @lock is held. */
static void wake_all(struct vfm_vfio_user *client)
{
	for (struct vfio_user_call *call = client->calls; call; call = call->next)
		pthread_cond_signal(&call->wake);
}

int vfio_user_lose(struct vfm_vfio_user *client, const char *fmt, ...)
{
	va_list args;

	pthread_mutex_lock(&client->lock);
	if (!client->lost) {
		client->lost = true;
		va_start(args, fmt);
		vsnprintf(client->why, sizeof(client->why), fmt, args);
		va_end(args);
		text_make_printable(client->why);
		wake_all(client);
	}
	pthread_mutex_unlock(&client->lock);
	/* Whoever waits for the socket, the reader before all, must see it. */
	shutdown(client->fd, SHUT_RDWR);
	return -ENOTCONN;
}

bool vfio_user_is_lost(struct vfm_vfio_user *client)
{
	bool lost;

	pthread_mutex_lock(&client->lock);
	lost = client->lost;
	pthread_mutex_unlock(&client->lock);
	return lost;
}

VFM_API int vfm_vfio_user_lost(struct vfm_vfio_user *client, char *why, size_t size)
{
	bool lost;

	pthread_mutex_lock(&client->lock);
	lost = client->lost;
	if (why && size)
		snprintf(why, size, "%s", client->why);
	pthread_mutex_unlock(&client->lock);
	return lost;
}

VFM_API void vfm_vfio_user_cancel(struct vfm_vfio_user *client)
{
	pthread_mutex_lock(&client->lock);
	for (struct vfio_user_call *call = client->calls; call; call = call->next)
		if (call->cancellable)
			call->cancelled = true;
	wake_all(client);
	pthread_mutex_unlock(&client->lock);
}

void vfio_user_hold(struct vfm_vfio_user *client, bool hold)
{
	pthread_mutex_lock(&client->lock);
	client->held = hold;
	wake_all(client);
	pthread_mutex_unlock(&client->lock);
}

VFM_API void vfm_vfio_user_shutdown(struct vfm_vfio_user *client)
{
	pthread_mutex_lock(&client->lock);
	if (!client->lost)
		client->shut = true;
	pthread_mutex_unlock(&client->lock);
	vfio_user_lose(client, "shut down by its owner");
}

VFM_API int vfm_vfio_user_get_agreed(struct vfm_vfio_user *client,
				     struct vfm_vfio_user_agreed *agreed)
{
	size_t size = agreed->size;

	if (size < sizeof(client->agreed))
		return -EINVAL;
	memcpy(agreed, &client->agreed, sizeof(client->agreed));
	agreed->size = size;
	return 0;
}

static void set_default(uint32_t *value, uint32_t otherwise)
{
	if (!*value)
		*value = otherwise;
}

static int take_options(struct vfm_vfio_user *client, const struct vfm_vfio_user_options *options)
{
	struct vfm_vfio_user_options *own = &client->options;

	if (options && options->size != sizeof(*options))
		return -EINVAL;
	if (options)
		*own = *options;
	set_default(&own->max_data_xfer, VFM_VFIO_USER_XFER_DEFAULT);
	set_default(&own->data_chunk, VFM_VFIO_USER_CHUNK_DEFAULT);
	set_default(&own->request_timeout_ms, VFM_VFIO_USER_TIMEOUT_DEFAULT);
	set_default(&own->transition_timeout_ms, VFM_VFIO_USER_TRANSITION_DEFAULT);
	own->threads = NULL;
	client->log.fn = own->log;
	client->log.opaque = own->opaque;
	if (own->max_data_xfer < VFM_VFIO_USER_XFER_MIN ||
	    own->max_data_xfer > VFM_VFIO_USER_XFER_LIMIT ||
	    own->data_chunk < VFM_VFIO_USER_CHUNK_MIN)
		return -EINVAL;
	return 0;
}

static void client_destroy(struct vfm_vfio_user *client)
{
	pthread_mutex_destroy(&client->send_lock);
	pthread_mutex_destroy(&client->lock);
	free(client->bounce);
	free(client->maps);
	free(client);
}

static struct vfm_vfio_user *client_create(int fd)
{
	struct vfm_vfio_user *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->fd = fd;
	pthread_mutex_init(&client->send_lock, NULL);
	pthread_mutex_init(&client->lock, NULL);
	return client;
}

/* Stop the reader. False: its thread may still run, and nothing may be freed. */
static bool reader_stop(struct vfm_vfio_user *client)
{
	vfm_vfio_user_shutdown(client);
	return thread_join(&client->reader) == 0;
}

/* From here on the owner may hear of a loss; false: it happened before. */
static bool publish(struct vfm_vfio_user *client)
{
	bool ok;

	pthread_mutex_lock(&client->lock);
	ok = !client->lost;
	client->published = ok;
	pthread_mutex_unlock(&client->lock);
	return ok;
}

/* Room for one data request as a whole: else its sender sleeps in the middle, and the server wakes up
 * for each part. The kernel counts its own overhead in, and may give less, which is slower only. */
static void grow_send_buffer(struct vfm_vfio_user *client)
{
	int bytes = (int)client->agreed.data_chunk * 2;

	(void)setsockopt(client->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static int start(struct vfm_vfio_user *client, const struct vfm_thread_hooks *threads, char *why,
		 size_t why_size)
{
	int ret = thread_start(&client->reader, threads, "vfm-vfio-user", vfio_user_reader, client);

	if (ret < 0) {
		snprintf(why, why_size, "no thread: %s", strerror(-ret));
		return ret;
	}
	ret = vfio_user_negotiate(client, why, why_size);
	if (!ret && !publish(client))
		ret = -ENOTCONN;
	if (!ret)
		grow_send_buffer(client);
	if (ret == -ENOTCONN)
		vfm_vfio_user_lost(client, why, why_size);
	/* The one error after which nothing may be freed. */
	if (ret < 0 && !reader_stop(client))
		return -EDEADLK;
	return ret;
}

VFM_API int vfm_vfio_user_new(int fd, const struct vfm_vfio_user_options *options,
			      struct vfm_vfio_user **client, char *why, size_t why_size)
{
	char text[VFM_VFIO_USER_WHY_MAX] = "";
	struct vfm_vfio_user *made = client_create(fd);
	int ret;

	if (!made)
		return -ENOMEM;
	ret = take_options(made, options);
	if (ret < 0)
		snprintf(text, sizeof(text), "an option is out of its range");
	else
		ret = start(made, options ? options->threads : NULL, text, sizeof(text));
	if (why && why_size)
		snprintf(why, why_size, "%s", text);
	if (!ret)
		*client = made;
	else if (ret != -EDEADLK)
		client_destroy(made);
	return ret;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	CLEANUP(cleanup_close) int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return unix_path_explain(path, -errno);
	return take_fd(&fd);
}

VFM_API int vfm_vfio_user_connect_path(const char *path,
				       const struct vfm_vfio_user_options *options,
				       struct vfm_vfio_user **client, char *why, size_t why_size)
{
	int fd = connect_unix(path);
	int ret;

	if (fd < 0) {
		if (why && why_size)
			snprintf(why, why_size, "%s: %s", path, strerror(-fd));
		return fd;
	}
	ret = vfm_vfio_user_new(fd, options, client, why, why_size);
	if (ret < 0)
		close(fd);
	return ret;
}

VFM_API void vfm_vfio_user_free(struct vfm_vfio_user *client)
{
	int fd;

	/* A thread that could not be joined keeps its memory: a leak is better than its end. */
	if (!client || !reader_stop(client))
		return;
	fd = client->fd;
	client_destroy(client);
	close(fd);
}
