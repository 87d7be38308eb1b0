/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel/channel.h"

int channel_send(struct channel *ch, struct iovec *iov, int count)
{
	return ch->ops->send(ch, iov, count);
}

int channel_recv(struct channel *ch, struct iovec *iov, int count)
{
	return ch->ops->recv(ch, iov, count);
}

void channel_drain(struct channel *ch)
{
	ch->ops->drain(ch);
}

void channel_shutdown(struct channel *ch)
{
	ch->ops->shutdown(ch);
}

void channel_close(struct channel *ch)
{
	if (ch)
		ch->ops->close(ch);
}
