/* SPDX-License-Identifier: BSD-3-Clause */
#include "sim/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim/device.h"

void *platform_alloc(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

void platform_free(void *at, uint64_t bytes)
{
	if (at)
		munmap(at, bytes);
}

void platform_yield(void)
{
}

/* The file keeps its size, or a client could take the memory away from under us. */
static int new_memory(void)
{
	int fd = memfd_create("mailbox", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, SIM_BAR_SIZE) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	err = errno;
	close(fd);
	return -err;
}

int platform_create_mailbox(struct mailbox *mailbox)
{
	void *at;

	mailbox->fd = new_memory();
	if (mailbox->fd < 0)
		return mailbox->fd;
	at = mmap(NULL, SIM_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mailbox->fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	mailbox->words = at;
	return 0;
}

void platform_destroy_mailbox(struct mailbox *mailbox)
{
	if (mailbox->words)
		munmap(mailbox->words, SIM_BAR_SIZE);
	if (mailbox->fd >= 0)
		close(mailbox->fd);
}

int sim_mailbox_fd(const struct sim *sim)
{
	return sim->mailbox.fd;
}
