/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of a state file. All numbers are little endian, nothing is padded by a compiler,
 * reserved fields are zero and are refused otherwise. One content has one encoding, but for where
 * its data is cut into chunks.
 *
 *	+--------+-------+------+-------+------+-  -  -+-------+
 *	| header | chunk | data | chunk | data |       | chunk |  nothing behind
 *	+--------+-------+------+-------+------+-  -  -+-------+
 *	  304       32            DATA                   END
 *
 * The header's check, XXH3-64 of the bytes before it, is the seed of every other sum: a chunk of
 * another file does not fit, nor does another header.
 */
#ifndef FILE_FORMAT_H
#define FILE_FORMAT_H

#include <assert.h>
#include <vfio-migrate/state-file.h>
#include "base/byteorder.h"

#define FILE_MAGIC     "VFMSTATE"
#define FILE_VERSION   1u
#define FILE_CHUNK_MAX (1u << 20) /* bytes of data in a chunk */

enum file_flags {
	FILE_FLAG_BARS = 1 << 0, /* the sizes of the BARs are known */
};

struct file_header {
	char magic[8];           /* FILE_MAGIC, without a NUL */
	le16 version;            /* FILE_VERSION */
	le16 reserved;
	le32 size;               /* of this header */
	le32 mig_flags;          /* enum vfm_mig_flags; STOP_COPY is among them */
	le32 flags;              /* enum file_flags */
	le16 pci_vendor;         /* 0xffff: not known */
	le16 pci_device;
	le16 pci_subsystem_vendor;
	le16 pci_subsystem;
	le64 page_size;          /* a power of two, 0: not known */
	le64 bar[VFM_BARS];      /* bytes; 0 without FILE_FLAG_BARS */
	char backend[VFM_BACKEND_MAX]; /* text as src/wire/text.h has it; not empty */
	char driver[VFM_NAME_MAX];     /* likewise; "": not known */
	char type[VFM_NAME_MAX];       /* likewise */
	char name[VFM_NAME_MAX];       /* not empty */
	le64 check;              /* XXH3-64 of all before */
} PACKED;
static_assert(sizeof(struct file_header) == 304, "one header on every machine");

enum file_chunk_type {
	FILE_CHUNK_DATA = 1, /* size bytes of device data follow, at least one */
	FILE_CHUNK_END = 2,  /* the last one: size 0, offset the bytes of all data */
};

struct file_chunk {
	le32 type;
	le32 size;   /* bytes of data that follow, up to FILE_CHUNK_MAX */
	le64 offset; /* bytes of device data before these */
	le64 digest; /* DATA: of the data that follow; END: of the data of all chunks in a row */
	le64 check;  /* of the 24 bytes before */
} PACKED;
static_assert(sizeof(struct file_chunk) == 32, "one chunk on every machine");

/* A chunk's head in host order. */
struct file_chunk_head {
	enum file_chunk_type type;
	uint32_t size;
	uint64_t offset;
	uint64_t digest;
};

/* Encode; returns the check, the seed of the rest. Texts that are no valid ones are made so. */
uint64_t file_put_header(struct file_header *out, const struct vfm_identity *identity);
/* Decode and validate: 0, -EINVAL: not our magic, -EPROTONOSUPPORT: another version, -EBADMSG. */
int file_get_header(const struct file_header *in, struct vfm_identity *identity, uint64_t *seed);

void file_put_chunk(struct file_chunk *out, const struct file_chunk_head *head, uint64_t seed);
/* -EBADMSG unless it is a chunk that can follow @offset bytes of data. */
int file_get_chunk(const struct file_chunk *in, uint64_t seed, uint64_t offset,
		   struct file_chunk_head *head);

uint64_t file_digest(const void *data, size_t size, uint64_t seed);

#endif
