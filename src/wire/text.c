/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/text.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* Length by first byte, 0: no first byte. C0, C1, F5 .. FF start nothing that is well-formed. */
static unsigned sequence_length(uint8_t first)
{
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		return 2;
	if (first >= 0xe0 && first <= 0xef)
		return 3;
	if (first >= 0xf0 && first <= 0xf4)
		return 4;
	return 0;
}

static bool is_shown(uint32_t code)
{
	if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
		return false;
	return code != 0x2028 && code != 0x2029; /* line and paragraph separator */
}

/* More bytes than the number needs, a surrogate, or past the last code point? */
static bool is_well_formed(uint32_t code, unsigned length)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	return code >= least[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
}

/* Bytes of the character at @text, of which @left bytes exist; 0: none that may be shown. */
static unsigned character_length(const uint8_t *text, size_t left)
{
	unsigned length = sequence_length(text[0]);
	uint32_t code;

	if (!length || length > left)
		return 0;
	code = length == 1 ? text[0] : text[0] & (0x7fu >> length);
	for (unsigned i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	return is_well_formed(code, length) && is_shown(code) ? length : 0;
}

bool wire_text_valid(const char *text, size_t length)
{
	for (size_t at = 0, step; at < length; at += step) {
		step = character_length((const uint8_t *)text + at, length - at);
		if (!step)
			return false;
	}
	return true;
}

void wire_text_clean(char *out, const char *text, size_t length)
{
	for (size_t at = 0, step; at < length; at += step) {
		step = character_length((const uint8_t *)text + at, length - at);
		if (step) {
			memcpy(out + at, text + at, step);
		} else {
			out[at] = '?';
			step = 1;
		}
	}
}

void wire_put_field(char *field, size_t size, const char *text)
{
	size_t length = strnlen(text, size - 1);

	memset(field, 0, size);
	wire_text_clean(field, text, length);
}

int wire_get_field(const char *field, size_t size, char *out)
{
	size_t length = strnlen(field, size);

	if (length == size || !wire_text_valid(field, length))
		return -EPROTO;
	for (size_t i = length; i < size; i++)
		if (field[i])
			return -EPROTO;
	memcpy(out, field, size);
	return 0;
}
