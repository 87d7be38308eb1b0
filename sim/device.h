/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the simulated device: its parts, a file each.
 *
 *	core.c    make, reset, state changes       memory.c  internal memory and its changes
 *	regs.c    BAR0                             config.c  config space, MSI-X table
 *	ring.c    DMA engine                       log.c     pages that DMA wrote
 *	save.c    the stream out                   load.c    the stream in
 *	size.c    what is told of the stream       fault.c   what fails or happens on purpose
 *	p2p.c     the mailbox, writes to a peer's  mutant.c  rules that it breaks
 */
#ifndef SIM_DEVICE_H
#define SIM_DEVICE_H

#include <xxhash.h>

#include "sim/core.h"
#include "sim/personality.h"
#include "sim/stream.h"

/* What software can read or set, and what moves the device on: all of it migrates. */
struct regs {
	uint32_t control;
	uint32_t status; /* SIM_STATUS_FULL and _FAULT only */
	uint64_t ring_base;
	uint64_t ring_index;
	uint32_t ring_entries;
	uint32_t dma_rate;
	uint64_t producer;
	uint64_t bytes;
	uint64_t doorbells;
	uint64_t stalls;
	uint64_t irqs;
	uint64_t faults;
	uint64_t mutated;
	uint64_t uptime_ns; /* running time since reset: time_ns of records */
	uint64_t random;    /* where the sequence of changes stands */
	uint64_t p2p_target;
	uint32_t p2p_rate;
	uint64_t p2p_sent;
	uint64_t p2p_seen;
	uint64_t p2p_late;
	uint64_t scratch[SIM_SCRATCH_COUNT];
	uint8_t config[SIM_CONFIG_SIZE];
	uint8_t msix[SIM_BAR_SIZE];
};

/* Internal memory. The bitmaps, a bit per page, mean something during a save only. */
struct memory {
	uint8_t *data;
	uint64_t size;     /* bytes; the last page may be short */
	uint64_t pages;
	uint64_t *pending; /* has to be sent (again) */
	uint64_t *early;   /* changed since the session began: fit for pre-copy */
	uint64_t *held;    /* changed, but to be fit only later: when the next save begins (of a
			    * personality that saves when asked), or after renewed initial bytes */
};

/* The mailbox BAR: memory that peers may map. */
struct mailbox {
	int fd;                                 /* of that memory, in user space */
	uint64_t *words;                        /* shared: others write to it at any time */
	uint64_t known[SIM_BAR_SIZE / 8];       /* what it held when it was last looked at */
};

/* The data session that reads. */
struct save {
	bool open;
	bool header_sent;    /* the stream has begun */
	bool ended;          /* the trailer was taken up */
	bool in_initial;     /* the record under way belongs to the initial bytes */
	uint64_t initial;    /* next page of the initial bytes */
	uint64_t initial_end; /* and the page behind the last */
	bool renewed;        /* the record that says so is to come: initial bytes began anew */
	bool as_dirty;       /* without the opt-in: they are told as dirty bytes */
	bool holding;        /* memory.held waits for the end of the initial bytes */
	bool asked;          /* the next read begins a save (of one who saves when asked) */
	bool failed;         /* a save failed unnoticed: nothing more before STOP_COPY */
	uint64_t next_ask_ns; /* of the session: before that a query does not ask */
	uint64_t scan;       /* where the search for other pages goes on, round and round */
	uint64_t body;       /* next byte of memory of the record under way */
	uint64_t body_left;
	uint8_t stage[STREAM_STAGE_MAX]; /* bytes that are not internal memory */
	size_t stage_at;     /* the next to hand out */
	size_t stage_end;
	uint64_t taken;      /* bytes of the stream handed out */
	uint8_t flipped;     /* the byte of --corrupt-stream */
	XXH64_state_t *hash;
};

/* The data session that writes. */
struct load {
	bool open;
	bool bad;          /* refused already; the rest is thrown away */
	bool complete;     /* the trailer came and was right */
	enum load_at {
		LOAD_HEADER,
		LOAD_RECORD,
		LOAD_MEMORY,
		LOAD_REGS,
		LOAD_END,
	} at;              /* what the next bytes are */
	bool mismatch;     /* bad, because it is another device's */
	int error;         /* positive errno that writes get from now on */
	bool have_regs;
	uint64_t need;     /* bytes until that is complete */
	uint64_t got;
	uint64_t body;     /* LOAD_MEMORY: where it goes */
	uint64_t taken;    /* bytes of the stream so far */
	uint64_t unpaid;   /* bytes whose load cost is not paid yet */
	uint64_t at_end;   /* and bytes that are paid for at the end only */
	uint8_t stage[STREAM_STAGE_MAX];
	uint8_t sink[65536];
	struct regs *regs; /* taken over at the end */
	uint8_t mailbox[SIM_BAR_SIZE]; /* likewise */
	uint64_t *seen;    /* pages that came at least once */
	XXH64_state_t *hash;
};

/* Pages written by DMA: chunks of bitmap, sorted by address, made when first written to. */
struct log_chunk {
	uint64_t number; /* IOVA / LOG_CHUNK_BYTES */
	uint64_t *bits;
};

struct log {
	bool on;
	bool lost;
	uint64_t page_size;
	struct vfm_feature_logging_range *ranges; /* sorted; NULL: everything */
	uint32_t range_count;
	struct log_chunk *chunks;
	uint32_t chunk_count;
	uint32_t chunk_room;
};

/* What triggers measure: since a data session, of either kind, was opened. */
struct session {
	uint64_t number;    /* from 1, in the order of opening */
	uint64_t ns;        /* that ticks told of */
	uint64_t bytes;     /* of stream */
	uint64_t infos;     /* precopy info queries */
	uint64_t doorbells; /* at the last of them */
	bool rang;          /* the doorbell, between the two queries before */
	bool late;          /* this query is SIM_WHEN_LATE */
	uint32_t reinits;
	bool told_to_renew; /* SIM_COMMAND_REINIT */
};

struct sim {
	struct sim_options opts;
	const struct sim_personality *who;
	const struct sim_host_ops *ops;
	void *opaque;
	uint32_t known_flags;
	enum vfm_state state;
	bool infov2;
	uint64_t hash_value;
	uint64_t last_ns;       /* of the last tick */
	uint64_t dma_credit;    /* records due, in units of 1/NS_PER_SEC */
	uint64_t dirty_credit;  /* bytes due, likewise */
	uint64_t p2p_credit;    /* writes due, likewise */
	uint64_t stream_bytes;  /* read and written since creation: --die-after-bytes */
	unsigned arc_count[VFM_STATE_COUNT][VFM_STATE_COUNT];
	unsigned call_count[SIM_CALL_COUNT];
	uint32_t upsets;
	uint64_t mutant_data;    /* what its mutant remembers */
	struct session session;
	struct mailbox mailbox;
	struct regs regs;
	struct memory memory;
	struct save save;
	struct load load;
	struct log log;
	struct sim_record batch[64]; /* of one write to guest memory */
};

/* core.c */
bool sim_runs(const struct sim *sim);     /* the internal memory may change */
bool sim_does_dma(const struct sim *sim); /* and the ring may be written */
bool sim_does_p2p(const struct sim *sim); /* and peers */
void sim_count_stream(struct sim *sim, uint64_t bytes);
bool sim_in_session(const struct sim *sim);
int sim_no_session(const struct sim *sim); /* -errno for who reads or writes without one */
void sim_enter_error(struct sim *sim);

/* Whole things that are due after @ns at @rate per second, at most @max; the rest stays in
 * @credit. Rates and times are bounded so that the product fits. */
uint64_t sim_due(uint64_t *credit, uint64_t rate, uint64_t ns, uint64_t unit, uint64_t max);

/* memory.c */
int memory_create(struct memory *memory, uint64_t size);
void memory_destroy(struct memory *memory);
void memory_fill(struct memory *memory, uint64_t seed);
uint64_t memory_bytes(const struct memory *memory, uint64_t start, uint64_t pages);
void memory_change(struct sim *sim, uint64_t bytes);
uint64_t memory_hash(const struct memory *memory);

/* regs.c, config.c */
void regs_reset(struct sim *sim);
uint32_t regs_status(const struct sim *sim);
int regs_read(struct sim *sim, uint64_t offset, void *buf, size_t len);
int regs_write(struct sim *sim, uint64_t offset, const void *buf, size_t len);
void config_reset(struct sim *sim);
int config_read(const struct sim *sim, uint64_t offset, void *buf, size_t len);
int config_write(struct sim *sim, uint64_t offset, const void *buf, size_t len);
/* Do two config spaces differ in writable bits only? */
bool config_same_identity(const uint8_t *a, const uint8_t *b);

/* ring.c */
bool ring_valid(const struct regs *regs);
void ring_run(struct sim *sim, uint64_t records);

/* log.c */
void log_mark(struct log *log, uint64_t iova, uint64_t len);
void log_free(struct log *log);

/* save.c */
int save_create(struct save *save);
void save_destroy(struct save *save);
int save_open(struct sim *sim);
void save_close(struct sim *sim);
void save_stop_copy(struct sim *sim); /* STOP_COPY is entered */
bool save_in_initial(const struct sim *sim);  /* some of the initial bytes were not begun */
bool save_has_initial(const struct sim *sim); /* or were begun and are not read */
void save_settle(struct sim *sim);            /* notice that they are all read */
uint64_t save_under_way(const struct save *save); /* bytes of what was begun */

/* Pages as records. */
enum fit {
	FIT_ALL,     /* what is pending */
	FIT_EARLY,   /* of that, what pre-copy may send now */
	FIT_OFFERED, /* and what it may send later */
};
uint64_t save_measure(const struct memory *memory, uint64_t from, uint64_t end, enum fit fit);
#define RUN_MAX (STREAM_RECORD_MAX / SIM_PAGE_SIZE) /* pages of one record */

/* fault.c */
int fault_call(struct sim *sim, enum sim_call call); /* 0, or the -errno it fails with */
void fault_upset(struct sim *sim);                   /* it may be in ERROR, or reset, afterwards */
void fault_query(struct sim *sim);                   /* count a precopy info query */
bool fault_reinit_due(const struct sim *sim);
bool fault_needs_ticks(const struct sim *sim);

/* p2p.c */
void p2p_reset(struct sim *sim);
void p2p_tick(struct sim *sim, uint64_t ns);
void p2p_look(struct sim *sim); /* count what has come in */
void p2p_put(struct sim *sim, const void *contents);
void p2p_read(struct sim *sim, uint64_t offset, void *buf, size_t len);
void p2p_write(struct sim *sim, uint64_t offset, const void *buf, size_t len);

/* mutant.c: what the functions of core.h do unless the device is a mutant. */
void core_reset(struct sim *sim);
int core_set_state(struct sim *sim, uint32_t state);
bool core_does_dma(const struct sim *sim);
int64_t save_read(struct sim *sim, size_t max, struct iovec *iov, int *count);
int load_begin_write(struct sim *sim);
int size_stop_copy(struct sim *sim, uint64_t *size);
int size_opt_in(struct sim *sim);
int size_precopy(struct sim *sim, struct vfm_precopy_info *info);
int log_start(struct sim *sim, uint64_t *page_size, const struct vfm_feature_logging_range *ranges,
	      uint32_t count);
int log_report(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
	       uint64_t *bitmap);
int mutant_finish(struct sim *sim); /* load_finish() */
void mutant_meet(struct sim *sim);  /* a new user came */

/* load.c */
int load_create(struct sim *sim);
void load_destroy(struct load *load);
int load_open(struct sim *sim);
void load_abort(struct sim *sim);
int load_finish(struct sim *sim); /* -errno: refused; what was loaded is not to be used */

#endif
