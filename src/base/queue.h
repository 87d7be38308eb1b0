/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A first-in first-out queue of nodes that live inside the queued objects. No allocation, no lock:
 * the owner's lock guards it. A queue of zero bytes is empty, and a node is in one queue at a time.
 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/compiler.h"

struct queue_node {
	struct queue_node *next;
};

struct queue {
	struct queue_node *head; /* NULL: empty */
	struct queue_node *tail; /* meaningful only where head is */
	size_t count;
};

static inline bool queue_empty(const struct queue *queue)
{
	return !queue->head;
}

static inline void queue_push(struct queue *queue, struct queue_node *node)
{
	node->next = NULL;
	if (queue->head)
		queue->tail->next = node;
	else
		queue->head = node;
	queue->tail = node;
	queue->count++;
}

/* Put @node first, for one that was taken out and could not be finished. */
static inline void queue_push_front(struct queue *queue, struct queue_node *node)
{
	node->next = queue->head;
	if (!queue->head)
		queue->tail = node;
	queue->head = node;
	queue->count++;
}

/* The first node stays where it is. NULL: empty. */
static inline struct queue_node *queue_peek(const struct queue *queue)
{
	return queue->head;
}

/* The first node leaves. NULL: empty. */
static inline struct queue_node *queue_pop(struct queue *queue)
{
	struct queue_node *node = queue->head;

	if (node) {
		queue->head = node->next;
		queue->count--;
		node->next = NULL;
	}
	return node;
}

/* The object around a node, NULL for NULL: QUEUE_ENTRY(queue_pop(&q), struct frame, node). */
#define QUEUE_ENTRY(ptr, type, member)                                                             \
	({                                                                                         \
		struct queue_node *entry_node = (ptr);                                             \
		entry_node ? container_of(entry_node, type, member) : (type *)NULL;                \
	})

#endif
