/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * acks: the switchover waits until the devices' initial bytes are loaded.
 *
 * A device's initial bytes may make the destination's device allocate, which takes long; it must
 * be over before the VM stops. So the source asks for an ack per device in PRE_COPY, and the
 * policy does not go while one is pending:
 *
 *	source                                    destination
 *	in PRE_COPY: asked = 1, read initial_bytes
 *	the last of them is in a block:
 *	  flagged = 1   DEVICE, INITIAL ─────────> written to the device: acks_due = 1
 *	  acked = 1    <──────────────────── ACK
 *	REINIT, new initial_bytes: asked = 2 ...   (per device; the legacy way asks once)
 *
 * At any time acked <= flagged <= asked on the source; an ACK that would break that is a protocol
 * error. Per device: pending is the sum of asked - acked. Legacy: the destination counts the
 * devices that the source described with PRE_COPY, and sends one ACK when all of them have had
 * their INITIAL; a REINIT is not asked for again, which the report tells.
 *
 * A device that does not tell its initial bytes is asked all the same, and flagged at once: what
 * is unknown cannot be waited for.
 */
#ifndef ENGINE_ACKS_H
#define ENGINE_ACKS_H

#include "engine/worker.h"

/* ---- source; with the lock held ---- */

/* The device has entered PRE_COPY and told @info. */
void acks_ask(struct worker *w, const struct device_precopy *info);
/* It has told again. */
void acks_note(struct worker *w, const struct device_precopy *info);
/* @bytes were read from it. True: their block ends the initial bytes. */
bool acks_read(struct worker *w, uint64_t bytes);
/* True: a block without bytes has to tell that there are no initial bytes (any more). */
bool acks_flag_due(const struct worker *w);
/* How many the switchover waits for. */
unsigned acks_pending(const struct session *s);
/* An ACK came. -EPROTO: for nothing that was asked. */
int acks_take(struct session *s, const struct wire_ack *ack);

/* ---- destination; with the lock held ---- */

/* The end of its initial bytes is with the device. */
void acks_loaded(struct worker *w);
/* True: @ack is to be sent. */
bool acks_next(struct session *s, struct wire_ack *ack);

#endif
