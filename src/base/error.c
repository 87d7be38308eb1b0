/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/text.h"

static int positive_errno(int code)
{
	if (code == 0 || code == INT_MIN)
		return EIO;
	return code < 0 ? -code : code;
}

/* Begin a record. False: there is no sink, or it holds an earlier failure. */
static bool record(struct vfm_error *error, int code, const char *device)
{
	if (!error || error->code)
		return false;
	error->code = code;
	snprintf(error->device, sizeof(error->device), "%s", device ? device : "");
	return true;
}

PRINTF(2, 0) static void record_text(struct vfm_error *error, const char *fmt, va_list args)
{
	vsnprintf(error->text, sizeof(error->text), fmt, args);
}

int error_set(struct vfm_error *error, int code, const char *fmt, ...)
{
	va_list args;

	code = positive_errno(code);
	if (record(error, code, NULL)) {
		va_start(args, fmt);
		record_text(error, fmt, args);
		va_end(args);
	}
	return -code;
}

int error_set_device(struct vfm_error *error, int code, const char *device, const char *fmt, ...)
{
	va_list args;

	code = positive_errno(code);
	if (record(error, code, device)) {
		va_start(args, fmt);
		record_text(error, fmt, args);
		va_end(args);
	}
	return -code;
}

int error_set_arc(struct vfm_error *error, int code, const char *device, enum vfm_state from,
		  enum vfm_state to, const char *fmt, ...)
{
	va_list args;

	code = positive_errno(code);
	if (record(error, code, device)) {
		error->has_arc = 1;
		error->from = from;
		error->to = to;
		va_start(args, fmt);
		record_text(error, fmt, args);
		va_end(args);
	}
	return -code;
}

void error_merge(struct vfm_error *error, const struct vfm_error *from)
{
	if (error && from && from->code && !error->code)
		*error = *from;
}

/* A line in the making: what does not fit is dropped. */
struct line {
	char *buf;
	size_t size;
	size_t used;
};

PRINTF(2, 3) static void line_add(struct line *line, const char *fmt, ...)
{
	size_t room = line->size - line->used;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line->buf + line->used, room, fmt, args);
	va_end(args);
	if (len > 0)
		line->used += MIN((size_t)len, room - 1);
}

static void line_add_errno(struct line *line, int code)
{
	const char *text = strerrordesc_np(code);

	if (text)
		line_add(line, "%s", text);
	else
		line_add(line, "errno %d", code);
}

void error_format(const struct vfm_error *error, char *buf, size_t size)
{
	struct line line = {.buf = buf, .size = size};

	if (!size)
		return;
	buf[0] = '\0';
	if (!error || !error->code)
		return;
	if (error->stage != VFM_STAGE_NONE)
		line_add(&line, "%s: ", vfm_stage_name(error->stage));
	if (error->remote)
		line_add(&line, "peer: ");
	if (error->device[0])
		line_add(&line, "device %.*s: ", VFM_NAME_MAX - 1, error->device);
	if (error->has_arc)
		line_add(&line, "%s -> %s: ", vfm_state_name(error->from),
			 vfm_state_name(error->to));
	line_add_errno(&line, error->code);
	if (error->text[0])
		line_add(&line, ": %.*s", VFM_ERROR_TEXT_MAX - 1, error->text);
	text_make_printable(buf);
}
