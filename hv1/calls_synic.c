/* SPDX-License-Identifier: MIT
 *
 * Messages and events between partitions (TLFS "Inter-partition communication"), through the
 * connections that hyperv-testdev makes.
 */
#include <string.h>

#include "hv1/internal.h"

enum { EVENT_FLAGS = 2048, CONNECTION_ID_BITS = 24 };

/* HV_CONNECTION_ID: 31:24 reserved. A port of the other kind is the wrong port. */
static enum hv_status find_connection(const struct hypercall *c, enum connection_kind kind,
                                      const struct connection **found)
{
    u32 id, zero;

    memcpy(&id, c->input, sizeof(id));
    memcpy(&zero, c->input + 4, sizeof(zero));
    if (id >> CONNECTION_ID_BITS || (kind == CONNECTION_MESSAGE ? zero : zero >> 16))
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    if (id >= CONNECTIONS || c->hv1->connections[id].kind == CONNECTION_NONE)
        return HV_STATUS_INVALID_CONNECTION_ID;
    *found = &c->hv1->connections[id];
    return (*found)->kind == kind ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_PORT_ID;
}

enum hv_status call_post_message(struct hypercall *c)
{
    struct hv_message m = {0};
    const struct connection *connection;
    u32 type, size;
    enum hv_status status;

    memcpy(&type, c->input + 8, sizeof(type));
    memcpy(&size, c->input + 12, sizeof(size));
    if (!type || type >> 31 || size > HV_MESSAGE_PAYLOAD_MAX)
        return HV_STATUS_INVALID_PARAMETER;
    status = find_connection(c, CONNECTION_MESSAGE, &connection);
    if (status != HV_STATUS_SUCCESS)
        return status;
    m.type = type;
    m.payload_size = (u8)size;
    m.origin = (u64)(connection - c->hv1->connections);
    memcpy(m.payload, c->input + 16, size);
    return synic_post(&c->hv1->vps[connection->vp], connection->sint, &m);
}

/* The port's base flag is the connection's number. */
enum hv_status call_signal_event(struct hypercall *c)
{
    const struct connection *connection;
    enum hv_status status = find_connection(c, CONNECTION_EVENT, &connection);
    unsigned base;
    u16 flag;

    if (status != HV_STATUS_SUCCESS)
        return status;
    memcpy(&flag, c->input + 4, sizeof(flag));
    base = (unsigned)(connection - c->hv1->connections);
    if (flag >= EVENT_FLAGS - base)
        return HV_STATUS_INVALID_PARAMETER;
    return synic_signal(&c->hv1->vps[connection->vp], connection->sint, base + flag);
}
