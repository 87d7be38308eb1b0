/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text on the wire: UTF-8 without control characters, since it ends up on people's terminals and
 * in their logs. What comes in is refused if it is anything else; what goes out is made so, so
 * that no error is lost because its text was cut inside a character.
 */
#ifndef WIRE_TEXT_H
#define WIRE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Are the @length bytes well-formed UTF-8 without C0 (so no NUL), DEL, C1, line separators? */
bool wire_text_valid(const char *text, size_t length);

/* Copy @length bytes, each byte that is not part of such text as '?'. */
void wire_text_clean(char *out, const char *text, size_t length);

/* Fill a field of @size bytes with a string, cut if need be, zeroes to its end. */
void wire_put_field(char *field, size_t size, const char *text);

/* Copy a field of @size bytes, which must have a NUL, valid text before and zeroes after it.
 * -EPROTO otherwise. @out has @size bytes. */
int wire_get_field(const char *field, size_t size, char *out);

#endif
