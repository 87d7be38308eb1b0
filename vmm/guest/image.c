/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest program as bytes; the build makes the list of numbers (embed.sh). */
#include "vmm/layout.h"

static const uint8_t image[] = {
#include "guest-image.h"
};

_Static_assert(sizeof(image) <= GUEST_IMAGE_MAX, "the guest program fits its place");

const void *layout_image(size_t *size)
{
	*size = sizeof(image);
	return image;
}
