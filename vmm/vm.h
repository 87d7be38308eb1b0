/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM of the reference VMM, and who may touch what.
 *
 *	main loop      makes and frees the VM; QMP; holds and releases it
 *	steering       of a session: holds, releases, saves, loads, dirty log
 *	vCPU threads   run the guest; accesses to devices; notices
 *	intx           unmasks interrupts of devices
 *
 * The vCPUs run while nobody holds them (enum vmm_hold). Each reason to stand still is a bit of its
 * own, so that a user's stop, a migration and a VM that was given away do not undo each other.
 * vm->lock guards the bits and is held while vCPUs are stopped or started.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <vfio-migrate/device.h>
#include <vfio-migrate/log.h>
#include <vfio-migrate/vfio-user.h>
#include <vfio-migrate/vfio.h>
#include <vfio-migrate/vm.h>
#include "base/compiler.h"
#include "base/thread.h"
#include "vmm/guest/abi.h"
#include "vmm/pci.h"

#define VMM_CPUS_MAX    GUEST_CPUS_MAX
#define VMM_DEVICES_MAX GUEST_DEVICES_MAX
#define VMM_BARS_MAX    PCI_BARS
#define VMM_MAPPINGS_MAX 128u           /* parts of BARs that the guest reaches without us */
#define VMM_RAM_MAX     2u              /* below and above the hole */
#define VMM_MEMORY_MIN  (8ull << 20)
#define VMM_MEMORY_MAX  (256ull << 30)
#define VMM_WHY_MAX     256             /* one line for people, with its NUL */

enum vmm_hold {
	VMM_HOLD_USER = 1 << 0,      /* QMP stop, --paused */
	VMM_HOLD_MIGRATION = 1 << 1, /* the session stopped it */
	VMM_HOLD_INCOMING = 1 << 2,  /* waits for a migration and is not ours yet */
	VMM_HOLD_GIVEN = 1 << 3,     /* belongs to the destination, until it comes back */
	VMM_HOLD_BROKEN = 1 << 4,    /* a vCPU cannot go on: for good */
};

/* What a vCPU thread tells the main loop; from any thread. */
enum vmm_notice {
	VMM_NOTICE_PANIC = 1 << 0,  /* the guest wrote a failure record */
	VMM_NOTICE_BROKEN = 1 << 1, /* a vCPU cannot go on */
	VMM_NOTICE_LOST = 1 << 2,   /* a device's server is gone */
};

struct attach_ops;

/* Which interrupt of a device to use. */
enum vmm_irq_choice { VMM_IRQ_BEST, VMM_IRQ_NONE, VMM_IRQ_INTX, VMM_IRQ_MSI, VMM_IRQ_MSIX };

struct vmm_device_config {
	const struct attach_ops *attach;
	const char *address; /* as @attach wants it */
	char name[VFM_NAME_MAX];
	enum vmm_irq_choice irq;
};

/* Filled from the command line; strings are borrowed. */
struct vmm_config {
	uint64_t memory;
	uint64_t working_set; /* bytes; UINT64_MAX: half of memory */
	uint64_t dirty_rate;  /* bytes of pages per second */
	unsigned cpus;
	const char *accel;    /* "auto", "kvm", "thread" */
	const char *serial;   /* file; NULL: nowhere */
	bool verify;
	bool p2p;             /* devices write to each other */
	unsigned late_reinits; /* switchovers at which devices find new initial bytes */
	enum vfm_vfio_way vfio_way;
	bool incoming;        /* memory stays empty until it is loaded */
	bool paused;
	unsigned devices;
	struct vmm_device_config device[VMM_DEVICES_MAX];

	void *opaque;         /* for the calls below */
	vfm_log_fn *log;
	void (*notice)(void *opaque, enum vmm_notice notice);
};

/* Guest memory: one memfd, mapped where its guest address is, relative to base. */
struct vmm_memory {
	int fd;
	uint8_t *base;     /* host address of guest physical 0 */
	uint64_t span;     /* bytes reserved there */
	unsigned count;
	struct vfm_region region[VMM_RAM_MAX];
	uint64_t offset[VMM_RAM_MAX]; /* in the memfd */
};

/* An access window to a device's region. */
struct vmm_window {
	uint64_t gpa;    /* a port where io is set */
	uint64_t size;
	unsigned device;
	unsigned bar;
	uint32_t access; /* VFM_REGION_INFO_READ and _WRITE, or one of them */
	bool io;
};

/* A part of a window that is mapped into the guest: accesses there do not come to us. */
struct vmm_mapping {
	uint64_t gpa;
	uint64_t size;
	void *host;
};

/* The first interrupt of a device. */
struct vmm_irq {
	unsigned index;  /* enum vfm_pci_irq */
	int fd;          /* eventfd, signalled by the device; -1: none */
	int done;        /* of INTx: eventfd, signalled when the guest has dealt with it; else -1 */
};

struct vmm_device {
	char name[VFM_NAME_MAX];
	const struct attach_ops *attach;
	void *handle;    /* of attach alone */
	struct vfm_device *device;
	struct vmm *vm;
	struct vmm_irq irq;
	struct pci_function pci;
	bool lost;       /* atomic */
};

/* A device that writes to another one. */
struct vmm_peer {
	uint64_t sent;    /* writes, as it counts; the last value */
	uint64_t arrived; /* the value that stands where it writes to */
	uint64_t seen;    /* writes of others that it noticed when they were allowed */
	uint64_t late;    /* and when not */
};

/* What inspect() found; valid once taken is set. */
struct vmm_inspection {
	bool taken;
	uint64_t memory;    /* XXH3 of all guest memory */
	uint64_t took_ns;
	uint64_t heartbeat[VMM_CPUS_MAX];
	struct {
		int result; /* 0 or -errno: could not be asked */
		uint64_t hash;
		uint64_t records; /* as the device counts */
		uint64_t ring;  /* records, as the last one in the ring says */
		struct vmm_peer peer; /* --p2p */
	} device[VMM_DEVICES_MAX];
};

struct vmm_serial {
	int fd;          /* -1: nowhere */
	uint8_t reg[8];
	char line[256];  /* for whoever wants to see the last line */
	unsigned used;
	pthread_mutex_t lock;
};

struct accel_ops;

struct vmm {
	struct vmm_config config;
	bool ending; /* atomic */
	struct vmm_memory memory;
	struct guest_params params;
	uint64_t tables;     /* page directories, guest physical */
	uint64_t stacks;     /* guest physical */
	unsigned windows;
	struct vmm_window window[VMM_DEVICES_MAX * VMM_BARS_MAX];
	unsigned mappings;
	struct vmm_mapping mapping[VMM_MAPPINGS_MAX];
	struct vfm_vfio_space *space; /* of all kernel devices; NULL: there is none */
	unsigned devices;
	struct vmm_device device[VMM_DEVICES_MAX];
	struct vmm_serial serial;
	pthread_mutex_t pci_lock; /* pci_address and the shadows; never over a call to a device */
	uint32_t pci_address;     /* port 0xcf8; under pci_lock */
	struct thread intx;       /* unmasks INTx; see intx.c */
	int intx_quit;            /* eventfd; -1: no thread */

	const struct accel_ops *accel;
	void *accel_state;   /* of the accel alone */

	pthread_mutex_t lock;
	unsigned reinits;    /* such switchovers so far; of the steering thread */
	unsigned holds;      /* enum vmm_hold; written under lock, read atomically */
	struct vmm_inspection inspection; /* under lock */
};

/* ---- vm.c ---- */

/* Make a VM as configured, held. NULL in @vm and one line in @why on failure; -ERANGE: what is
 * configured does not fit together. */
int vmm_new(const struct vmm_config *config, struct vmm **vm, char *why);
void vmm_free(struct vmm *vm);
/* The VM will be freed soon. */
void vmm_end(struct vmm *vm);

/* Add or drop a reason to stand still. Stopping waits for the vCPUs. 0, or -errno of the accel: a
 * VM that could not be stopped counts as held all the same. */
int vmm_hold(struct vmm *vm, enum vmm_hold hold);
int vmm_release(struct vmm *vm, unsigned holds);
unsigned vmm_holds(struct vmm *vm);

void vmm_log(struct vmm *vm, enum vfm_log_level level, const char *fmt, ...) PRINTF(3, 4);
void vmm_notice(struct vmm *vm, enum vmm_notice notice);
/* Told to end: who goes at the same time, as a device's server, is not missed. Of any thread. */
bool vmm_is_ending(const struct vmm *vm);

/* What the migration library calls; opaque is the struct vmm. */
extern const struct vfm_vm_ops vmm_ops;
extern const struct vfm_vm_ops vmm_ops_verify; /* the same with inspect */

/* The guest's shared page, to be read at any time, word by word. */
static inline const struct guest_shared *vmm_shared(const struct vmm *vm)
{
	return (const struct guest_shared *)(vm->memory.base + GUEST_SHARED_GPA);
}

/* ---- ram.c ---- */
int ram_new(struct vmm_memory *memory, uint64_t size, char *why);
void ram_free(struct vmm_memory *memory);
/* Host address of @size bytes of guest memory, NULL: not all of them are memory. */
void *ram_at(const struct vmm_memory *memory, uint64_t gpa, uint64_t size);

/* ---- layout.c ---- */
/* Decide what lies where. Both sides of a migration come to the same result. */
int layout_plan(struct vmm *vm, char *why);
/* Write program, tables, parameters and working set into fresh memory. */
void layout_load(struct vmm *vm);

/* ---- bus.c ---- */
/* Access of a vCPU at @gpa, 1 to 8 bytes. What is not there reads as ones and ignores writes. */
void bus_read(struct vmm *vm, uint64_t gpa, void *data, unsigned len);
void bus_write(struct vmm *vm, uint64_t gpa, const void *data, unsigned len);
void bus_port_read(struct vmm *vm, uint16_t port, void *data, unsigned len);
void bus_port_write(struct vmm *vm, uint16_t port, const void *data, unsigned len);

/* ---- serial.c ---- */
int serial_new(struct vmm_serial *serial, const char *path, char *why);
void serial_free(struct vmm_serial *serial);
uint8_t serial_read(struct vmm_serial *serial, unsigned reg);
void serial_write(struct vmm *vm, unsigned reg, uint8_t value);

/* ---- attach.c ---- */
int attach_devices(struct vmm *vm, char *why);
int attach_irqs(struct vmm *vm, char *why);
void attach_free(struct vmm *vm);

/* ---- intx.c ---- */
int intx_start(struct vmm *vm, char *why);
void intx_stop(struct vmm *vm);
/* Interrupt the guest once for each INTx device, in case one got lost while nothing ran. */
void intx_kick(struct vmm *vm);

/* ---- pci.c ---- */
struct state_pci;
/* Look at a device's config space; then place its BARs, then switch it on. */
int pci_attach(struct vmm_device *d);
bool pci_bar_is_io(const struct vmm_device *d, unsigned bar);
void pci_place_bar(struct vmm_device *d, unsigned bar, uint64_t address, uint64_t size);
int pci_power_on(struct vmm *vm, unsigned device);
/* Offset of a capability of @size bytes; 0: it has none such, or one that does not fit. */
unsigned pci_find_cap(const struct vmm_device *d, uint8_t id, unsigned size);
unsigned pci_devfn(unsigned device);
/* The pin of the I/O APIC that its INTx is wired to. */
uint32_t pci_pin(unsigned device);
/* Config space as the guest sees it. */
int pci_read_function(struct vmm_device *d, unsigned offset, void *data, unsigned len);
/* False: not our port. @data is all ones before. */
bool pci_port_read(struct vmm *vm, uint16_t port, void *data, unsigned len);
bool pci_port_write(struct vmm *vm, uint16_t port, const void *data, unsigned len);
/* With the vCPUs stopped. pci_load: -EINVAL: of another device. */
void pci_save(struct vmm *vm, struct state_pci *out);
int pci_load(struct vmm *vm, const struct state_pci *state);

/* ---- peers.c ---- */
int peers_connect(struct vmm *vm, char *why);
/* The device that number @i writes to. */
unsigned peers_target(const struct vmm *vm, unsigned i);
/* What device @i tells now. 0 or -errno. */
int peers_look(struct vmm *vm, unsigned i, struct vmm_peer *out);

/* ---- inspect.c ---- */
int inspect_vm(struct vmm *vm);

#endif
