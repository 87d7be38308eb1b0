/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire: bytes in, frames out, and back. No sockets, no threads, no state but sequence numbers.
 *
 * A frame is a header of fixed size, a head (structured, at most WIRE_HEAD_MAX bytes) and a bulk
 * (raw bytes: guest pages, device data, VMM state):
 *
 *	0        2      4      8        12     16     20       24         32         40
 *	+--------+------+------+--------+------+------+--------+----------+----------+------+------+
 *	| magic  | type | flags| stream | head | bulk | zero   | sequence | checksum | head | bulk |
 *	+--------+------+------+--------+------+------+--------+----------+----------+------+------+
 *	 (drawn in full, with a worked example, in format.h)
 *
 * The checksum is XXH3-64 over header (its checksum field zero) and head. The bulk is covered by
 * digests that stand in the head: one for device data and VMM state, one per page for memory, so
 * that a guest page may change between its digest and the socket, as pages of a running guest do:
 * such a page is torn, is dirty by definition, and comes again (src/memory/load.c).
 *
 * Everything that comes from a peer passes exactly one wire_get_*: it checks every length, count,
 * index and enum against the limits below before anything is looked at, and gives host order.
 * What depends on the session (does this region exist?) the owner of that knowledge checks.
 *
 * Type numbers, stream numbers and bits are never reused.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/migrate.h>

#define WIRE_VERSION     1 /* the newest that we speak */
#define WIRE_VERSION_LOW 1 /* the oldest */

#define WIRE_HEADER_SIZE   40u
#define WIRE_HEAD_MAX      (64u << 10)
#define WIRE_BULK_MAX      (1u << 20)  /* bytes */
#define WIRE_PAGES_MAX     (WIRE_BULK_MAX / VFM_PAGE_SIZE)
#define WIRE_RUNS_MAX      1024u       /* runs in a memory frame */
#define WIRE_TOKEN_SIZE    16u
#define WIRE_REASONS_MAX   100u        /* lines in a refusal */
#define WIRE_ARCS_MAX      1024u       /* transitions in a report */

enum wire_type {
	WIRE_HELLO = 1,       /* -> first frame of each connection */
	WIRE_HELLO_REPLY = 2, /* <- chosen version and features, or a refusal */
	WIRE_DESCRIBE = 3,    /* -> regions and devices */
	WIRE_ANSWER = 4,      /* <- accepted, or the reasons */
	WIRE_SETUP = 5,       /* -> devices to RESUMING, please */
	WIRE_READY = 6,       /* <- they are; the window for device data */
	WIRE_MEMORY = 7,      /* -> pages */
	WIRE_DEVICE = 8,      /* -> bytes of one device's stream */
	WIRE_CREDIT = 9,      /* <- a device took bytes */
	WIRE_ROUND = 10,      /* -> a round ends here */
	WIRE_ROUND_DONE = 11, /* <- everything before that mark is loaded or queued for a device */
	WIRE_STOPPED = 12,    /* -> vCPUs are stopped: from here on no page may be torn */
	WIRE_CONTINUE = 13,   /* -> they run again, pre-copy goes on */
	WIRE_VM_STATE = 14,   /* -> bytes of VMM state */
	WIRE_PREPARE = 15,    /* -> that was all; check it */
	WIRE_PREPARED = 16,   /* <- checked: every device left RESUMING without error */
	WIRE_COMMIT = 17,     /* -> the VM is yours */
	WIRE_RUNNING = 18,    /* <- the vCPUs run */
	WIRE_REPORT = 19,     /* <- transitions and load times of this side */
	WIRE_BYE = 20,        /* -> source: I know that the VM runs with you */
	WIRE_ABORT = 21,      /* <-> the end, with the reason */
	WIRE_ACK = 22,        /* <- initial bytes are loaded */
	WIRE_COSTS = 23,      /* <- what a step of the switchover costs there */
	WIRE_ARCS = 24,       /* <- what transitions to stop took there */
};

enum wire_stream {
	WIRE_STREAM_CONTROL = 0,
	WIRE_STREAM_MEMORY = 1,
	WIRE_STREAM_VM = 2,
	WIRE_STREAM_DEVICE = 16, /* + number of the device in DESCRIBE */
	WIRE_STREAM_END = WIRE_STREAM_DEVICE + VFM_DEVICES_MAX,
};

enum wire_flags {
	WIRE_FLAG_LIVE = 1 << 0, /* MEMORY: the guest runs, pages may be torn */
	WIRE_FLAG_LAST = 1 << 1, /* DEVICE, VM_STATE: nothing of this stream follows (bulk may be 0) */
	WIRE_FLAG_INITIAL = 1 << 2, /* DEVICE: initial bytes end here: ack once they are loaded */
};

/* The header in host order. */
struct wire_header {
	uint16_t type;
	uint16_t flags;
	uint32_t stream;
	uint32_t head; /* bytes */
	uint32_t bulk; /* bytes */
	uint64_t sequence; /* per stream and direction, from 0 */
};

/* Digest of a bulk or of a page. */
uint64_t wire_digest(const void *data, size_t size);

/* Encode @header and @head into @out (WIRE_HEADER_SIZE + header->head bytes), with the checksum. */
void wire_put_header(uint8_t *out, const struct wire_header *header, const void *head);

/*
 * Decode WIRE_HEADER_SIZE bytes. -EBADMSG: not our magic. -EPROTO: a type, stream, flag or length
 * that cannot be, also in combination (type against stream, head and bulk limits per type).
 */
int wire_get_header(const uint8_t *in, struct wire_header *header);

/* After the head has arrived: -EBADMSG if header and head do not match their checksum. */
int wire_check(const uint8_t *in, const struct wire_header *header, const void *head);

/* Next sequence numbers of one direction of a session, one per stream. */
struct wire_sequences {
	uint64_t next[WIRE_STREAM_END];
};

/* -EPROTO unless @header is the next one of its stream; then it counts on. */
int wire_sequence_check(struct wire_sequences *sequences, const struct wire_header *header);

/* ---- heads: wire_put_* encodes into @out (WIRE_HEAD_MAX bytes) and returns the head's size;
 * wire_get_* decodes and validates, -EPROTO with what is wrong otherwise. ---- */

enum wire_intent {
	WIRE_INTENT_MIGRATE = 1, /* a new session's first channel */
	WIRE_INTENT_CHANNEL = 2, /* one more channel of a session (feature, not in version 1's set) */
	WIRE_INTENT_ASK = 3,     /* a source in doubt: what became of the VM? */
};

/* Bits of wire_hello.features. */
enum wire_feature {
	WIRE_FEATURE_ACK_LEGACY = 1 << 0,     /* one ack for all devices, once */
	WIRE_FEATURE_ACK_PER_DEVICE = 1 << 1, /* an ack for each WIRE_FLAG_INITIAL */
	WIRE_FEATURE_COSTS = 1 << 2,          /* COSTS comes before READY */
	WIRE_FEATURE_ARCS = 1 << 3,           /* and ARCS before it */
	WIRE_FEATURES_ACK = WIRE_FEATURE_ACK_LEGACY | WIRE_FEATURE_ACK_PER_DEVICE,
};

struct wire_hello {
	uint16_t version;     /* newest */
	uint16_t version_low; /* oldest that the sender still speaks */
	uint16_t intent;
	uint16_t channel;     /* number of this channel, 0 for the first */
	uint64_t features;    /* enum wire_feature; bits that are not known are no offer */
	uint8_t token[WIRE_TOKEN_SIZE];
};

enum wire_fate {
	WIRE_FATE_NONE = 0,     /* a migration begins */
	WIRE_FATE_PREPARED = 1, /* ASK: complete and waiting for COMMIT */
	WIRE_FATE_OWNED = 2,    /* ASK: COMMIT came, the VM is here */
	WIRE_FATE_NEVER = 3,    /* ASK: this session was given up and never will run */
};

struct wire_hello_reply {
	uint16_t version; /* chosen; 0: refused, the reason follows as ABORT */
	uint16_t fate;
	uint64_t features; /* both ends'; a subset of what was offered */
};

struct wire_region {
	char name[VFM_NAME_MAX];
	uint64_t gpa;
	uint64_t size;
};

struct wire_device {
	char name[VFM_NAME_MAX];
	char backend[16];
	uint32_t mig_flags;
	uint16_t pci_vendor, pci_device, pci_subsystem_vendor, pci_subsystem;
};

struct wire_describe {
	uint32_t page_size;
	uint32_t device_chunk;
	uint32_t region_count;
	uint32_t device_count;
	struct wire_region regions[VFM_REGIONS_MAX];
	struct wire_device devices[VFM_DEVICES_MAX];
};

/* 0 reasons: accepted. */
struct wire_answer {
	uint32_t count; /* when sent it may be above WIRE_REASONS_MAX: the last line tells so */
	char reasons[WIRE_REASONS_MAX][VFM_ERROR_TEXT_MAX];
};

struct wire_ready {
	uint32_t window; /* bytes of one device's stream that may be on the way unacknowledged */
};

struct wire_run {
	uint64_t first; /* page number in the region */
	uint32_t count;
	bool zero;      /* no bytes in the bulk: the pages are all zero */
};

/* Runs in ascending order, without overlap. digests: one per page that is not zero, little endian
 * in the head, aligned to 8; use wire_memory_digest. */
struct wire_memory {
	uint32_t region;
	uint32_t run_count;  /* 1 .. WIRE_RUNS_MAX */
	uint32_t page_count; /* pages in the bulk, bulk = page_count * VFM_PAGE_SIZE */
	struct wire_run runs[WIRE_RUNS_MAX];
	uint64_t digests[WIRE_PAGES_MAX];
};

/* DEVICE and VM_STATE. */
struct wire_bulk {
	uint64_t offset; /* of the bulk in its stream: the receiver checks that nothing is missing */
	uint64_t digest;
};

struct wire_credit {
	uint32_t device;
	uint64_t frames;   /* DEVICE frames that the device has taken so far: they free the window */
	uint64_t consumed; /* bytes of the stream that the device has taken so far */
	uint64_t load_ns;  /* time that it spent on them */
};

#define WIRE_ACK_ALL UINT32_MAX

struct wire_ack {
	uint32_t device; /* its place in DESCRIBE; WIRE_ACK_ALL: the legacy way */
};

struct wire_costs {
	uint64_t step_ns; /* all devices are asked something and have answered */
};

#define WIRE_ARCS_SIZE_MAX (8 + VFM_DEVICES_MAX * 16)

/* A device on its way to RESUMING, ns; 0: it did not take that transition. */
struct wire_arcs {
	uint32_t device_count;
	struct wire_stop_arcs {
		uint64_t p2p_ns;  /* RUNNING to RUNNING_P2P */
		uint64_t stop_ns; /* from there, or from RUNNING, to STOP */
	} devices[VFM_DEVICES_MAX]; /* by place in DESCRIBE */
};

struct wire_round {
	uint64_t round;
	uint64_t memory_bytes; /* sent so far */
	uint64_t device_bytes;
};

struct wire_prepare {
	uint64_t memory_pages;  /* in all MEMORY frames so far, zero ones too: checked */
	uint64_t device_bytes;  /* in all DEVICE frames so far: checked */
};

struct wire_prepared {
	uint64_t load_ns;    /* from PREPARE's arrival until all data was with the devices */
	uint64_t check_ns;   /* devices RESUMING to STOP */
	uint64_t inspect_ns; /* the VMM's look at it: not part of the downtime */
};

struct wire_running {
	uint64_t devices_ns; /* COMMIT's arrival to devices RUNNING */
	uint64_t vcpus_ns;   /* from there to vCPUs running */
};

struct wire_arc {
	uint16_t device;
	uint16_t from, to;
	int32_t result;
	uint64_t start_ns; /* since the destination's session began */
	uint64_t duration_ns;
};

struct wire_report {
	uint32_t device_count;
	uint32_t arc_count;
	struct {
		uint64_t bytes;
		uint64_t load_ns;
	} devices[VFM_DEVICES_MAX];
	struct wire_arc arcs[WIRE_ARCS_MAX];
};

size_t wire_put_hello(uint8_t *out, const struct wire_hello *hello);
int wire_get_hello(const void *head, size_t size, struct wire_hello *hello);
size_t wire_put_hello_reply(uint8_t *out, const struct wire_hello_reply *reply);
int wire_get_hello_reply(const void *head, size_t size, struct wire_hello_reply *reply);
size_t wire_put_describe(uint8_t *out, const struct wire_describe *describe);
int wire_get_describe(const void *head, size_t size, struct wire_describe *describe);
size_t wire_put_answer(uint8_t *out, const struct wire_answer *answer);
int wire_get_answer(const void *head, size_t size, struct wire_answer *answer);
size_t wire_put_ready(uint8_t *out, const struct wire_ready *ready);
int wire_get_ready(const void *head, size_t size, struct wire_ready *ready);
size_t wire_put_memory(uint8_t *out, const struct wire_memory *memory);
int wire_get_memory(const struct wire_header *header, const void *head, struct wire_memory *memory);
size_t wire_put_bulk(uint8_t *out, const struct wire_bulk *bulk);
int wire_get_bulk(const struct wire_header *header, const void *head, struct wire_bulk *bulk);
size_t wire_put_credit(uint8_t *out, const struct wire_credit *credit);
int wire_get_credit(const void *head, size_t size, struct wire_credit *credit);
size_t wire_put_ack(uint8_t *out, const struct wire_ack *ack);
int wire_get_ack(const void *head, size_t size, struct wire_ack *ack);
size_t wire_put_costs(uint8_t *out, const struct wire_costs *costs);
int wire_get_costs(const void *head, size_t size, struct wire_costs *costs);
/* At most WIRE_ARCS_SIZE_MAX bytes. */
size_t wire_put_arcs(uint8_t *out, const struct wire_arcs *arcs);
int wire_get_arcs(const void *head, size_t size, struct wire_arcs *arcs);
size_t wire_put_round(uint8_t *out, const struct wire_round *round);
int wire_get_round(const void *head, size_t size, struct wire_round *round);
size_t wire_put_prepare(uint8_t *out, const struct wire_prepare *prepare);
int wire_get_prepare(const void *head, size_t size, struct wire_prepare *prepare);
size_t wire_put_prepared(uint8_t *out, const struct wire_prepared *prepared);
int wire_get_prepared(const void *head, size_t size, struct wire_prepared *prepared);
size_t wire_put_running(uint8_t *out, const struct wire_running *running);
int wire_get_running(const void *head, size_t size, struct wire_running *running);
size_t wire_put_report(uint8_t *out, const struct wire_report *report);
int wire_get_report(const void *head, size_t size, struct wire_report *report);
/* ABORT. A code that is no errno is sent as EIO. Decoded, the error's remote mark is set. */
size_t wire_put_error(uint8_t *out, const struct vfm_error *error);
int wire_get_error(const void *head, size_t size, struct vfm_error *error);
/* SETUP, STOPPED, CONTINUE, COMMIT and BYE have an empty head; ROUND_DONE has ROUND's. */

/*
 * Reading frames from whatever gives bytes: the one way in for everything that a peer sends. Used
 * by the engine's receiver with a channel behind it and by the fuzzer with a buffer.
 */
struct wire_input {
	/* Exactly @size bytes, or -errno (-ECONNRESET: the end came first). */
	int (*read)(void *opaque, void *buf, size_t size);
	void *opaque;
};

struct wire_frame {
	struct wire_header header;
	uint8_t head[WIRE_HEAD_MAX] __attribute__((aligned(8)));
};

/*
 * Read header and head, check lengths, checksum and sequence. The bulk (header.bulk bytes) is left
 * in the input for the caller. -errno of the input, -EBADMSG, -EPROTO.
 */
int wire_read_frame(struct wire_input *input, struct wire_sequences *sequences,
		    struct wire_frame *frame);

const char *wire_type_name(uint16_t type);

#endif
