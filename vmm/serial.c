/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A serial port of which only the transmitter works: always ready, each byte to a file at once.
 * The other registers remember what was written, and travel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "vmm/vm.h"

#define REG_DATA    0
#define REG_LINE    5
#define LINE_EMPTY  0x60 /* transmitter empty, and its holding register */

int serial_new(struct vmm_serial *s, const char *path, char *why)
{
	s->fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	if (!path)
		return 0;
	if (strcmp(path, "-") == 0)
		s->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		s->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
	if (s->fd < 0) {
		int ret = -errno;

		snprintf(why, VMM_WHY_MAX, "serial port: %.200s: %s", path, strerror(-ret));
		return ret;
	}
	return 0;
}

void serial_free(struct vmm_serial *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	pthread_mutex_destroy(&s->lock);
}

uint8_t serial_read(struct vmm_serial *s, unsigned reg)
{
	uint8_t value;

	if (reg == REG_LINE)
		return LINE_EMPTY;
	pthread_mutex_lock(&s->lock);
	value = s->reg[reg & 7];
	pthread_mutex_unlock(&s->lock);
	return value;
}

/* Whole lines are written at once, so that those of several vCPUs do not mix. A file that cannot be
 * written loses them: the guest must not stand still for its console. */
static void put(struct vmm_serial *s, char c)
{
	ssize_t n;

	if (s->used < sizeof(s->line))
		s->line[s->used++] = c;
	if (c != '\n' && s->used < sizeof(s->line))
		return;
	if (s->fd >= 0) {
		n = write(s->fd, s->line, s->used);
		(void)n;
	}
	s->used = 0;
}

void serial_write(struct vmm *vm, unsigned reg, uint8_t value)
{
	struct vmm_serial *s = &vm->serial;

	pthread_mutex_lock(&s->lock);
	if (reg == REG_DATA)
		put(s, (char)value);
	else
		s->reg[reg & 7] = value;
	pthread_mutex_unlock(&s->lock);
}
