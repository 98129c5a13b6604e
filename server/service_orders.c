/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Erasure orders as they are kept and told. They live in a file of their own, DATA/orders
 * (server/core/orders.h draws it), so that a restored database does not bring back what was erased: they are
 * carried out again when the service is opened, and whatever comes again from a handheld is held against
 * them. Orders are only added; the file is replaced as a whole, under the storage's lock, and made durable
 * before anything is erased.
 *
 * While an order is being carried out DATA/erasing is there: whoever finds it goes on, until no copy of the
 * erased bytes is left in the database's files.
 */
#include "server/service_internal.h"

#include "base/files.h"

#define ERASING_NAME "erasing"
#define ORDER_NUMBER_TOLD_MAX (UINT64_C(1) << 40)

/* ---- the file ---- */

/* Reads it when it is not the one that was read last. With the mutex. */
static int refresh(struct service *service, const char *path)
{
    const struct world *world = service->world;
    struct orders_file *file = &service->orders;
    _cleanup_buffer_ struct buffer content = {0};
    struct orders orders = {0};
    uint64_t size = 0;
    int64_t modified_ms = 0;
    int r = world->verbs->stat(world->context, path, &size, &modified_ms);

    if (r < 0 && r != -ENOENT)
        return r;
    if (file->is_read && size == file->size && modified_ms == file->modified_ms)
        return 0;
    r = r == -ENOENT ? 0 : files_read(world, path, ORDERS_BYTES_MAX, &content);
    if (r >= 0)
        r = orders_parse(buffer_bytes(&content), &orders);
    if (r < 0)
        return r;
    orders_done(&file->orders);
    file->orders = orders;
    file->is_read = true;
    file->size = size;
    file->modified_ms = modified_ms;
    return 0;
}

int orders_refresh(struct service *service)
{
    _cleanup_free_ char *path = files_join(service->directory, ORDERS_NAME);
    int r;

    if (!path)
        return -ENOMEM;
    pthread_mutex_lock(&service->orders.mutex);
    r = refresh(service, path);
    pthread_mutex_unlock(&service->orders.mutex);
    return r;
}

void orders_file_done(struct service *service)
{
    pthread_mutex_destroy(&service->orders.mutex);
    orders_done(&service->orders.orders);
}

int orders_append(struct service *service, const struct order *order, const struct order_record *records,
    size_t record_count, const struct order_blob *blobs, size_t blob_count)
{
    _cleanup_free_ char *path = files_join(service->directory, ORDERS_NAME);
    struct orders_file *file = &service->orders;
    _cleanup_buffer_ struct buffer content = {0};
    int r;

    if (!path)
        return -ENOMEM;
    pthread_mutex_lock(&file->mutex);
    r = refresh(service, path);
    if (r >= 0) {
        buffer_put_bytes(&content, buffer_bytes(&file->orders.text));
        if (content.len > 0 && content.data[content.len - 1] != '\n')
            buffer_put_u8(&content, '\n');
        r = order_format(order, records, record_count, blobs, blob_count, &content);
    }
    /* A file that nobody could read any more would end all transactions. */
    if (r >= 0 && content.len > ORDERS_BYTES_MAX)
        r = -EFBIG;
    if (r >= 0)
        r = files_replace(service->world, path, buffer_bytes(&content), false);
    file->is_read = false;
    if (r >= 0)
        r = refresh(service, path);
    pthread_mutex_unlock(&file->mutex);
    return r;
}

int orders_copy(struct service *service, struct orders *ret)
{
    int r;

    pthread_mutex_lock(&service->orders.mutex);
    r = orders_parse(buffer_bytes(&service->orders.orders.text), ret);
    pthread_mutex_unlock(&service->orders.mutex);
    return r;
}

int orders_back_up(struct service *service, const char *target, struct orders *ret)
{
    _cleanup_free_ char *path = files_join(target, ORDERS_NAME);
    int r = path ? orders_refresh(service) : -ENOMEM;

    if (r >= 0)
        r = orders_copy(service, ret);
    return r < 0 || ret->count == 0 ? r
                                    : files_replace(service->world, path, buffer_bytes(&ret->text), false);
}

/* ---- the mark ---- */

int erasing_mark(struct service *service, bool is_under_way)
{
    const struct world *world = service->world;
    _cleanup_free_ char *path = files_join(service->directory, ERASING_NAME);
    int r;

    if (!path)
        return -ENOMEM;
    if (is_under_way)
        return files_replace(world, path, bytes_of(NULL, 0), false);
    r = world->verbs->unlink(world->context, path);
    if (r >= 0)
        r = world->verbs->sync_directory(world->context, service->directory);
    return r == -ENOENT ? 0 : r;
}

bool erasing_is_marked(struct service *service)
{
    _cleanup_free_ char *path = files_join(service->directory, ERASING_NAME);

    return !path || service->world->verbs->stat(service->world->context, path, NULL, NULL) != -ENOENT;
}

/* ---- looking up ---- */

uint64_t orders_last_number(struct service *service)
{
    uint64_t last;

    pthread_mutex_lock(&service->orders.mutex);
    last = orders_last(&service->orders.orders);
    pthread_mutex_unlock(&service->orders.mutex);
    return last;
}

bool orders_cover_record(struct service *service, const struct position_in_log *at, const struct sha256 *leaf,
    const struct projection *projection)
{
    const struct orders *orders = &service->orders.orders;
    bool found;

    pthread_mutex_lock(&service->orders.mutex);
    found = orders_find_record(orders, at, leaf) > 0;
    if (!found && projection && projection->is_rehomed)
        found = orders_find_record(orders, &projection->first, &projection->first_leaf) > 0;
    pthread_mutex_unlock(&service->orders.mutex);
    return found;
}

bool orders_cover_id(struct service *service, const struct position_in_log *at, const struct uuid *id)
{
    bool found;

    pthread_mutex_lock(&service->orders.mutex);
    found = orders_find_id(&service->orders.orders, at, id) > 0;
    pthread_mutex_unlock(&service->orders.mutex);
    return found;
}

bool orders_cover_blob(struct service *service, const struct sha256 *sha256)
{
    bool found;

    pthread_mutex_lock(&service->orders.mutex);
    found = orders_find_blob(&service->orders.orders, sha256) > 0;
    pthread_mutex_unlock(&service->orders.mutex);
    return found;
}

/* ---- telling a handheld ---- */

void told_orders_done(struct told_orders *told)
{
    free(told->orders);
    free(told->records);
    free(told->blobs);
}

/* The entries that one order has for the device, into `told`. */
static void tell_order(const struct orders *orders, const struct order *order, const struct uuid *device,
    struct told_orders *told)
{
    struct erasure_order *entry = &told->orders[told->count];

    *entry = (struct erasure_order){.number = order->number,
        .time_ms = order->time_ms,
        .records = told->records + told->record_count,
        .blobs = told->blobs + told->blob_count};
    for (size_t i = 0; i < orders->record_count; i++)
        if (orders->records[i].order == order->number && uuid_equal(&orders->records[i].device, device))
            told->records[told->record_count + entry->record_count++] = orders->records[i].record;
    for (size_t i = 0; i < orders->blob_count; i++)
        if (orders->blobs[i].order == order->number && uuid_equal(&orders->blobs[i].device, device))
            told->blobs[told->blob_count + entry->blob_count++] = orders->blobs[i].sha256;
    if (entry->record_count + entry->blob_count == 0)
        return;
    told->count++;
    told->record_count += entry->record_count;
    told->blob_count += entry->blob_count;
}

/* The lowest order above `after` that has an entry for the device, and how many it has; 0: there is none. */
static uint64_t next_order(
    const struct orders *orders, const struct uuid *device, uint64_t after, size_t *ret_entries)
{
    uint64_t next = 0;
    size_t entries = 0;

    for (size_t i = 0; i < orders->record_count + orders->blob_count; i++) {
        bool is_record = i < orders->record_count;
        const struct order_blob *blob = is_record ? NULL : &orders->blobs[i - orders->record_count];
        uint64_t number = is_record ? orders->records[i].order : blob->order;

        if (number <= after || (next > 0 && number > next) ||
            !uuid_equal(is_record ? &orders->records[i].device : &blob->device, device))
            continue;
        entries = number == next ? entries + 1 : 1;
        next = number;
    }
    *ret_entries = entries;
    return next;
}

static const struct order *order_numbered(const struct orders *orders, uint64_t number)
{
    for (size_t i = 0; i < orders->count; i++)
        if (orders->orders[i].number == number)
            return &orders->orders[i];
    return NULL;
}

int orders_tell(struct service *service, const struct uuid *device, uint64_t after, struct told_orders *ret)
{
    const struct orders *orders = &service->orders.orders;
    struct told_orders told = {0};
    size_t entries = 0, more;
    int r = 0;

    pthread_mutex_lock(&service->orders.mutex);
    for (uint64_t number = next_order(orders, device, after, &more);
         number > 0 && entries + more <= ORDER_ENTRIES_MAX;
         number = next_order(orders, device, number, &more)) {
        if (!told.orders) {
            told.orders = calloc(ORDER_ENTRIES_MAX, sizeof(*told.orders));
            told.records = calloc(ORDER_ENTRIES_MAX, sizeof(*told.records));
            told.blobs = calloc(ORDER_ENTRIES_MAX, sizeof(*told.blobs));
        }
        if (!told.orders || !told.records || !told.blobs) {
            r = -ENOMEM;
            break;
        }
        entries += more;
        tell_order(orders, order_numbered(orders, number), device, &told);
    }
    pthread_mutex_unlock(&service->orders.mutex);
    if (r < 0)
        told_orders_done(&told);
    else
        *ret = told;
    return r;
}

int orders_note_done(struct transaction *transaction, uint64_t device, uint64_t number)
{
    struct storage *storage = transaction->storage;
    uint64_t noted, last = orders_last_number(transaction->service);
    int r;

    if (number == 0 && last == 0)
        return 0;
    /* Above the last one it is of a file that was lost, or a lie. The next order's number is above all that
     * were told, so a lie may not be so high that there is none left for it. */
    if (number > last && number > ORDER_NUMBER_TOLD_MAX)
        return 0;
    r = storage->verbs->orders_done(storage, device, &noted);
    if (r < 0 || noted == number)
        return r;
    transaction->has_changed = true;
    return storage->verbs->set_orders_done(storage, device, number);
}

/* ---- listing ---- */

/* The devices that an order has entries for, each once. */
static int list_devices(const struct orders *orders, uint64_t number, struct uuid **ret, size_t *ret_count)
{
    struct uuid *devices = calloc(orders->record_count + orders->blob_count + 1, sizeof(*devices));
    size_t count = 0;

    if (!devices)
        return -ENOMEM;
    for (size_t i = 0; i < orders->record_count + orders->blob_count; i++) {
        bool is_record = i < orders->record_count;
        const struct order_blob *blob = is_record ? NULL : &orders->blobs[i - orders->record_count];
        const struct uuid *device = is_record ? &orders->records[i].device : &blob->device;
        bool is_new = (is_record ? orders->records[i].order : blob->order) == number;

        for (size_t k = 0; k < count && is_new; k++)
            is_new = !uuid_equal(&devices[k], device);
        if (is_new)
            devices[count++] = *device;
    }
    *ret = devices;
    *ret_count = count;
    return 0;
}

/* Keeps of the devices those that have not carried the order out. */
static int keep_waiting(struct storage *storage, uint64_t number, struct uuid *devices, size_t *count)
{
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++) {
        struct stored_device device;
        uint64_t done = 0;
        int r = storage->verbs->device_find(storage, &devices[i], &device);

        if (r >= 0)
            r = storage->verbs->orders_done(storage, device.number, &done);
        if (r < 0 && r != -ENOENT)
            return r;
        if (r == -ENOENT || done < number)
            devices[kept++] = devices[i];
    }
    *count = kept;
    return 0;
}

/* Is it the one before, which another handheld's records name too? */
static bool is_same_blob(const struct orders *orders, size_t i)
{
    return i > 0 && orders->blobs[i - 1].order == orders->blobs[i].order &&
           sha256_equal(&orders->blobs[i - 1].sha256, &orders->blobs[i].sha256);
}

static int each_order(const struct orders *orders, struct storage *storage,
    int (*each)(void *user, const struct service_order *order), void *user)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < orders->count; i++) {
        _cleanup_free_ struct uuid *devices = NULL;
        struct service_order order = {.number = orders->orders[i].number,
            .time_ms = orders->orders[i].time_ms,
            .by = orders->orders[i].by,
            .reason = orders->orders[i].reason};

        for (size_t k = 0; k < orders->record_count; k++)
            order.records += orders->records[k].order == order.number;
        for (size_t k = 0; k < orders->blob_count; k++)
            order.photos += orders->blobs[k].order == order.number && !is_same_blob(orders, k);
        r = list_devices(orders, order.number, &devices, &order.device_count);
        order.waiting_count = order.device_count;
        if (r >= 0)
            r = keep_waiting(storage, order.number, devices, &order.waiting_count);
        order.waiting = devices;
        if (r >= 0)
            r = each(user, &order);
    }
    return r;
}

int service_each_order(
    struct service *service, int (*each)(void *user, const struct service_order *order), void *user)
{
    _cleanup_reader_ struct reader reader = {0};
    struct orders orders = {0};
    int r = orders_refresh(service);

    if (r >= 0)
        r = reader_take(service, &reader);
    if (r < 0)
        return r;
    r = orders_copy(service, &orders); /* the callback may take its time */
    if (r >= 0)
        r = each_order(&orders, reader.storage, each, user);
    orders_done(&orders);
    return r;
}

bool service_erasure_is_finished(struct service *service)
{
    return !erasing_is_marked(service);
}
