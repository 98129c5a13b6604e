/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent/bundle.c: requests for a data carrier, and the receipts that come back on one. */
#include "tests/unit/syncd/agent_story.h"

#include "proto/compression.h"
#include "store/internal.h"

#include <errno.h>

#define RECORDS_OF_THE_STORE 2u /* opened, and the boot: before those of people */

/* ---- what the agent signed ---- */

struct opened_request {
    struct buffer plain;
    struct arena arena;
    struct exchange_request request;
    uint8_t dictionary_flag; /* FLG of the zlib stream */
};

static void opened_done(struct opened_request *opened)
{
    buffer_done(&opened->plain);
    arena_done(&opened->arena);
}
#define _cleanup_opened_ _cleanup_(opened_done)

static void open_request(struct agent_story *story, struct bytes bytes, struct opened_request *ret)
{
    struct envelope envelope;

    *ret = (struct opened_request){0};
    arena_init(&ret->arena, DECODE_BUDGET_BYTES_MAX);
    assert_int_equal(envelope_parse(bytes, &envelope), 0);
    assert_true(uuid_equal(&envelope.device, &story->centre.device));
    assert_int_equal(envelope_open(&envelope, PAYLOAD_EXCHANGE_REQUEST, story->centre.device_key.public_key,
                         EXCHANGE_INFLATED_BYTES_MAX, &ret->plain),
        0);
    ret->dictionary_flag = envelope.payload.data[1] & 0x20;
    assert_int_equal(exchange_request_decode(buffer_bytes(&ret->plain), &ret->arena, &ret->request), 0);
}

static struct uuid current_log(struct agent_story *story)
{
    return agent_story_status(story).log;
}

/* The bundle's id, and the handheld's note over all of its log, as the last request has it. */
static void make_bundle(
    struct agent_story *story, uint8_t ret_bundle[REQUEST_ID_BYTES], struct buffer *ret_note)
{
    struct uuid log = current_log(story);
    uint64_t seq = agent_story_status(story).receipt_size, size = agent_story_status(story).log_size;
    _cleanup_buffer_ struct buffer first = {0};

    assert_int_equal(agent_bundle_begin(story->agent, ret_bundle, &first), 0);
    while (seq < size) {
        _cleanup_buffer_ struct buffer envelope = {0};
        _cleanup_opened_ struct opened_request opened;

        assert_int_equal(agent_bundle_part(story->agent, &log, seq, &envelope, &seq), 0);
        open_request(story, buffer_bytes(&envelope), &opened);
        buffer_clear(ret_note);
        buffer_put_bytes(ret_note, opened.request.checkpoint);
    }
}

/* ---- what the centre signs ---- */

static struct bundle_receipts receipts_for(struct agent_story *story, const uint8_t bundle[REQUEST_ID_BYTES])
{
    struct bundle_receipts receipts = {
        .device = story->centre.device, .server_time_ms = ++story->centre.time_ms, .is_last = true};

    memcpy(receipts.bundle, bundle, REQUEST_ID_BYTES);
    return receipts;
}

static void seal_receipts(const struct bundle_receipts *receipts, const struct sign_key *key,
    const struct uuid *device, struct buffer *ret)
{
    _cleanup_buffer_ struct buffer plain = {0};

    assert_int_equal(bundle_receipts_encode(receipts, &plain), 0);
    buffer_clear(ret);
    assert_int_equal(envelope_seal(PAYLOAD_BUNDLE_RECEIPTS, buffer_bytes(&plain), 6, DICTIONARY_NONE, device,
                         key, ret, NULL),
        0);
}

static int take(struct agent_story *story, const struct bundle_receipts *receipts, struct agent_receipts *ret)
{
    _cleanup_buffer_ struct buffer envelope = {0};

    seal_receipts(receipts, &story->centre.receipt_key, &story->centre.device, &envelope);
    return agent_take_receipts(story->agent, buffer_bytes(&envelope), false, ret);
}

static void cosign(struct agent_story *story, const struct buffer *note, struct buffer *ret)
{
    buffer_clear(ret);
    assert_int_equal(receipt_cosign(buffer_bytes(note), &story->centre.receipt_key,
                         (uint64_t)++story->centre.time_ms / 1000, ret),
        0);
}

/* A bundle of all that is there, and the receipt for its log. */
struct on_carrier {
    uint8_t bundle[REQUEST_ID_BYTES];
    struct buffer note, receipt;
    struct bundle_receipts receipts;
};

static void on_carrier_done(struct on_carrier *carried)
{
    buffer_done(&carried->note);
    buffer_done(&carried->receipt);
}
#define _cleanup_on_carrier_ _cleanup_(on_carrier_done)

static void carry(struct agent_story *story, struct on_carrier *ret)
{
    *ret = (struct on_carrier){0};
    make_bundle(story, ret->bundle, &ret->note);
    cosign(story, &ret->note, &ret->receipt);
    ret->receipts = receipts_for(story, ret->bundle);
    ret->receipts.log = current_log(story);
    ret->receipts.receipt = buffer_bytes(&ret->receipt);
}

/* No network: what is sent does not come through. */
static void begin_without_network(struct agent_story *story)
{
    agent_story_begin(story);
    story->send_result = -ENETUNREACH;
}

/* ---- requests ---- */

static void a_bundle_begins_with_a_request_that_vouches_for_it_and_brings_the_certificate(void **state)
{
    struct agent_story story;
    _cleanup_buffer_ struct buffer envelope = {0};
    _cleanup_opened_ struct opened_request opened;
    uint8_t bundle[REQUEST_ID_BYTES];

    begin_without_network(&story);
    agent_story_record(&story, 0, 3);
    assert_int_equal(agent_bundle_begin(story.agent, bundle, &envelope), 0);
    open_request(&story, buffer_bytes(&envelope), &opened);
    assert_memory_equal(opened.request.request_id, bundle, REQUEST_ID_BYTES);
    assert_int_equal(opened.request.record_count, 0);
    assert_true(bytes_equal(opened.request.certificate, bytes_of_text("certificate")));
    agent_story_end(&story);
}

static void parts_follow_each_other_without_gaps_in_rows_and_without_a_dictionary(void **state)
{
    const uint32_t *names;
    struct agent_story story;
    struct uuid log;
    uint64_t seq = 0, parts = 0;

    agent_story_begin(&story);
    story.centre.dictionary_count = dictionary_names(&names);
    story.centre.dictionaries = names;
    story.centre.takes_columns = true;
    agent_story_record(&story, 0, 10);
    agent_story_settle(&story);
    story.send_result = -ENETUNREACH;
    agent_story_record(&story, 10, 3000);
    log = current_log(&story);
    while (seq < 3010 + RECORDS_OF_THE_STORE) {
        _cleanup_buffer_ struct buffer envelope = {0};
        _cleanup_opened_ struct opened_request opened;
        uint64_t first = seq;

        assert_int_equal(agent_bundle_part(story.agent, &log, seq, &envelope, &seq), 0);
        open_request(&story, buffer_bytes(&envelope), &opened);
        assert_int64_equal(opened.request.first_seq, first);
        assert_int64_equal(opened.request.record_count, seq - first);
        assert_true(seq > first && !opened.request.as_columns && opened.dictionary_flag == 0);
        assert_true(opened.request.checkpoint.len > 0);
        parts++;
    }
    assert_true(parts > 1);
    agent_story_end(&story);
}

static void requests_for_a_carrier_leave_those_in_flight_alone(void **state)
{
    struct agent_story story;
    struct buffer before[2] = {{0}, {0}};
    _cleanup_on_carrier_ struct on_carrier carried;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    agent_story_record(&story, 1, 600);
    assert_true(story.sent[0].busy && story.sent[1].busy);
    for (size_t i = 0; i < 2; i++)
        buffer_put_bytes(&before[i], buffer_bytes(&story.sent[i].body));
    carry(&story, &carried);
    for (size_t i = 0; i < 2; i++)
        assert_true(
            story.sent[i].busy && bytes_equal(buffer_bytes(&before[i]), buffer_bytes(&story.sent[i].body)));
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    assert_int_equal(story.centre.records_again, 0);
    buffer_done(&before[0]);
    buffer_done(&before[1]);
    agent_story_end(&story);
}

static void what_is_not_there_cannot_be_signed(void **state)
{
    struct agent_story story;
    _cleanup_buffer_ struct buffer envelope = {0};
    struct uuid log, unknown = {{1}};
    uint8_t bundle[REQUEST_ID_BYTES];
    uint64_t end;

    begin_without_network(&story);
    assert_int_equal(agent_bundle_begin(story.agent, bundle, &envelope), -ENODATA);
    agent_story_record(&story, 0, 3);
    log = current_log(&story);
    assert_int_equal(
        agent_bundle_part(story.agent, &log, 3 + RECORDS_OF_THE_STORE, &envelope, &end), -ENODATA);
    assert_int_equal(agent_bundle_part(story.agent, &log, UINT64_C(1) << 39, &envelope, &end), -ENODATA);
    assert_int_equal(agent_bundle_part(story.agent, &unknown, 0, &envelope, &end), -ENODATA);
    assert_int_equal(envelope.len, 0);
    agent_story_end(&story);
}

/* ---- receipts ---- */

static void receipts_acknowledge_what_they_cover_and_the_engine_goes_on_behind_them(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier carried;
    struct agent_receipts taken;
    _cleanup_opened_ struct opened_request opened;

    begin_without_network(&story);
    agent_story_record(&story, 0, 5);
    carry(&story, &carried);
    agent_story_record(&story, 5, 2);
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(taken.log, RECEIPTS_LOG_TAKEN);
    assert_int64_equal(taken.records_acknowledged, 5 + RECORDS_OF_THE_STORE);
    assert_int_equal(agent_story_status(&story).records_queued, 2);
    /* A second time it is known. */
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int64_equal(taken.records_acknowledged, 0);

    story.send_result = 0;
    agent_sync_now(story.agent);
    assert_true(story.sent[0].busy);
    open_request(&story, buffer_bytes(&story.sent[0].body), &opened);
    assert_int64_equal(opened.request.first_seq, 5 + RECORDS_OF_THE_STORE);
    assert_int64_equal(opened.request.record_count, 2);
    agent_story_end(&story);
}

static void receipts_that_come_while_the_same_records_are_in_flight_disturb_nothing(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier carried;
    struct agent_receipts taken;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    agent_story_record(&story, 1, 600);
    carry(&story, &carried);
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    assert_int_equal(story.alarms, 0);
    agent_story_end(&story);
}

static void looking_at_receipts_changes_nothing(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier carried;
    _cleanup_buffer_ struct buffer envelope = {0};
    struct agent_receipts seen;
    struct sha256 photo;
    struct blob_stored stored;

    begin_without_network(&story);
    photo = agent_story_photo(&story, "photo", "its bytes");
    carry(&story, &carried);
    stored = (struct blob_stored){.sha256 = photo};
    carried.receipts.stored_blobs = &stored;
    carried.receipts.stored_blob_count = 1;
    seal_receipts(&carried.receipts, &story.centre.receipt_key, &story.centre.device, &envelope);
    assert_int_equal(agent_take_receipts(story.agent, buffer_bytes(&envelope), true, &seen), 0);
    assert_int64_equal(seen.records_acknowledged, 1 + RECORDS_OF_THE_STORE);
    assert_int64_equal(seen.photos_stored, 1);
    assert_true(seen.is_last);
    assert_int_equal(agent_story_status(&story).records_queued, 1);
    assert_int_equal(agent_story_status(&story).photos_pending, 1);
    assert_int_equal(agent_take_receipts(story.agent, buffer_bytes(&envelope), false, &seen), 0);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    assert_int_equal(agent_story_status(&story).photos_pending, 0);
    agent_story_end(&story);
}

static void receipts_that_are_not_for_this_handheld_are_told_apart_and_change_nothing(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier carried;
    _cleanup_buffer_ struct buffer envelope = {0};
    struct agent_receipts taken;
    struct uuid other = {{7}};
    struct sign_key device_key;
    struct bundle_receipts changed;

    begin_without_network(&story);
    agent_story_record(&story, 0, 5);
    carry(&story, &carried);

    seal_receipts(&carried.receipts, &story.centre.receipt_key, &other, &envelope);
    assert_int_equal(agent_take_receipts(story.agent, buffer_bytes(&envelope), false, &taken), -EXDEV);
    /* The outside is not signed: what is signed counts. */
    changed = carried.receipts;
    changed.device = other;
    seal_receipts(&changed, &story.centre.receipt_key, &story.centre.device, &envelope);
    assert_int_equal(agent_take_receipts(story.agent, buffer_bytes(&envelope), false, &taken), -EXDEV);

    sign_key_from_seed(story.centre.device_key.name, story.device_seed, &device_key);
    seal_receipts(&carried.receipts, &device_key, &story.centre.device, &envelope);
    assert_int_equal(agent_take_receipts(story.agent, buffer_bytes(&envelope), false, &taken), -EKEYREJECTED);

    changed = carried.receipts;
    changed.bundle[0] ^= 1;
    assert_int_equal(take(&story, &changed, &taken), -ENOENT);

    /* The handheld's note alone is no receipt. */
    changed = carried.receipts;
    changed.receipt = buffer_bytes(&carried.note);
    assert_int_equal(take(&story, &changed, &taken), -EBADMSG);

    seal_receipts(&carried.receipts, &story.centre.receipt_key, &story.centre.device, &envelope);
    for (size_t bit = 0; bit < envelope.len * 8; bit += 5) {
        envelope.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(agent_take_receipts(story.agent, buffer_bytes(&envelope), false, &taken) < 0);
        envelope.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(agent_story_status(&story).records_queued, 5);
    agent_story_end(&story);
}

static void a_receipt_for_another_tree_or_a_larger_one_is_told_and_not_taken(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier carried;
    _cleanup_buffer_ struct buffer note = {0};
    struct checkpoint checkpoint;
    struct sign_key device_key;
    struct agent_receipts taken;
    struct uuid unknown = {{9}};

    begin_without_network(&story);
    agent_story_record(&story, 0, 5);
    carry(&story, &carried);
    sign_key_from_seed(story.centre.device_key.name, story.device_seed, &device_key);
    assert_int_equal(checkpoint_parse(buffer_bytes(&carried.note), &checkpoint), 0);

    checkpoint.root.b[3] ^= 1; /* a copy of this handheld has signed it */
    assert_int_equal(checkpoint_sign(&checkpoint, &device_key, &note), 0);
    cosign(&story, &note, &carried.receipt);
    carried.receipts.receipt = buffer_bytes(&carried.receipt);
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(taken.log, RECEIPTS_LOG_FORKED);

    checkpoint.size += 100; /* before it was set back */
    buffer_clear(&note);
    assert_int_equal(checkpoint_sign(&checkpoint, &device_key, &note), 0);
    cosign(&story, &note, &carried.receipt);
    carried.receipts.receipt = buffer_bytes(&carried.receipt);
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(taken.log, RECEIPTS_LOG_SET_BACK);

    assert_int_equal(origin_format("centre.example", "default", &unknown, checkpoint.origin), 0);
    buffer_clear(&note);
    assert_int_equal(checkpoint_sign(&checkpoint, &device_key, &note), 0);
    cosign(&story, &note, &carried.receipt);
    carried.receipts.receipt = buffer_bytes(&carried.receipt);
    carried.receipts.log = unknown;
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(taken.log, RECEIPTS_LOG_UNKNOWN);
    assert_int64_equal(taken.records_acknowledged, 0);
    assert_int_equal(agent_story_status(&story).records_queued, 5);
    agent_story_end(&story);
}

/* The receipts for a bundle, but for a log as a copy of this handheld has written it: another root, or more.
 */
static void receive_a_copys_log(struct agent_story *story, struct on_carrier *carried, uint64_t more)
{
    _cleanup_buffer_ struct buffer note = {0};
    struct checkpoint checkpoint;
    struct sign_key device_key;

    carry(story, carried);
    sign_key_from_seed(story->centre.device_key.name, story->device_seed, &device_key);
    assert_int_equal(checkpoint_parse(buffer_bytes(&carried->note), &checkpoint), 0);
    checkpoint.root.b[3] ^= 1;
    checkpoint.size += more;
    assert_int_equal(checkpoint_sign(&checkpoint, &device_key, &note), 0);
    cosign(story, &note, &carried->receipt);
    carried->receipts.receipt = buffer_bytes(&carried->receipt);
}

static void receipts_for_a_log_that_a_copy_has_written_open_a_new_log_with_all_of_it(void **state)
{
    static const uint64_t more[] = {0, 100};

    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        struct agent_story story;
        _cleanup_on_carrier_ struct on_carrier carried, again;
        _cleanup_buffer_ struct buffer envelope = {0};
        struct agent_receipts taken;
        struct uuid log, fresh;

        begin_without_network(&story);
        agent_story_record(&story, 0, 5);
        log = current_log(&story);
        receive_a_copys_log(&story, &carried, more[i]);

        /* A look changes nothing. */
        seal_receipts(&carried.receipts, &story.centre.receipt_key, &story.centre.device, &envelope);
        assert_int_equal(agent_take_receipts(story.agent, buffer_bytes(&envelope), true, &taken), 0);
        fresh = current_log(&story);
        assert_true(uuid_equal(&log, &fresh));
        assert_int_equal(story.alarms, 0);

        assert_int_equal(take(&story, &carried.receipts, &taken), 0);
        fresh = current_log(&story);
        assert_false(uuid_equal(&log, &fresh));
        assert_int_equal(story.alarms, 1);
        assert_int_equal(agent_story_status(&story).records_queued, 5);

        /* Once is enough. */
        assert_int_equal(take(&story, &carried.receipts, &taken), 0);
        log = current_log(&story);
        assert_true(uuid_equal(&log, &fresh));
        assert_int_equal(story.alarms, 1);

        /* What goes on the next carrier is acknowledged like anything else. */
        carry(&story, &again);
        assert_int_equal(take(&story, &again.receipts, &taken), 0);
        assert_int_equal(taken.log, RECEIPTS_LOG_TAKEN);
        assert_int_equal(agent_story_status(&story).records_queued, 0);
        agent_story_end(&story);
    }
}

static void receipts_from_before_a_fork_came_to_light_count_no_more(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier before, carried;
    struct agent_receipts taken;

    begin_without_network(&story);
    agent_story_record(&story, 0, 5);
    carry(&story, &before);
    receive_a_copys_log(&story, &carried, 0);
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(taken.log, RECEIPTS_LOG_FORKED);
    assert_int_equal(take(&story, &before.receipts, &taken), -ESTALE);
    /* The other parts of the same receipts are as good as before. */
    carried.receipts.log = (struct uuid){{0}};
    carried.receipts.receipt = bytes_of(NULL, 0);
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    agent_story_end(&story);
}

static void older_receipts_take_nothing_back_and_are_refused_after_newer_ones_of_the_bundle(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier first, second;
    struct agent_receipts taken;
    struct bundle_receipts newer;

    begin_without_network(&story);
    agent_story_record(&story, 0, 5);
    carry(&story, &first);
    agent_story_record(&story, 5, 5);
    carry(&story, &second);
    assert_int_equal(take(&story, &second.receipts, &taken), 0);
    assert_int64_equal(agent_story_status(&story).receipt_size, 10 + RECORDS_OF_THE_STORE);
    assert_int_equal(take(&story, &first.receipts, &taken), 0);
    assert_int64_equal(taken.records_acknowledged, 0);
    assert_int64_equal(agent_story_status(&story).receipt_size, 10 + RECORDS_OF_THE_STORE);

    newer = first.receipts;
    newer.server_time_ms += 1000;
    assert_int_equal(take(&story, &newer, &taken), 0);
    assert_int_equal(take(&story, &first.receipts, &taken), -ESTALE);
    /* Also for the daemon that is started next. */
    agent_story_restart(&story);
    assert_int_equal(take(&story, &first.receipts, &taken), -ESTALE);
    assert_int_equal(take(&story, &newer, &taken), 0);
    agent_story_end(&story);
}

static void receipts_older_than_what_the_centre_was_found_to_lack_are_refused(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier old;
    struct agent_receipts taken;
    struct sha256 photo;
    struct blob_stored stored;
    struct store_blob blob;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "photo", "its bytes");
    carry(&story, &old);
    stored = (struct blob_stored){.sha256 = photo, .backed_up = true};
    old.receipts.stored_blobs = &stored;
    old.receipts.stored_blob_count = 1;
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).photos_pending, 0);

    /* The centre has lost it, and says so. */
    story.centre.time_ms += 5000;
    story.centre.has_wanted = true;
    story.centre.wanted = (struct blob_have){.sha256 = photo};
    agent_sync_now(story.agent);
    agent_story_answer(&story, 0);
    assert_int_equal(agent_story_status(&story).photos_pending, 1);
    assert_int_equal(take(&story, &old.receipts, &taken), -ESTALE);
    agent_story_restart(&story);
    assert_int_equal(take(&story, &old.receipts, &taken), -ESTALE);
    assert_int_equal(store_blob_find(story.store, &photo, &blob), 0);
    assert_int_equal(blob.state, BLOB_PENDING);

    /* What it says after that counts. */
    story.centre.time_ms += 5000;
    old.receipts.server_time_ms = story.centre.time_ms;
    assert_int_equal(take(&story, &old.receipts, &taken), 0);
    assert_int_equal(store_blob_find(story.store, &photo, &blob), 0);
    assert_int_equal(blob.state, BLOB_BACKED_UP);
    agent_story_end(&story);
}

static void the_state_of_a_photo_goes_only_forward(void **state)
{
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier carried;
    struct agent_receipts taken;
    struct blob_stored stored;
    struct store_blob blob;

    begin_without_network(&story);
    stored = (struct blob_stored){.sha256 = agent_story_photo(&story, "photo", "its bytes")};
    carry(&story, &carried);
    carried.receipts.stored_blobs = &stored;
    carried.receipts.stored_blob_count = 1;
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(store_blob_find(story.store, &stored.sha256, &blob), 0);
    assert_int_equal(blob.state, BLOB_STORED);
    stored.backed_up = true;
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    stored.backed_up = false;
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(store_blob_find(story.store, &stored.sha256, &blob), 0);
    assert_int_equal(blob.state, BLOB_BACKED_UP);
    assert_int_equal(store_blob_set_state(story.store, &stored.sha256, BLOB_FREED, 0), 0);
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(store_blob_find(story.store, &stored.sha256, &blob), 0);
    assert_int_equal(blob.state, BLOB_FREED);
    agent_story_end(&story);
}

static void quarantine_is_noted_and_ended_by_a_whole_list_that_names_it_no_more(void **state)
{
    static const struct quarantined bad[] = {{3, {.data = (const uint8_t *)"why", .len = 3}}, {4, {0}}};
    struct agent_story story;
    _cleanup_on_carrier_ struct on_carrier first, second, third;
    struct agent_receipts taken;

    begin_without_network(&story);
    agent_story_record(&story, 0, 5);
    carry(&story, &first);
    first.receipts.quarantined = bad;
    first.receipts.quarantined_count = 2;
    assert_int_equal(take(&story, &first.receipts, &taken), 0);
    assert_int64_equal(taken.records_quarantined, 2);
    assert_int_equal(agent_story_status(&story).records_quarantined, 2);

    agent_story_record(&story, 5, 1);
    carry(&story, &second); /* a list that is not whole ends nothing */
    second.receipts.quarantined = bad;
    second.receipts.quarantined_count = 1;
    assert_int_equal(take(&story, &second.receipts, &taken), 0);
    assert_int_equal(agent_story_status(&story).records_quarantined, 2);

    agent_story_record(&story, 6, 1);
    carry(&story, &third);
    third.receipts.quarantined = bad;
    third.receipts.quarantined_count = 1;
    third.receipts.quarantined_all = true;
    assert_int_equal(take(&story, &third.receipts, &taken), 0);
    assert_int_equal(agent_story_status(&story).records_quarantined, 1);
    agent_story_end(&story);
}

static void the_newest_256_bundles_are_remembered_over_a_restart(void **state)
{
    struct agent_story story;
    uint8_t bundles[258][REQUEST_ID_BYTES];
    struct agent_receipts taken;

    begin_without_network(&story);
    agent_story_record(&story, 0, 1);
    for (size_t i = 0; i < ARRAY_LEN(bundles); i++) {
        _cleanup_buffer_ struct buffer envelope = {0};

        assert_int_equal(agent_bundle_begin(story.agent, bundles[i], &envelope), 0);
    }
    agent_story_restart(&story);
    for (size_t i = 0; i < ARRAY_LEN(bundles); i++) {
        struct bundle_receipts receipts = receipts_for(&story, bundles[i]);

        assert_int_equal(take(&story, &receipts, &taken), i < 2 ? -ENOENT : 0);
    }
    agent_story_end(&story);
}

/* Between the export and the receipts the database was recovered, and a record was not found again. */
static void receipts_for_a_log_with_holes_say_of_their_photos_what_they_can(void **state)
{
    struct agent_story story;
    struct agent_receipts taken = {0};
    _cleanup_on_carrier_ struct on_carrier carried;
    struct uuid fresh, log;

    begin_without_network(&story);
    agent_story_record(&story, 0, 20);
    carry(&story, &carried);
    assert_int_equal(
        store_leave_log(story.store, &author, &carried.receipts.log, OPEN_RECOVERED, &fresh, NULL), 0);
    assert_int_equal(
        sqlite3_exec(story.store->database,
            "DELETE FROM records WHERE key >> 40 = 1 AND key & 1099511627775 = 3", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(take(&story, &carried.receipts, &taken), 0);
    assert_int_equal(taken.log, RECEIPTS_LOG_NONE);
    assert_int_equal(taken.records_acknowledged, 0);
    assert_int_equal(story.damaged, 0);
    log = current_log(&story);
    assert_true(uuid_equal(&log, &fresh)); /* which goes on */
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bundle_begins_with_a_request_that_vouches_for_it_and_brings_the_certificate),
        cmocka_unit_test(parts_follow_each_other_without_gaps_in_rows_and_without_a_dictionary),
        cmocka_unit_test(requests_for_a_carrier_leave_those_in_flight_alone),
        cmocka_unit_test(what_is_not_there_cannot_be_signed),
        cmocka_unit_test(receipts_acknowledge_what_they_cover_and_the_engine_goes_on_behind_them),
        cmocka_unit_test(receipts_that_come_while_the_same_records_are_in_flight_disturb_nothing),
        cmocka_unit_test(looking_at_receipts_changes_nothing),
        cmocka_unit_test(receipts_that_are_not_for_this_handheld_are_told_apart_and_change_nothing),
        cmocka_unit_test(a_receipt_for_another_tree_or_a_larger_one_is_told_and_not_taken),
        cmocka_unit_test(receipts_for_a_log_that_a_copy_has_written_open_a_new_log_with_all_of_it),
        cmocka_unit_test(receipts_from_before_a_fork_came_to_light_count_no_more),
        cmocka_unit_test(older_receipts_take_nothing_back_and_are_refused_after_newer_ones_of_the_bundle),
        cmocka_unit_test(receipts_older_than_what_the_centre_was_found_to_lack_are_refused),
        cmocka_unit_test(the_state_of_a_photo_goes_only_forward),
        cmocka_unit_test(quarantine_is_noted_and_ended_by_a_whole_list_that_names_it_no_more),
        cmocka_unit_test(receipts_for_a_log_with_holes_say_of_their_photos_what_they_can),
        cmocka_unit_test(the_newest_256_bundles_are_remembered_over_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
