/* SPDX-License-Identifier: BSD-3-Clause */
/* Text that may hold a peer's bytes and will be shown to a person. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

/* Replace control characters by '?', so that the text stays one line and moves no cursor. */
static inline void text_make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

#endif
