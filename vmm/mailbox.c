/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "vmm/app.h"

int mailbox_new(struct mailbox *box)
{
	memset(box, 0, sizeof(*box));
	pthread_mutex_init(&box->lock, NULL);
	box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return box->fd < 0 ? -errno : 0;
}

void mailbox_free(struct mailbox *box)
{
	struct mail *mail;

	while ((mail = mailbox_take(box))) {
		if (mail->kind == MAIL_CONNECTED && mail->fd >= 0)
			close(mail->fd);
		free(mail);
	}
	if (box->fd >= 0)
		close(box->fd);
	pthread_mutex_destroy(&box->lock);
}

/* A counter that is full wakes as well as one that was raised. */
static void wake(struct mailbox *box)
{
	uint64_t one = 1;
	ssize_t n = write(box->fd, &one, sizeof(one));

	(void)n;
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
	pthread_mutex_lock(&box->lock);
	queue_push(&box->queue, &mail->node);
	pthread_mutex_unlock(&box->lock);
	wake(box);
}

void mailbox_notice(struct mailbox *box, enum vmm_notice notice)
{
	__atomic_or_fetch(&box->notices, notice, __ATOMIC_ACQ_REL);
	wake(box);
}

struct mail *mailbox_take(struct mailbox *box)
{
	struct mail *mail;

	pthread_mutex_lock(&box->lock);
	mail = QUEUE_ENTRY(queue_pop(&box->queue), struct mail, node);
	pthread_mutex_unlock(&box->lock);
	return mail;
}

void mailbox_drain(struct mailbox *box)
{
	uint64_t n;
	ssize_t got = read(box->fd, &n, sizeof(n));

	(void)got;
}
