/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of a frame. All numbers are little endian, nothing is padded by a compiler, reserved
 * fields are zero and are refused otherwise. One value has one encoding: what was decoded gives the
 * same bytes when it is encoded again (the fuzzer holds us to that).
 *
 *	 0      2      4           8           12          16          20          24
 *	+------+------+-----------+-----------+-----------+-----------+-----------+
 *	| magic| type | flags     | stream    | head      | bulk      | reserved  |
 *	+------+------+-----------+-----------+-----------+-----------+-----------+
 *	 24                      32                      40
 *	+-----------------------+-----------------------+- - - - - - -+- - - - - - - - -+
 *	| sequence              | checksum              | head        | bulk            |
 *	+-----------------------+-----------------------+- - - - - - -+- - - - - - - - -+
 *	                                                 head bytes    bulk bytes
 *
 * The checksum is XXH3-64, seed 0, over the 40 bytes with the checksum field zero, followed by the
 * head. A worked example: the destination's third control frame, a CREDIT; device 1 has taken
 * two frames, 0x40000 bytes of its stream, in 1 ms (tests/test-wire.c compares):
 *
 *	56 4d                      magic "VM"
 *	      09 00                type 9: CREDIT
 *	            00 00 00 00    flags: none
 *	00 00 00 00                stream 0: control
 *	            20 00 00 00    head: 32 bytes
 *	00 00 00 00                bulk: none
 *	            00 00 00 00    reserved
 *	02 00 00 00 00 00 00 00    sequence: 0 and 1 went before
 *	ae 86 f2 33 3f 5f 35 a9    checksum
 *	01 00 00 00                device 1
 *	            00 00 00 00    reserved
 *	02 00 00 00 00 00 00 00    frames
 *	00 00 04 00 00 00 00 00    consumed
 *	40 42 0f 00 00 00 00 00    load_ns
 *
 * A MEMORY frame with three pages of region 0, two of them with content, their bytes as the bulk:
 *
 *	head  region 0, run_count 2, page_count 2
 *	      run  first 16, count 2, flags 0         digest of page 16 ──> bulk[0 .. 4095]
 *	      run  first 40, count 1, flags ZERO      digest of page 17 ──> bulk[4096 .. 8191]
 *	      digest, digest                          page 40 has neither digest nor bytes
 */
#ifndef WIRE_FORMAT_H
#define WIRE_FORMAT_H

#include <assert.h>
#include "base/byteorder.h"
#include "wire/wire.h"

#define WIRE_MAGIC 0x4d56u /* the bytes "VM" */

/* Limits that the layouts alone need. */
#define WIRE_HELLO_MAX     128u          /* a HELLO may grow at its end in later versions */
#define WIRE_CHANNELS_MAX  64u           /* channels of a session */
#define WIRE_ERRNO_MAX     4095u         /* as in the kernel: errnos are 1 .. 4095 */
#define WIRE_WINDOW_MIN    VFM_PAGE_SIZE /* bytes, READY */
#define WIRE_WINDOW_MAX    (1u << 30)
#define WIRE_CHUNK_MAX     WIRE_BULK_MAX /* bytes, DESCRIBE's device_chunk */
#define WIRE_PAGE_SIZE_MAX (1u << 30)    /* DESCRIBE: one that can still be refused with a reason */
#define WIRE_PAGE_END      (UINT64_MAX / VFM_PAGE_SIZE) /* no region has such a page */

struct wire_header_le {
	le16 magic;    /* WIRE_MAGIC */
	le16 type;     /* enum wire_type */
	le32 flags;    /* enum wire_flags, those that the type allows */
	le32 stream;   /* enum wire_stream, as the type demands */
	le32 head;     /* bytes that follow the header, within the type's limits */
	le32 bulk;     /* bytes that follow the head, up to the type's limit */
	le32 reserved; /* 0 */
	le64 sequence; /* frames of this stream and direction that went before; ASK begins anew */
	le64 checksum; /* XXH3-64 of header (this field 0) and head */
} PACKED;
static_assert(sizeof(struct wire_header_le) == WIRE_HEADER_SIZE, "header");

/* HELLO. Frozen for all versions, since it comes before one is chosen; only its end may grow,
 * and a receiver skips what it does not know there. */
struct wire_hello_le {
	le16 version;                   /* newest that the sender speaks */
	le16 version_low;               /* oldest, 1 .. version */
	le16 intent;                    /* enum wire_intent */
	le16 channel;                   /* 0; CHANNEL: 1 .. WIRE_CHANNELS_MAX - 1 */
	le64 features;                  /* bits offered; unknown ones are not taken up */
	uint8_t token[WIRE_TOKEN_SIZE]; /* random, names the session */
} PACKED;
static_assert(sizeof(struct wire_hello_le) == 32, "HELLO");

/* HELLO_REPLY. Frozen like HELLO. */
struct wire_hello_reply_le {
	le16 version;  /* chosen; 0: refused, and the other fields are 0 */
	le16 fate;     /* enum wire_fate */
	le32 reserved; /* 0 */
	le64 features; /* bits that both ends use */
} PACKED;
static_assert(sizeof(struct wire_hello_reply_le) == 16, "HELLO_REPLY");

/* DESCRIBE: followed by region_count regions, then device_count devices. */
struct wire_describe_le {
	le32 page_size;    /* bytes, a power of two, at least VFM_PAGE_SIZE */
	le32 device_chunk; /* bytes, a multiple of VFM_PAGE_SIZE up to WIRE_CHUNK_MAX */
	le32 region_count; /* up to VFM_REGIONS_MAX */
	le32 device_count; /* up to VFM_DEVICES_MAX */
} PACKED;
static_assert(sizeof(struct wire_describe_le) == 16, "DESCRIBE");

struct wire_region_le {
	char name[VFM_NAME_MAX]; /* not empty; text up to a NUL, zeroes to the end */
	le64 gpa;                /* guest physical address, page aligned */
	le64 size;               /* bytes, whole pages, not 0; gpa + size does not wrap */
} PACKED;
static_assert(sizeof(struct wire_region_le) == 80, "DESCRIBE, region");

struct wire_device_le {
	char name[VFM_NAME_MAX];   /* not empty; text up to a NUL, zeroes to the end */
	char backend[16];          /* the same; "vfio-user" */
	le32 mig_flags;            /* enum vfm_mig_flags, and bits that a newer device may have */
	le16 pci_vendor;           /* 0xffff where unknown, like the next three */
	le16 pci_device;
	le16 pci_subsystem_vendor;
	le16 pci_subsystem;
} PACKED;
static_assert(sizeof(struct wire_device_le) == 92, "DESCRIBE, device");
static_assert(sizeof(struct wire_describe_le) +
		      VFM_REGIONS_MAX * sizeof(struct wire_region_le) +
		      VFM_DEVICES_MAX * sizeof(struct wire_device_le) <= WIRE_HEAD_MAX,
	      "the largest DESCRIBE fits");

/* ANSWER: followed by count lines, each a length and that many bytes of text without a NUL. */
struct wire_answer_le {
	le32 count; /* up to WIRE_REASONS_MAX; 0: accepted */
} PACKED;
static_assert(sizeof(struct wire_answer_le) == 4, "ANSWER");

struct wire_line_le {
	le16 length; /* 1 .. VFM_ERROR_TEXT_MAX - 1 */
	char text[];
} PACKED;
static_assert(sizeof(struct wire_line_le) == 2, "ANSWER, line");
static_assert(sizeof(struct wire_answer_le) +
		      WIRE_REASONS_MAX * (sizeof(struct wire_line_le) + VFM_ERROR_TEXT_MAX - 1) <=
	      WIRE_HEAD_MAX, "the longest refusal fits");

/* READY */
struct wire_ready_le {
	le32 window;   /* bytes, WIRE_WINDOW_MIN .. WIRE_WINDOW_MAX: for each device, window /
			* device_chunk DEVICE frames may be under way, however full they are */
	le32 reserved; /* 0 */
} PACKED;
static_assert(sizeof(struct wire_ready_le) == 8, "READY");

/* MEMORY: followed by run_count runs, then page_count digests (le64 each, so 8-aligned). */
struct wire_memory_le {
	le32 region;     /* its place in DESCRIBE */
	le32 run_count;  /* 1 .. WIRE_RUNS_MAX */
	le32 page_count; /* up to WIRE_PAGES_MAX: pages of all runs that are not zero runs */
	le32 reserved;   /* 0 */
} PACKED;
static_assert(sizeof(struct wire_memory_le) == 16, "MEMORY");

enum wire_run_flags {
	WIRE_RUN_ZERO = 1 << 0, /* every page of the run is all zero and is not in the bulk */
};

struct wire_run_le {
	le64 first; /* page number in the region, not before the end of the previous run */
	le32 count; /* pages, not 0; first + count is at most WIRE_PAGE_END */
	le32 flags; /* enum wire_run_flags */
} PACKED;
static_assert(sizeof(struct wire_run_le) == 16, "MEMORY, run");
static_assert(sizeof(struct wire_memory_le) + WIRE_RUNS_MAX * sizeof(struct wire_run_le) +
		      WIRE_PAGES_MAX * sizeof(le64) <= WIRE_HEAD_MAX,
	      "the largest MEMORY fits");

/* DEVICE and VM_STATE */
struct wire_bulk_le {
	le64 offset; /* of the bulk in its stream; offset + bulk does not wrap */
	le64 digest; /* XXH3-64 of the bulk */
} PACKED;
static_assert(sizeof(struct wire_bulk_le) == 16, "DEVICE, VM_STATE");

/* CREDIT */
struct wire_credit_le {
	le32 device;   /* its place in DESCRIBE */
	le32 reserved; /* 0 */
	le64 frames;   /* DEVICE frames that the device has taken so far: they free the window */
	le64 consumed; /* bytes of its stream that it has taken since the start */
	le64 load_ns;  /* time that it spent on them */
} PACKED;
static_assert(sizeof(struct wire_credit_le) == 32, "CREDIT");

/* ACK */
struct wire_ack_le {
	le32 device;   /* its place in DESCRIBE, or WIRE_ACK_ALL */
	le32 reserved; /* 0 */
} PACKED;
static_assert(sizeof(struct wire_ack_le) == 8, "ACK");

/* COSTS */
struct wire_costs_le {
	le64 step_ns; /* a request to every device at once, until the last has answered */
} PACKED;
static_assert(sizeof(struct wire_costs_le) == 8, "COSTS");

/* ARCS, behind it device_count records */
struct wire_arcs_le {
	le32 device_count;
	le32 reserved; /* 0 */
} PACKED;
static_assert(sizeof(struct wire_arcs_le) == 8, "ARCS");

struct wire_stop_arcs_le {
	le64 p2p_ns;  /* RUNNING to RUNNING_P2P; 0: not taken */
	le64 stop_ns; /* to STOP, likewise */
} PACKED;
static_assert(sizeof(struct wire_stop_arcs_le) == 16, "ARCS record");

/* ROUND, and back as ROUND_DONE */
struct wire_round_le {
	le64 round;        /* the first is 1 */
	le64 memory_bytes; /* sent since the start */
	le64 device_bytes; /* the same */
} PACKED;
static_assert(sizeof(struct wire_round_le) == 24, "ROUND");

/* PREPARE */
struct wire_prepare_le {
	le64 memory_pages; /* in all MEMORY frames so far, zero ones too */
	le64 device_bytes; /* in all DEVICE frames so far */
} PACKED;
static_assert(sizeof(struct wire_prepare_le) == 16, "PREPARE");

/* PREPARED */
struct wire_prepared_le {
	le64 load_ns;    /* PREPARE's arrival until all data was with the devices */
	le64 check_ns;   /* devices RESUMING to STOP */
	le64 inspect_ns; /* the VMM's look at it */
} PACKED;
static_assert(sizeof(struct wire_prepared_le) == 24, "PREPARED");

/* RUNNING */
struct wire_running_le {
	le64 devices_ns; /* COMMIT's arrival to devices RUNNING */
	le64 vcpus_ns;   /* from there to vCPUs running */
} PACKED;
static_assert(sizeof(struct wire_running_le) == 16, "RUNNING");

/* REPORT: followed by device_count loads, then arc_count arcs. */
struct wire_report_le {
	le32 device_count; /* up to VFM_DEVICES_MAX */
	le32 arc_count;    /* up to WIRE_ARCS_MAX */
} PACKED;
static_assert(sizeof(struct wire_report_le) == 8, "REPORT");

struct wire_load_le {
	le64 bytes;   /* that the device took */
	le64 load_ns; /* time that it spent on them */
} PACKED;
static_assert(sizeof(struct wire_load_le) == 16, "REPORT, load");

struct wire_arc_le {
	le16 device;      /* below device_count */
	le16 from;        /* enum vfm_state */
	le16 to;          /* enum vfm_state */
	le16 code;        /* errno, 0: it went well */
	le64 start_ns;    /* since the destination's session began */
	le64 duration_ns;
} PACKED;
static_assert(sizeof(struct wire_arc_le) == 24, "REPORT, arc");
static_assert(sizeof(struct wire_report_le) + VFM_DEVICES_MAX * sizeof(struct wire_load_le) +
		      WIRE_ARCS_MAX * sizeof(struct wire_arc_le) <= WIRE_HEAD_MAX,
	      "the largest REPORT fits");

enum wire_error_flags {
	WIRE_ERROR_ARC = 1 << 0, /* from and to are meant; else both are 0 */
};

/* ABORT. Frozen like HELLO, since a HELLO is refused with it. */
struct wire_error_le {
	le32 code;                     /* errno in Linux's generic numbering, 1 .. WIRE_ERRNO_MAX */
	le16 stage;                    /* enum vfm_stage */
	le16 flags;                    /* enum wire_error_flags */
	le16 from;                     /* enum vfm_state */
	le16 to;                       /* enum vfm_state */
	le32 reserved;                 /* 0 */
	char device[VFM_NAME_MAX];     /* may be empty; text up to a NUL, zeroes to the end */
	char text[VFM_ERROR_TEXT_MAX]; /* the same */
} PACKED;
static_assert(sizeof(struct wire_error_le) == 16 + VFM_NAME_MAX + VFM_ERROR_TEXT_MAX, "ABORT");

#endif
