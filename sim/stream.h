/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device's migration stream. Little endian, without padding.
 *
 *	0                 64               80
 *	+-----------------+----------------+----------------+--------- ... -+------+--------------+
 *	| stream_header   | stream_record  | bytes of the   | more records, | REGS | END          |
 *	| who saved this  | MEMORY off len | memory at off  | pages again   |      | length, hash |
 *	+-----------------+----------------+----------------+--------- ... -+------+--------------+
 *
 * A page may come any number of times (pre-copy) and has to come once; the last one holds. RENEW
 * says that initial bytes begin anew. Some personalities send less of the header. REGS comes once,
 * when the device has stopped, right before END. END's hash is XXH64 of all bytes before it,
 * END's own record head and length included; nothing follows it. So a stream that is cut, altered
 * anywhere, extended, or of another device or version does not check.
 */
#ifndef SIM_STREAM_H
#define SIM_STREAM_H

#include <assert.h>
#include <stddef.h>
#include "base/byteorder.h"
#include "sim/core.h"

#define STREAM_MAGIC      UINT64_C(0x314d4953434f4956) /* "VIOCSIM1" in memory */
#define STREAM_VERSION    3u
#define STREAM_RECORD_MAX (1u << 20) /* bytes of memory in one record */
#define STREAM_STAGE_MAX  16384u     /* bytes that are not memory, of one read */

struct stream_header {
	le64 magic;      /* STREAM_MAGIC */
	le32 version;    /* STREAM_VERSION */
	le32 size;       /* of this header */
	le16 vendor;     /* PCI identity of the saved device */
	le16 device;
	le16 subsystem;
	le16 vectors;    /* MSI-X table size */
	le64 state_size; /* bytes of internal memory */
	le32 page_size;  /* granularity of memory records */
	le32 registers;  /* bytes of the REGS record */
	char personality[16];
	le64 reserved;   /* 0 */
} PACKED;
static_assert(sizeof(struct stream_header) == 64, "stream header layout");

/* Of the header, what is only there to be matched: all but the name. */
#define STREAM_MATCH_SIZE 40u
static_assert(offsetof(struct stream_header, personality) == STREAM_MATCH_SIZE, "match data");

enum stream_type {
	STREAM_MEMORY = 1, /* @length bytes for @offset, whole pages but for the memory's end */
	STREAM_REGS = 2,   /* struct stream_regs, offset 0 */
	STREAM_END = 3,    /* struct stream_end, offset 0 */
	STREAM_RENEW = 4,  /* nothing, offset 0 */
};

struct stream_record {
	le32 type;   /* enum stream_type */
	le32 length; /* bytes that follow */
	le64 offset;
} PACKED;
static_assert(sizeof(struct stream_record) == 16, "record layout");

struct stream_regs {
	le32 control;
	le32 status;
	le64 ring_base;
	le64 ring_index;
	le32 ring_entries;
	le32 dma_rate;
	le64 producer;
	le64 bytes;
	le64 doorbells;
	le64 stalls;
	le64 irqs;
	le64 faults;
	le64 mutated;
	le64 uptime_ns;
	le64 random;
	le64 scratch[SIM_SCRATCH_COUNT];
	uint8_t config[SIM_CONFIG_SIZE];
	uint8_t msix[SIM_BAR_SIZE];
	le64 p2p_target;
	le32 p2p_rate;
	le32 reserved; /* 0 */
	le64 p2p_sent;
	le64 p2p_seen;
	le64 p2p_late;
	uint8_t mailbox[SIM_BAR_SIZE];
} PACKED;
static_assert(sizeof(struct stream_regs) == 8720, "register record layout");

struct stream_end {
	le64 length; /* bytes of the stream, this record included */
	le64 hash;   /* of all but these last 8 */
} PACKED;
static_assert(sizeof(struct stream_end) == 16, "end layout");

#define STREAM_TAIL_SIZE                                                                           \
	(2 * sizeof(struct stream_record) + sizeof(struct stream_regs) + sizeof(struct stream_end))
static_assert(STREAM_TAIL_SIZE <= STREAM_STAGE_MAX, "the tail is staged as a whole");

struct regs;
struct sim;

/* stream.c: what this device's streams begin with. One that begins otherwise is not for it. */
void stream_make_header(const struct sim *sim, struct stream_header *header);

/* Between the device's registers and the record, the mailbox aside. Unpacking checks every value
 * that the device relies on, and that the read-only parts of config space equal those of @config;
 * -EBADMSG. */
void stream_pack_regs(const struct regs *regs, struct stream_regs *out);
int stream_unpack_regs(const struct stream_regs *in, const uint8_t *config, struct regs *regs);

#endif
